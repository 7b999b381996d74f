"""Results of cassandra-driver as they came: every value as its bytes, decoded by nobody.

The driver lets a session name a protocol handler; this one replaces how the body of a RESULT of kind rows is read (native
protocol v5, section 4.2.5.2). Errors, schema changes and what is prepared are read by the driver.
"""

from struct import Struct
from typing import Any

from cassandra.protocol import ResultMessage
from cassandra.protocol import _ProtocolHandler as PlainProtocolHandler

from polysite.engines.cassandra.port import Page, Row

_INT = Struct(">i")


class RawResultMessage(ResultMessage):  # type: ignore[misc]  # the driver has no types
    """A RESULT whose `parsed_rows` is a `Page`."""

    def recv_results_rows(
        self,
        f: Any,
        protocol_version: int,  # noqa: ARG002 - the driver's signature
        user_type_map: Any,
        result_metadata: Any,
        column_encryption_policy: Any,  # noqa: ARG002
    ) -> None:
        self.recv_results_metadata(f, user_type_map)
        columns = self.column_metadata or result_metadata or ()
        self.parsed_rows = Page([column[2] for column in columns], read_rows(f.read(), len(columns)), self.paging_state)


class RawProtocolHandler(PlainProtocolHandler):  # type: ignore[misc]
    """What a session is given so that its results are `RawResultMessage`s."""

    message_types_by_opcode = PlainProtocolHandler.message_types_by_opcode | {RawResultMessage.opcode: RawResultMessage}


def read_rows(body: bytes, columns: int) -> list[Row]:
    """The rows of `body`: their count, then for each value its length (negative: null) and its bytes."""
    unpack = _INT.unpack_from
    (count,) = unpack(body)
    at = 4
    rows: list[Row] = []
    for _ in range(count):
        row: Row = []
        for _ in range(columns):
            (length,) = unpack(body, at)
            at += 4
            if length < 0:
                row.append(None)
            else:
                row.append(body[at : at + length])
                at += length
        rows.append(row)
    return rows


def identity(names: Any, rows: Any) -> Any:  # noqa: ARG001 - the driver's row factory
    """The row factory of raw results: the page is made already."""
    return rows
