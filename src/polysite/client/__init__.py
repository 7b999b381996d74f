"""The client: what users hold (`Site`, `Table`, `Section`), over any coordinator, and the coordinator over HTTP."""

from polysite.client._async.connecting import connect
from polysite.client._async.coordinator import HttpCoordinator
from polysite.client._async.section import LockSet, Section
from polysite.client._async.site import Site, Table, table_spec
from polysite.client.transport import (
    AsyncFunctionTransport,
    AsyncTransport,
    FunctionTransport,
    NotAnswered,
    NotSent,
    Request,
    Response,
    Transport,
)

__all__ = [
    "AsyncFunctionTransport",
    "AsyncTransport",
    "FunctionTransport",
    "HttpCoordinator",
    "LockSet",
    "NotAnswered",
    "NotSent",
    "Request",
    "Response",
    "Section",
    "Site",
    "Table",
    "Transport",
    "connect",
    "table_spec",
]
