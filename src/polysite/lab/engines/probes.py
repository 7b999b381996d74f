"""Whether an engine answers, asked in its own language over a connection that is closed again.

Only the standard library, and nothing of ours, is imported: where an engine lives in another network namespace, this file is run there by its path,

    python probes.py cassandra|accord|zookeeper ADDRESS PORT WAIT_S [PEER …]

prints the last standing as JSON and ends with 0 once it is ready, with 1 if it is not within WAIT_S.
"""

import json
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

ASK_S = 3.0
PAUSE_S = 0.1
"""Between two questions of the command."""

ANSWER_BYTES_MAX = 1 << 20
_STARTUP, _QUERY, _READY, _RESULT, _ERROR = 1, 7, 2, 8, 0
_ROWS = 2
_SKIP_METADATA = 2
_MORE = 1 << 1
_ONE = 1


class Standing(NamedTuple):
    """What an engine said of itself.

    `peers`: the addresses of the others that it knows with their data centre (Cassandra). `mode`: `standalone`, `leader`,
    `follower` or `observer` (ZooKeeper). `flaw`: why it does not serve, empty if it does.
    """

    flaw: str = ""
    peers: tuple[str, ...] = ()
    mode: str = ""

    def lacks(self, expected: Iterable[str]) -> str:
        """Why it is not ready, in words, given the peers it should know; empty if it is."""
        missing = sorted(set(expected) - set(self.peers))
        return self.flaw or (f"it does not list {', '.join(missing)} yet" if missing else "")


def ask_cassandra(address: str, port: int = 9042, ask_s: float = ASK_S) -> Standing:
    """One standing of a Cassandra node; its native protocol, version 4 (Cassandra's doc/native_protocol_v4.spec)."""
    try:
        with socket.create_connection((address, port), ask_s) as connection:
            connection.settimeout(ask_s)
            _exchange(connection, _STARTUP, struct.pack(">H", 1) + _string("CQL_VERSION") + _string("3.0.0"), _READY)
            if not _rows(connection, "SELECT key FROM system.local", 1):
                return Standing(flaw="it does not know itself yet")
            peers = peers_of(_rows(connection, "SELECT peer, data_center FROM system.peers", 2))
    except (OSError, struct.error) as error:
        return Standing(flaw=str(error) or type(error).__name__)
    return Standing(peers=peers)


def ask_zookeeper(address: str, port: int = 2181, ask_s: float = ASK_S) -> Standing:
    """One standing of a ZooKeeper server, from its four-letter word `srvr`."""
    try:
        with socket.create_connection((address, port), ask_s) as connection:
            connection.settimeout(ask_s)
            connection.sendall(b"srvr")
            answer = b""
            while piece := connection.recv(4096):
                answer += piece
                if len(answer) > ANSWER_BYTES_MAX:
                    return Standing(flaw="its answer has no end")
    except OSError as error:
        return Standing(flaw=str(error) or type(error).__name__)
    return standing_of_srvr(answer.decode("utf-8", "replace"))


def standing_of_srvr(answer: str) -> Standing:
    """The standing that an answer to `srvr` tells."""
    for line in answer.splitlines():
        if line.startswith("Mode: "):
            return Standing(mode=line.removeprefix("Mode: ").strip())
    return Standing(flaw=" ".join(answer.split()) or "it answered nothing")


ASKING: dict[str, Callable[[str, int], Standing]] = {
    "cassandra": ask_cassandra,
    "accord": ask_cassandra,
    "zookeeper": ask_zookeeper,
}


def _string(text: str) -> bytes:
    return struct.pack(">H", len(text)) + text.encode()


def _exchange(connection: socket.socket, opcode: int, body: bytes, wanted: int) -> bytes:
    """The body of the answer to one frame; OSError if it is not of the kind that is wanted."""
    connection.sendall(struct.pack(">BBhBi", 4, 0, 1, opcode, len(body)) + body)
    header = _exactly(connection, 9)
    kind, length = header[4], struct.unpack(">i", header[5:])[0]
    if not 0 <= length <= ANSWER_BYTES_MAX:
        raise OSError("that is not Cassandra's native protocol")
    answer = _exactly(connection, length)
    if kind == _ERROR:
        raise OSError(answer[6:].decode("utf-8", "replace"))
    if kind != wanted:
        raise OSError(f"it answered with opcode {kind}")
    return answer


def _exactly(connection: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        piece = connection.recv(count - len(got))
        if not piece:
            raise OSError("it closed the connection")
        got += piece
    return got


def _rows(connection: socket.socket, query: str, columns: int) -> list[list[bytes | None]]:
    """The rows of a query with so many columns, as raw bytes; only the first page."""
    encoded = query.encode()
    body = struct.pack(">i", len(encoded)) + encoded + struct.pack(">HB", _ONE, _SKIP_METADATA)
    return rows_of(_exchange(connection, _QUERY, body, _RESULT), columns)


def rows_of(answer: bytes, columns: int) -> list[list[bytes | None]]:
    """The rows in the body of a RESULT that came without metadata; None is null. struct.error: the body is shorter than it says."""
    kind, flags, _ = struct.unpack_from(">iii", answer)
    if kind != _ROWS:
        return []
    place = 12
    if flags & _MORE:
        place += 4 + max(struct.unpack_from(">i", answer, place)[0], 0)
    (count,) = struct.unpack_from(">i", answer, place)
    place += 4
    rows: list[list[bytes | None]] = []
    for _ in range(count):
        row: list[bytes | None] = []
        for _ in range(columns):
            (length,) = struct.unpack_from(">i", answer, place)
            place += 4
            row.append(answer[place : place + length] if length >= 0 else None)
            place += max(length, 0)
        rows.append(row)
    return rows


def peers_of(rows: Iterable[Sequence[bytes | None]]) -> tuple[str, ...]:
    """The addresses in rows of (peer, data_center); a peer whose data centre is not known yet does not count."""
    families = {4: socket.AF_INET, 16: socket.AF_INET6}
    return tuple(sorted(socket.inet_ntop(families[len(peer)], peer) for peer, place in rows if peer and place))


def main(arguments: list[str]) -> int:
    """Ask until it is ready or the wait is over."""
    engine, address, port, wait_s, *peers = arguments
    end = time.monotonic() + float(wait_s)
    while True:
        standing = ASKING[engine](address, int(port))
        if not standing.lacks(peers) or time.monotonic() >= end:
            sys.stdout.write(json.dumps(standing._asdict()) + "\n")
            return 1 if standing.lacks(peers) else 0
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
