"""What a session tells its caller to do next: plans are values, the caller performs them.

The caller's loop is always the same: ask for a plan, do what it says, tell the outcome, ask again.

    Wait         until the operations named have ended (answered, unanswered, not sent, read given up), then plan again
    NeedExtend   make an `Extend` change, give the cell to `observe`, then plan again
    RenewFirst   the lease limit has passed: make a `Renew` change, tell `lease_applied`, then plan again
    Planned      send these writes as ONE atomic batch to a majority; then `answered`, `unanswered` or `not_sent`
    ReadRow      read the row from a majority; then `got` (or `give_up_read`)
    Answer       that is the row
    Restamp      send `planned`; once it is `answered`, `row` is the answer
    ReadAgain    the read does not count: plan again
    AskFirst     the first of the shared run must settle the row (or the partition): ask its process, then plan again
    ConfirmFence read the cell linearizably now (or take a view of a change or read that was sent after the row was read),
                 then `confirm`
"""

from typing import TypeAlias

import msgspec

from polysite.values.keys import RowKey
from polysite.values.rows import Slice, StoredRow, Write

Partition: TypeAlias = tuple[bytes, ...]


class PutIntent(msgspec.Struct, frozen=True, gc=False):
    """Write the named columns (None: null); the row exists afterwards. `life_ms` None: for ever."""

    key: RowKey
    cells: dict[str, bytes | None]
    life_ms: int | None = None


class DeleteIntent(msgspec.Struct, frozen=True, gc=False):
    """Delete one row."""

    key: RowKey


class RangeIntent(msgspec.Struct, frozen=True):
    """Delete the rows of a slice of one partition."""

    partition: Partition
    slice: Slice


Intent: TypeAlias = PutIntent | DeleteIntent | RangeIntent


class Planned(msgspec.Struct, frozen=True, gc=False):
    """Writes of one partition with their stamps, to be sent now as one atomic batch. From here on they count as sent."""

    op: int
    writes: tuple[Write, ...]
    partition: Partition
    stamp: int
    """The highest stamp among them."""


class Wait(msgspec.Struct, frozen=True):
    """Operations that must have ended first."""

    ops: frozenset[int]


class NeedExtend(msgspec.Struct, frozen=True):
    """The window has too few stamps left."""


class RenewFirst(msgspec.Struct, frozen=True):
    """The lease limit has passed: nothing may be answered from the session before a renewal applied."""


class ReadRow(msgspec.Struct, frozen=True, gc=False):
    """A read of one row from a majority that was begun as operation `op`."""

    op: int
    key: RowKey


class Answer(msgspec.Struct, frozen=True, gc=False):
    """The row, as it counts; `present` false: it is not there."""

    row: StoredRow


class Restamp(msgspec.Struct, frozen=True, gc=False):
    """The row must be rewritten before it may be answered."""

    planned: Planned
    row: StoredRow


class ReadAgain(msgspec.Struct, frozen=True):
    """The read does not count; its operation has ended."""


class AskFirst(msgspec.Struct, frozen=True):
    """Only the first of the shared run may make this readable; the read's operation has ended."""


class ConfirmFence(msgspec.Struct, frozen=True):
    """The read counts only if the cell, looked at after it, still shows the same fence."""

    op: int


class ReadRange(msgspec.Struct, frozen=True):
    """A read of a slice of one partition from a majority (its rows, in clustering order, and its part_stamp)."""

    op: int
    partition: Partition
    slice: Slice


class RangeAnswer(msgspec.Struct, frozen=True):
    """The rows read are the answer."""


class SettleFirst(msgspec.Struct, frozen=True):
    """The whole partition must be settled first: read all of it from a majority, `rows_max` + 1 rows at most, then
    `got_partition`. The operation goes on until `end_settle`."""

    op: int
    partition: Partition
    rows_max: int


class Settle(msgspec.Struct, frozen=True):
    """Batches that rewrite a whole partition. Send them (in any order, also side by side), tell each one's outcome; when all
    have ended, `end_settle`."""

    op: int
    partition: Partition
    batches: tuple[Planned, ...]


class Settled(msgspec.Struct, frozen=True):
    """The partition is settled: plan the range get again."""


class NotSettled(msgspec.Struct, frozen=True):
    """A batch was not answered: the partition is unsettled. Planning the range get again starts a new attempt."""


GetPlan: TypeAlias = Answer | ReadRow | Wait | RenewFirst | Restamp
GotRow: TypeAlias = Answer | Restamp | ReadAgain | AskFirst | ConfirmFence | NeedExtend
WritePlan: TypeAlias = Planned | Wait | NeedExtend
RangePlan: TypeAlias = ReadRange | SettleFirst | Settle | Wait
GotRange: TypeAlias = RangeAnswer | SettleFirst | ReadAgain | AskFirst | ConfirmFence
