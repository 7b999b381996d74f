"""The port on cassandra-driver: complete errors, protocol v5, and answers carried to the loop in bunches."""

import asyncio
import socket
import ssl
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from cassandra import protocol
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, ResponseFuture, Session
from cassandra.connection import ConnectionShutdown
from cassandra.policies import ConstantReconnectionPolicy, FallthroughRetryPolicy, WhiteListRoundRobinPolicy
from cassandra.query import UNSET_VALUE, BatchType, PreparedStatement

from polysite.engines.cassandra.answers import applied_of
from polysite.engines.cassandra.asking import AskingPort
from polysite.engines.cassandra.bridge import Bridge, beside_the_loop
from polysite.engines.cassandra.driver_failures import failure_of
from polysite.engines.cassandra.outcomes import Failure, Work, certain, judged
from polysite.engines.cassandra.port import (
    UNSET,
    Bound,
    Conditional,
    Consistency,
    Page,
    Statement,
    Value,
)
from polysite.engines.cassandra.raw_results import RawProtocolHandler, identity
from polysite.engines.cassandra.settings import CassandraSettings, Credentials
from polysite.errors import BadRequest, PolysiteError, Unavailable

PROTOCOL_VERSION = 5
PREPARED_MAX = 4_096
"""Statements kept prepared; the one used longest ago goes first."""
HEARTBEAT_S = 5.0
"""How often an idle connection is tried, and how long its answer may take: a frozen server is found out after twice this."""

_NEVER_AGAIN = FallthroughRetryPolicy()


class CassandraDriverPort(AskingPort):
    """One session of cassandra-driver, on its libev thread."""

    driver = "cassandra-driver"

    def __init__(self, settings: CassandraSettings, *, credentials: Credentials | None = None) -> None:
        self._settings = settings
        self._credentials = credentials
        self._request_s = settings.request_ms / 1000
        self._cluster: Any = None
        self._session: Any = None
        self._bridge: Bridge[Any] | None = None
        self._policy: Any = None
        self._prepared: OrderedDict[str, Any] = OrderedDict()
        self._connecting = asyncio.Lock()
        self._preparing: dict[str, asyncio.Future[Any]] = {}

    async def connect(self) -> None:
        async with self._connecting:
            if self._session is not None:
                return
            try:
                self._cluster, self._session = await beside_the_loop(self._open, name="cassandra-connect")
            except PolysiteError:
                raise
            except Exception as error:
                raise _of_connecting(error) from error
            self._bridge = Bridge(asyncio.get_running_loop())

    def _open(self) -> tuple[Any, Any]:
        settings = self._settings
        policy = WhiteListRoundRobinPolicy(settings.contact_points)
        profile = ExecutionProfile(
            load_balancing_policy=policy,
            retry_policy=_NEVER_AGAIN,
            request_timeout=self._request_s,
            row_factory=identity,
        )
        cluster = Cluster(
            contact_points=settings.contact_points,
            port=settings.port,
            auth_provider=self._credentials and PlainTextAuthProvider(*self._credentials),
            ssl_context=_tls(settings),
            protocol_version=PROTOCOL_VERSION,
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
            reconnection_policy=ConstantReconnectionPolicy(settings.reconnect_ms / 1000, max_attempts=None),
            connect_timeout=settings.connect_ms / 1000,
            control_connection_timeout=settings.connect_ms / 1000,
            idle_heartbeat_interval=HEARTBEAT_S,
            idle_heartbeat_timeout=HEARTBEAT_S,
            compression=False,
            schema_metadata_enabled=False,
            token_metadata_enabled=False,
            max_schema_agreement_wait=0,
            # The driver leaves Nagle's algorithm on: of two requests sent one after the other the second then waits for the
            # server's delayed acknowledgement of the first, 40 ms on Linux.
            sockopts=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )
        connection_class = _libev()
        if connection_class is not None:
            cluster.connection_class = connection_class
        try:
            session: Session = cluster.connect()
        except BaseException:
            cluster.shutdown()
            raise
        session.use_client_timestamp = False
        session.client_protocol_handler = RawProtocolHandler
        self._policy = policy
        return cluster, session

    async def close(self) -> None:
        cluster, bridge = self._cluster, self._bridge
        self._cluster = self._session = self._bridge = None
        self._prepared.clear()
        if cluster is not None:
            await beside_the_loop(cluster.shutdown, name="cassandra-close")
        if bridge is not None:
            bridge.fail_all(ConnectionShutdown("the port was closed"))

    async def read_once(
        self,
        statement: Statement,
        values: Sequence[Value] = (),
        *,
        consistency: Consistency,
        page_rows: int = 0,
        paging_state: bytes | None = None,
    ) -> Page:
        prepared = await self._prepare(statement)
        message = _execute(prepared, values, consistency, page_rows=page_rows, paging_state=paging_state)
        page: Page = await self._send(message, "read", prepared)
        return page

    async def write(self, statement: Statement, values: Sequence[Value] = (), *, consistency: Consistency) -> None:
        prepared = await self._prepare(statement)
        await self._send(_execute(prepared, values, consistency), "write", prepared)

    async def write_batch(self, writes: Sequence[Bound], *, consistency: Consistency, logged: bool = False) -> None:
        kind = BatchType.LOGGED if logged else BatchType.UNLOGGED
        await self._send(await self._batch(writes, kind, consistency, None), "write")

    async def write_if(self, writes: Sequence[Bound], *, commit: Consistency, serial: Consistency) -> Conditional:
        if len(writes) == 1:
            ((statement, values),) = writes
            prepared = await self._prepare(statement)
            answer = await self._send(_execute(prepared, values, commit, serial=serial), "conditional", prepared)
        else:
            message = await self._batch(writes, BatchType.UNLOGGED, commit, serial)
            answer = await self._send(message, "conditional")
        return applied_of(answer)

    async def transact(self, statement: Statement, values: Sequence[Value] = ()) -> Page:
        prepared = await self._prepare(statement)
        page: Page = await self._send(_execute(prepared, values, Consistency.ANY), "conditional", prepared)
        return page

    async def define(self, text: str) -> None:
        await self._send(protocol.QueryMessage(text, Consistency.QUORUM), "define")

    async def _batch(
        self, writes: Sequence[Bound], kind: Any, consistency: Consistency, serial: Consistency | None
    ) -> Any:
        queries = []
        for statement, values in writes:
            prepared = await self._prepare(statement)
            queries.append((True, prepared.query_id, _wire(prepared, values)))
        return protocol.BatchMessage(kind, queries, consistency, serial)

    async def _prepare(self, statement: Statement) -> Any:
        """The prepared statement of this text; asked of the server once, however many want it at the same time."""
        text = statement.text
        found = self._prepared.get(text)
        if found is not None:
            self._prepared.move_to_end(text)
            return found
        pending = self._preparing.get(text)
        if pending is None:
            # Nothing of the work was sent yet, so whatever fails here is told as of a read.
            pending = self._start(protocol.PrepareMessage(query=text), None)
            self._preparing[text] = pending
            pending.add_done_callback(lambda done: self._prepared_or_not(text, done))
        answer = await self._answer(pending, "read", shared=True)
        if (found := self._prepared.get(text)) is None and self._cluster is not None:
            found = self._keep(text, answer)
        if found is None:
            raise Unavailable("the connection to Cassandra was closed")
        return found

    def _prepared_or_not(self, text: str, done: "asyncio.Future[Any]") -> None:
        self._preparing.pop(text, None)
        done.exception()  # looked at, also where everybody gave up waiting

    def _keep(self, text: str, answer: Any) -> Any:
        prepared = PreparedStatement.from_message(
            answer.query_id,
            answer.bind_metadata,
            answer.pk_indexes,
            self._cluster.metadata,
            text,
            None,
            PROTOCOL_VERSION,
            answer.column_metadata,
            answer.result_metadata_id,
        )
        self._prepared[text] = prepared
        if len(self._prepared) > PREPARED_MAX:
            self._prepared.popitem(last=False)
        # So that the driver prepares it again at a server that comes up, or that says it does not know it.
        self._cluster.add_prepared(answer.query_id, prepared)
        return prepared

    async def _send(self, message: Any, work: Work, prepared: Any = None) -> Any:
        return await self._answer(self._start(message, prepared), work)

    def _start(self, message: Any, prepared: Any) -> "asyncio.Future[Any]":
        """Send a message; the future gets the driver's answer or its error."""
        session, bridge = self._session, self._bridge
        if session is None or bridge is None:
            raise Unavailable("the connection to Cassandra is closed")
        if len(bridge) >= self._settings.requests_max:
            raise certain(judged(Failure("too_many"), "read"))
        future = bridge.expect()
        try:
            response = ResponseFuture(
                session,
                message,
                None,
                self._request_s,
                prepared_statement=prepared,
                retry_policy=_NEVER_AGAIN,
                row_factory=identity,
                load_balancer=self._policy,
                start_time=time.time(),
            )
            response._protocol_handler = RawProtocolHandler  # noqa: SLF001 - as Session.execute_async does
            response.add_callback(bridge.answered, future)
            response.add_errback(bridge.failed, future)
            response.send_request()
        except Exception as error:  # noqa: BLE001 - told where the answer is waited for
            bridge.failed(error, future)
        return future

    async def _answer(self, future: "asyncio.Future[Any]", work: Work, *, shared: bool = False) -> Any:
        """Wait for an answer; the driver's error becomes ours. Done all the same: an answer that says it applied."""
        try:
            return await (asyncio.shield(future) if shared else future)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            ours = judged(failure_of(error), work)
            if ours is None:
                return None
            raise ours from error


def _execute(
    prepared: Any,
    values: Sequence[Value],
    consistency: Consistency,
    *,
    serial: Consistency | None = None,
    page_rows: int = 0,
    paging_state: bytes | None = None,
) -> Any:
    return protocol.ExecuteMessage(
        prepared.query_id,
        _wire(prepared, values),
        consistency,
        serial,
        page_rows,
        paging_state,
        None,
        skip_meta=bool(prepared.result_metadata),
        result_metadata_id=prepared.result_metadata_id,
    )


def _wire(prepared: Any, values: Sequence[Value]) -> list[Any]:
    """Values as the driver writes them. BadRequest: more or fewer than the statement has places for."""
    places = len(prepared.column_metadata or ())
    if len(values) != places:
        raise BadRequest(f"the statement takes {places} values, not {len(values)}")
    return [UNSET_VALUE if value is UNSET else value for value in values]


def _tls(settings: CassandraSettings) -> ssl.SSLContext | None:
    if settings.tls is None:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.tls.authority)
        context.check_hostname = settings.tls.check_names
        if settings.tls.certificate:
            context.load_cert_chain(settings.tls.certificate, settings.tls.key)
    except (OSError, ssl.SSLError) as error:
        raise BadRequest("the files of the Cassandra TLS settings cannot be read as PEM") from error
    return context


def _libev() -> Any:
    """The libev reactor; None where the driver was built without it, which leaves the driver its own choice."""
    try:
        from cassandra.io.libevreactor import LibevConnection
    except Exception:  # noqa: BLE001 - the driver raises an error of its own that is no ImportError
        return None
    return LibevConnection


def _of_connecting(error: BaseException) -> PolysiteError:
    """Connecting failed: nothing was asked yet, so the credentials are wrong or nobody is there."""
    failure = failure_of(error)
    if isinstance(error, NoHostAvailable):
        causes = [failure_of(each) for each in _causes(error)]
        failure = next((cause for cause in causes if cause.kind == "unauthenticated"), Failure("not_sent"))
    if failure.kind in ("unauthenticated", "forbidden"):
        return certain(judged(failure, "read"))
    return Unavailable(
        "no Cassandra node of this site can be reached: check contact_points, port and TLS, and that it is up and speaks "
        "native protocol v5 (Cassandra 4.0 and later)"
    )


def _causes(error: Any) -> list[BaseException]:
    return list(error.errors.values()) if isinstance(error.errors, dict) else []
