"""What Cassandra cells ask for: at which level, in which scope, and what they make of the answers; over a port that takes notes.

One Cassandra node cannot tell a linearizable read from a local one, so the levels are looked at here, and the answers on a real one.
"""

from collections.abc import Sequence
from typing import Any, cast

import pytest

from polysite.cells.accord import AccordCells
from polysite.cells.cassandra import CassandraCells
from polysite.cells.contract import NEVER_WRITTEN, CellAnswer, CellCosts, CellView
from polysite.clock import SystemClock
from polysite.engines.cassandra import Bound, CassandraPort, Conditional, Consistency, Page, Statement, Value
from polysite.engines.cassandra.settings import cassandra_settings_from
from polysite.errors import OutcomeUnknown

pytestmark = pytest.mark.anyio

KEY = b"key"
ONE = (1).to_bytes(8, "big")


class Notes:
    """The part of a port that cells use; `answer` is given to whatever is asked."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[tuple[Any, ...]] = []

    def _answered(self) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def read(self, statement: Statement, values: Sequence[Value], *, consistency: Consistency) -> Page:
        self.asked.append((statement.text.split()[0], list(values), consistency))
        return cast(Page, self._answered())

    async def write_if(self, writes: Sequence[Bound], *, commit: Consistency, serial: Consistency) -> Conditional:
        ((statement, values),) = writes
        self.asked.append((statement.text.split()[0], list(values), commit, serial))
        return cast(Conditional, self._answered())


def cells_on(answer: Any, **others: Any) -> tuple[CassandraCells, Notes]:
    notes = Notes(answer)
    raw = {"contact_points": ["10.0.0.1"], "data_center": "ams", "replicas": {"ams": 1, "bei": 1, "irv": 1}, **others}
    cells = CassandraCells(cast(CassandraPort, notes), cassandra_settings_from(raw), clock=SystemClock())
    return cells, notes


PAGE = Page(["version", "content"], [[ONE, b"one"]])


@pytest.mark.parametrize(
    ("others", "serial"),
    [({}, Consistency.SERIAL), ({"one_site": True, "replicas": {"ams": 3}}, Consistency.LOCAL_SERIAL)],
)
async def test_reads(others: dict[str, Any], serial: Consistency) -> None:
    """The local view at LOCAL_ONE, the linearizable one in the scope of the agreement."""
    cells, notes = cells_on(PAGE, **others)
    assert await cells.read_local(KEY) == await cells.read(KEY) == CellView(1, b"one")
    assert notes.asked == [("SELECT", [KEY], Consistency.LOCAL_ONE), ("SELECT", [KEY], serial)]


@pytest.mark.parametrize(
    ("others", "commit", "serial"),
    [
        ({}, Consistency.LOCAL_QUORUM, Consistency.SERIAL),
        ({"commit": "LOCAL_ONE"}, Consistency.LOCAL_ONE, Consistency.SERIAL),
        ({"one_site": True, "replicas": {"ams": 3}}, Consistency.LOCAL_QUORUM, Consistency.LOCAL_SERIAL),
    ],
)
async def test_changes(others: dict[str, Any], commit: Consistency, serial: Consistency) -> None:
    """The first change makes the row if there is none, later ones expect a version; both at the levels of the settings."""
    cells, notes = cells_on(Conditional(True), **others)
    assert await cells.compare_and_set(KEY, 0, b"one") == CellAnswer(True, CellView(1, b"one"))
    assert await cells.compare_and_set(KEY, 1, b"two") == CellAnswer(True, CellView(2, b"two"))
    two = (2).to_bytes(8, "big")
    assert notes.asked == [
        ("INSERT", [KEY, ONE, b"one"], commit, serial),
        ("UPDATE", [two, b"two", KEY, ONE], commit, serial),
    ]


@pytest.mark.parametrize(
    ("found", "view"),
    [
        (Page(["content", "version"], [[b"one", ONE]]), CellView(1, b"one")),
        (Page(["key", "content", "version"], [[KEY, b"", ONE]]), CellView(1, b"")),
        (Page([], []), NEVER_WRITTEN),
        (Page(["content", "version"], [[None, None]]), NEVER_WRITTEN),
    ],
)
async def test_what_stood_against_a_change(found: Page, view: CellView) -> None:
    """The current cell is read from the refusal, in whichever order its columns come; nothing there is a cell never written."""
    cells, _ = cells_on(Conditional(False, found))
    assert await cells.compare_and_set(KEY, 7, b"x") == CellAnswer(False, view)


async def test_unknown_is_told_as_such() -> None:
    """What the port does not know the cells do not know either: no second attempt."""
    cells, notes = cells_on(OutcomeUnknown("not answered", reason="client_timeout"))
    with pytest.raises(OutcomeUnknown):
        await cells.compare_and_set(KEY, 1, b"two")
    assert len(notes.asked) == 1


def test_costs() -> None:
    """Between sites two round trips for a change, one for a read or a refusal; none where one data center agrees with itself."""
    assert cells_on(None)[0].costs == (0, 1, 2, 1)
    assert cells_on(None, replicas={"ams": 3})[0].costs == (0, 0, 0, 0)
    assert cells_on(None, one_site=True, replicas={"ams": 3})[0].costs == (0, 0, 0, 0)


async def test_accord_asks_for_what_it_takes() -> None:
    """Accord agrees over all copies, and nobody's commit is waited for: SERIAL and ANY. The local view is the nearest replica's."""
    notes = Notes(PAGE)
    raw = {"contact_points": ["10.0.0.1"], "data_center": "ams", "replicas": {"ams": 1, "bei": 1, "irv": 1}}
    cells = AccordCells(cast(CassandraPort, notes), cassandra_settings_from(raw), clock=SystemClock())
    await cells.read_local(KEY)
    await cells.read(KEY)
    notes.answer = Conditional(True)
    await cells.compare_and_set(KEY, 1, b"two")
    assert [asked[2:] for asked in notes.asked] == [
        (Consistency.LOCAL_ONE,),
        (Consistency.SERIAL,),
        (Consistency.ANY, Consistency.SERIAL),
    ]
    assert (cells.costs.compare_and_set, cells.costs.read_local) == (1, 0)
    one_site = cassandra_settings_from({**raw, "replicas": {"ams": 1}})
    assert AccordCells(cast(CassandraPort, notes), one_site, clock=SystemClock()).costs == CellCosts()
