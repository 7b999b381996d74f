"""What acsylla can tell and carry: its errors as failures, its values as bytes."""

import pytest
from acsylla import errors as acsylla_errors

from polysite.engines.cassandra.acsylla import INVALID, KINDS, failure_of
from polysite.engines.cassandra.acsylla_ready import Ready
from polysite.engines.cassandra.acsylla_values import EXACT, bind_all, binders, givers, is_exact, rows_as_bytes
from polysite.engines.cassandra.outcomes import Work, judged
from polysite.engines.cassandra.port import UNSET, Page, Statement
from polysite.errors import BadRequest, OutcomeUnknown, PolysiteError, QuorumUnavailable, Unavailable, UnknownKey
from polysite.values.types import parse_type

SUPERSEDED = acsylla_errors.CassErrorServerWriteTimeout(
    "Write timeout: Operation timed out - received only 0 responses."
)
"""As it was told of a read at SERIAL and of a change, by three sites that change one row."""
NOBODY = acsylla_errors.CassErrorLibNoHostsAvailable("No hosts available: All hosts in current policy attempted")


@pytest.mark.parametrize(
    ("error", "work", "expected", "reason"),
    [
        (acsylla_errors.CassErrorServerWriteTimeout("Write timeout: …"), "conditional", OutcomeUnknown, "write_timeout"),
        (acsylla_errors.CassErrorServerWriteTimeout("Write timeout: … received only 1 responses."), "read", QuorumUnavailable, None),
        (SUPERSEDED, "read", Unavailable, "contention"),
        (SUPERSEDED, "conditional", OutcomeUnknown, "write_timeout"),
        (acsylla_errors.CassErrorServerServerError("Server error: … Unknown CF 8449"), "read", UnknownKey, None),
        (acsylla_errors.CassErrorServerServerError("Server error: …"), "read", Unavailable, None),
        (acsylla_errors.CassErrorServerWriteTimeout("Write timeout: …"), "write", OutcomeUnknown, "write_timeout"),
        (acsylla_errors.CassErrorServerUnavailable("Unavailable: …"), "conditional", QuorumUnavailable, None),
        (acsylla_errors.CassErrorLibRequestTimedOut("Request timed out"), "conditional", OutcomeUnknown, "client_timeout"),
        (acsylla_errors.CassErrorLibRequestTimedOut("Request timed out"), "read", Unavailable, None),
        (acsylla_errors.CassErrorServerInvalidQuery("Invalid query: table t does not exist"), "read", UnknownKey, None),
        (acsylla_errors.CassErrorServerSyntaxError("Syntax error: line 1"), "read", BadRequest, None),
        (acsylla_errors.CassErrorLibInternalError("Internal error"), "write", OutcomeUnknown, "unclear"),
        (NOBODY, "write", OutcomeUnknown, "connection_lost"),
    ],
)  # fmt: skip
def test_what_an_error_means(
    error: BaseException, work: Work, expected: type[PolysiteError], reason: str | None
) -> None:
    """Its errors say class and text only: whatever may have been a commit in time-out, or a socket that broke, is unknown."""
    ours = judged(failure_of(error), work)
    assert type(ours) is expected
    assert ours.attributes.get("reason") == reason


def test_nobody_was_there_all_the_while() -> None:
    """Only if no host was up from before the request until its answer, "no hosts available" proves it was not sent."""
    ours = judged(failure_of(NOBODY, was_down=True), "conditional")
    assert type(ours) is Unavailable


def test_every_class_named_is_there() -> None:
    """The table names classes that acsylla has; a misspelt one would make its failures unclear."""
    assert all(hasattr(acsylla_errors, name) for name in (*KINDS, *INVALID, "CassErrorLibNoHostsAvailable"))


@pytest.mark.parametrize("name", sorted(EXACT))
def test_bytes_come_back_as_they_were(name: str) -> None:
    """What is bound for bytes and what they are read as agree, for a few of each type; null stays null."""
    samples = {
        "ascii": [b"", b"abc"],
        "text": [b"", "é\0".encode()],
        "boolean": [b"\0", b"\1"],
        "blob": [b"", b"\0\xff"],
        "varint": [b"\0", b"\x80", b"\0\xff"],
        "inet": [b"\x7f\0\0\1", bytes(15) + b"\1"],
    }
    sizes = {"tinyint": 1, "smallint": 2, "int": 4, "float": 4, "bigint": 8, "double": 8, "uuid": 16, "timeuuid": 16}
    for data in samples.get(name) or [b"\x40" * sizes[name], b"\xc0" + b"\1" * (sizes[name] - 1)]:
        to_bind, to_bytes = EXACT[name]
        given = to_bind(data)
        shown = str(given) if name in ("uuid", "timeuuid") else given
        assert to_bytes(shown) == data
    assert rows_as_bytes(givers(["v", "[applied]"], {"v": parse_type(name)}), [[None, True]]) == [[None, b"\1"]]


def test_what_is_not_exact_goes_another_way() -> None:
    """A statement is exact only if every type it takes and gives is."""
    blob, decimal = parse_type("blob"), parse_type("decimal")
    assert is_exact(Statement("…", (blob,), {"v": blob}))
    assert not is_exact(Statement("…", (blob, decimal), {"v": blob}))
    assert not is_exact(Statement("…", (blob,), {"v": parse_type("list<int>")}))


class Places:
    """What is bound where."""

    def __init__(self) -> None:
        self.found: dict[int, object] = {}

    def bind(self, at: int, value: object) -> None:
        self.found[at] = value


def test_bytes_of_another_type_are_refused() -> None:
    """What cannot be of the type of its place is a refusal that names the place and shows nothing of it."""
    good = (b"\x01", b"t", bytes(8), bytes(8))
    statement = Statement("…", tuple(parse_type(name) for name in ("boolean", "text", "bigint", "double")))
    for at, data in enumerate((b"", b"\xff", b"1234567", b"\0")):
        values = [*good[:at], data, *good[at + 1 :]]
        with pytest.raises(BadRequest, match=f"value {at + 1} of the statement is not of its type"):
            bind_all(Places(), binders(statement), values)


def test_what_is_bound() -> None:
    """Null is bound as null, what is unset is left out, bytes that need no conversion are bound as they are."""
    places, blob = Places(), parse_type("blob")
    bind_all(places, binders(Statement("…", (blob, blob, parse_type("int"), blob))), [b"a", UNSET, None, b"b"])
    assert places.found == {0: b"a", 2: None, 3: b"b"}


@pytest.mark.parametrize("count", [0, 2])
def test_as_many_values_as_places(count: int) -> None:
    """Too few or too many values are a refusal, before anything is bound."""
    places = Places()
    with pytest.raises(BadRequest, match=f"takes 1 values, not {count}"):
        bind_all(places, binders(Statement("…", (parse_type("blob"),))), [b"x"] * count)
    assert not places.found


class Answer:
    """A result of acsylla with one row, and how often it was asked for its names."""

    def __init__(self, row: list[object]) -> None:
        self._row = row
        self.asked = 0

    def columns_names(self) -> list[str]:
        self.asked += 1
        return ["v", "n"]

    def count(self) -> int:
        return 1

    def first(self) -> "Answer":
        return self

    def as_list(self) -> list[object]:
        return self._row

    def has_more_pages(self) -> bool:
        return False


def test_columns_of_a_statement_are_looked_at_once() -> None:
    """The second answer of a SELECT is read with what the first said of its columns, until what it gives is defined anew."""
    text, statement = (
        parse_type("text"),
        Statement("SELECT v, n FROM t", (), {"v": parse_type("text"), "n": parse_type("int")}),
    )
    ready, answers = Ready(None, statement), [Answer(["a", 1]), Answer([None, 2]), Answer(["a", "2"])]
    assert ready.page(answers[0], statement.gives) == Page(["v", "n"], [[b"a", b"\0\0\0\1"]])
    assert ready.page(answers[1], statement.gives) == Page(["v", "n"], [[None, b"\0\0\0\2"]])
    assert ready.page(answers[2], {"v": text, "n": text}) == Page(["v", "n"], [[b"a", b"2"]])
    assert [each.asked for each in answers] == [1, 0, 1]
