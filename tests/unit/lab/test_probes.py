"""Whether an engine answers: what its answers mean. The bytes are laid out by hand from the protocol's specification."""

import struct

import pytest

from polysite.lab.engines.probes import Standing, peers_of, rows_of, standing_of_srvr
from polysite.lab.engines.running import last_words


def result(*rows: tuple[bytes | None, ...], flags: int = 4, state: bytes = b"") -> bytes:
    """The body of a RESULT of rows, without metadata."""
    cells = b"".join(
        struct.pack(">i", -1) if cell is None else struct.pack(">i", len(cell)) + cell for row in rows for cell in row
    )
    return struct.pack(">iii", 2, flags, 2) + state + struct.pack(">i", len(rows)) + cells


def test_rows_are_read() -> None:
    """Goal: rows, nulls, a paging state before them, and a result that is none."""
    assert rows_of(result((b"ab", None), (b"", b"c")), 2) == [[b"ab", None], [b"", b"c"]]
    assert rows_of(result((b"a", b"b"), flags=6, state=struct.pack(">i", 3) + b"xyz"), 2) == [[b"a", b"b"]]
    assert rows_of(struct.pack(">iii", 1, 0, 0), 2) == []
    with pytest.raises(struct.error):
        rows_of(result((b"a", b"b"))[:12], 2)


def test_peers() -> None:
    """Goal: a peer counts once its data centre is known, since a keyspace cannot name it before; both kinds of addresses are told."""
    rows = [(b"\x7f\x00\x00\x02", b"ams"), (b"\x7f\x00\x00\x03", None), (b"\x00" * 15 + b"\x01", b"bei")]
    assert peers_of(rows) == ("127.0.0.2", "::1")


def test_what_is_lacking() -> None:
    """Goal: ready only if it serves and lists everybody, and told in words otherwise."""
    assert Standing(peers=("a", "b")).lacks(["a"]) == ""
    assert Standing(peers=("a",)).lacks(["c", "a", "b"]) == "it does not list b, c yet"
    assert Standing(flaw="refused").lacks([]) == "refused"


@pytest.mark.parametrize(
    ("answer", "standing"),
    [
        ("Zookeeper version: 3.9.3\nMode: leader\nNode count: 5\n", Standing(mode="leader")),
        ("Zookeeper version: 3.9.3\nMode: standalone\n", Standing(mode="standalone")),
        (
            "This ZooKeeper instance is not currently serving requests\n",
            Standing(flaw="This ZooKeeper instance is not currently serving requests"),
        ),
        ("", Standing(flaw="it answered nothing")),
    ],
)
def test_srvr(answer: str, standing: Standing) -> None:
    """Goal: who leads is told, and a server that has not joined its ensemble does not count."""
    assert standing_of_srvr(answer) == standing


def test_last_words() -> None:
    """Goal: the lines that tell why it died are not crowded out by the frames of a stack, nor by remarks of what still went well."""
    log = "one\nERROR it broke: port in use\n\tat a.B.c(D.java:1)\n\t... 8 more\n\nWARNING: Please consider reporting this\nlast \n"
    assert last_words(log, 2) == "ERROR it broke: port in use\nlast"
    assert (
        last_words("20:41:54.589 WARN  [main] A - odd\n20:41:54.590 INFO  [main] A - flushed\n", 2)
        == "20:41:54.589 WARN  [main] A - odd"
    )
    assert last_words("20:41:54.590 INFO  [main] A - one\n20:41:54.590 INFO  [main] A - two\n", 1).endswith("two")
    assert last_words("", 2) == ""
