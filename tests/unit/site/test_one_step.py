"""A section as the engine's step decides it."""

from collections.abc import Sequence
from typing import Any, cast

from polysite.core import lock_cell
from polysite.core.lock_cell import Author
from polysite.core.one_shot import OneShot
from polysite.core.plans import PutIntent
from polysite.core.session import SessionSettings
from polysite.site.context import SiteContext
from polysite.site.idempotency import RECORDS, Receipt
from polysite.site.one_step import SectionDone, _Step
from polysite.stores.contract import TableWrites
from polysite.values.keys import RowKey
from polysite.values.rows import StoredRow, Write
from polysite.values.tables import ColumnSpec, TableSpec

TABLE = TableSpec(
    keyspace="ks", name="t", columns=(ColumnSpec("id", "text"), ColumnSpec("count", "text")), partition_key=("id",)
)
KEY = RowKey((b"a",))
RECORD = RowKey((b"site", b"request"))


class Context:
    """What a step asks of its process."""

    author = Author("site", "process", "1")
    session_settings = SessionSettings()

    def new_id(self) -> bytes:
        return bytes(16)

    def now_stamp(self) -> int:
        return 2**52 + 1


class Beside:
    """A record that is stored beside the effect."""

    doubted = False
    joint = True
    place = (RECORDS, RECORD)

    async def is_recorded(self) -> bool:
        return False

    async def before(self, done: SectionDone, writes: Sequence[Write]) -> None:
        """Not on this road."""

    def __call__(self, done: SectionDone, writes: Sequence[Write] | None) -> Receipt:
        return Receipt(TableWrites(RECORDS, []), ())


def test_only_the_last_call_counts() -> None:
    """The engine may have a step decided more than once, and take back what an earlier call was for: what was found then is
    forgotten. A record there, then none, then one again."""
    step: Any = _Step(cast(SiteContext, Context()), TABLE, [PutIntent(KEY, {"count": b"1"})], bytes(16), Beside())
    there, gone = (StoredRow(RECORD, {}, present) for present in (True, False))
    empty = lock_cell.encode(lock_cell.empty())
    assert step(0, empty, [there]) is None
    assert step.is_recorded
    assert [step.plan, step.done] == [None, None]
    effect = step(3, empty, [gone])
    assert effect is not None
    assert not step.is_recorded
    assert type(step.plan) is OneShot
    assert (step.plan.expected_version, step.done is None) == (3, False)
    assert step(4, empty, [there]) is None
    assert step.is_recorded
    assert [step.plan, step.done] == [None, None]
