"""How wishes become changes of a cell, and how changes without an answer are understood.

A process keeps one change per key under way at a time; wishes that come meanwhile go into the next one. A change is
immutable once built: the same id, bytes and expected version, however often it is sent.

    wish -> AskedWish(id, version its author last saw) -> build_change(cell, version, wishes, ...) -> Change
         -> compare-and-set -> applied: change.results | not applied: look for own ids in the cell that came back, build anew
                            -> no answer: read linearizably, resolve_unknown(...)
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import msgspec

from polysite.core.lock_cell import (
    Author,
    Entry,
    LockCell,
    departed_ticket,
    encode,
    entry_by_nonce,
    entry_by_request,
    entry_by_ticket,
    find_change,
    find_wish,
    head,
    holders,
    is_exclusive,
    pack_change,
    reaches_back,
    with_recent,
)
from polysite.core.transitions import apply
from polysite.core.wishes import (
    ID_BYTES,
    Cancel,
    Compact,
    Done,
    Enqueue,
    Enqueued,
    Identity,
    Leave,
    Promote,
    Refusal,
    ReleaseClean,
    ReleaseDirty,
    Result,
    TakeOver,
    Wish,
)

WISHES_MAX = 64
"""Wishes in one change; more go into the next."""

KEEP_BACK_TRIPS = 4
STEWARD_IDLE_TRIPS = 10
SILENT_TRIPS = 10
DOUBLINGS_MAX = 6
NOTED_S_MAX = 2.0
"""So long an answer of a steward is listened for, whoever goes on without it; what comes in this time says how slow answers are."""


BURST_GAP_S, BURST_S = 0.03, 0.3
"""Answers of a site come together if no more than that lies between two of them, and between the first and the last."""


class AskedWish(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A wish, its id (16 bytes, the same by whatever road it travels) and the cell version its author last saw."""

    wish_id: bytes
    seen_version: int
    wish: Wish


class Change(msgspec.Struct, frozen=True, gc=False):
    """A compare-and-set that is ready to be sent: on `expected_version`, to `content` (which decodes to `cell`).

    `results`: what every wish that was put in gets if it applies, in order, by wish id; wishes that the cell already
    remembered have their old result here. `expired`: wishes that are not in it, because they are older than what the cell
    remembers, or newer than the view it was built on: read linearizably, look for them there, and ask again. `effective` false: no wish changes anything, so nothing need be sent; refusals judged on
    a local view prove nothing until a linearizable read shows the same version. `head_before`: who was first in the cell that it stands on.
    """

    change_id: bytes
    expected_version: int
    content: bytes
    cell: LockCell
    results: Mapping[bytes, Result]
    expired: tuple[bytes, ...]
    effective: bool
    wishes: tuple[AskedWish, ...]
    head_before: Entry | None = None


def build_change(
    cell: LockCell,
    version: int,
    wishes: Sequence[AskedWish],
    *,
    change_id: bytes | None,
    author: Author,
    now: int,
) -> Change:
    """Gather up to `WISHES_MAX` wishes, applied in order on the intermediate states. `now` is a stamp.

    `change_id` None: a change of one wish goes by the wish's id. Another process may send the same wish alone as well, but on
    one version only one change is ever made, and what its record says of the wish is how the wish was decided.
    """
    if change_id is None:
        (alone,) = wishes
        if alone.seen_version == version:
            return _change_of(cell, alone, author, now)
        change_id = alone.wish_id
    results: dict[bytes, Result] = {}
    carried: list[tuple[bytes, Result]] = []
    expired: list[bytes] = []
    after = cell
    assert len(change_id) == ID_BYTES, "change ids have a fixed length"
    assert len(wishes) <= WISHES_MAX, "too many wishes in one change"
    for asked in wishes:
        assert len(asked.wish_id) == ID_BYTES, "wish ids have a fixed length"
        if asked.wish_id in results:
            continue
        # A wish that was asked on this very version cannot be in a change that made it, or an earlier one.
        remembered = find_wish(cell, asked.wish_id) if asked.seen_version < version else None
        if remembered is not None:
            results[asked.wish_id] = remembered
            continue
        if asked.seen_version > version or not reaches_back(cell, version, asked.seen_version):
            expired.append(asked.wish_id)
            continue
        if isinstance(asked.wish, Compact) and (asked.seen_version != version or after is not cell):
            result: Result = Refusal("compare_failed", "the cell has moved")
        else:
            after, result = apply(after, asked.wish, now)
        results[asked.wish_id] = result
        carried.append((asked.wish_id, result))
    recent = with_recent(after.recent, pack_change(change_id, version + 1, tuple(carried)))
    content = LockCell(after.issued, after.floor, after.fence, after.queue, recent, after.departed, author)
    return Change(
        change_id=change_id,
        expected_version=version,
        content=encode(content),
        cell=content,
        results=results,
        expired=tuple(expired),
        effective=after is not cell,
        wishes=tuple(wishes),
        head_before=head(cell),
    )


def _change_of(cell: LockCell, asked: AskedWish, author: Author, now: int) -> Change:
    """A change of one wish that was asked on this very version, as nearly all are: nothing need be searched for."""
    after, result = apply(cell, asked.wish, now)
    version = asked.seen_version
    recent = with_recent(after.recent, pack_change(asked.wish_id, version + 1, ((asked.wish_id, result),)))
    content = LockCell(after.issued, after.floor, after.fence, after.queue, recent, after.departed, author)
    results = {asked.wish_id: result}
    return Change(
        asked.wish_id, version, encode(content), content, results, (), after is not cell, (asked,), head(cell)
    )


class Happened(msgspec.Struct, frozen=True):
    """The change was made; these are its wishes' results."""

    results: Mapping[bytes, Result]


class SendAgain(msgspec.Struct, frozen=True):
    """The version has not moved: it may still be made. Send the identical change again."""


class NotMade(msgspec.Struct, frozen=True):
    """The change was not made and never will be. `decided`: wishes of it that another change carried meanwhile."""

    decided: Mapping[bytes, Result]


class Undecided(msgspec.Struct, frozen=True):
    """The cell remembers too little. `decided`: wishes whose own traces tell; `open`: wishes of which nothing is known, to be
    answered `OutcomeUnknown`. The absence of an entry never proves its release."""

    decided: Mapping[bytes, Result]
    open: tuple[bytes, ...]


Resolution: TypeAlias = Happened | SendAgain | NotMade | Undecided


def resolve_unknown(change: Change, version: int, cell: LockCell) -> Resolution:
    """What became of a change whose compare-and-set was not answered, from a linearizable read made after it was sent, or from any
    state of the register that is past the version it stands on: what was made is in it, and what was not never will be."""
    record = find_change(cell, change.change_id, change.expected_version + 1)
    if record is not None:
        return Happened({**change.results, **dict(record.results)})
    if version < change.expected_version:
        raise ValueError("a linearizable read cannot be older than the version the change was built on")
    if version == change.expected_version:
        return SendAgain()
    decided = search_own(change.results, cell)
    if reaches_back(cell, version, change.expected_version):
        return NotMade(decided)
    still_open: list[bytes] = []
    for asked in change.wishes:
        if asked.wish_id in decided or asked.wish_id not in change.results:
            continue
        traced = _trace(asked.wish, cell)
        if traced is None:
            still_open.append(asked.wish_id)
        else:
            decided[asked.wish_id] = traced
    return Undecided(decided, tuple(still_open))


def search_own(wish_ids: Iterable[bytes], cell: LockCell) -> dict[bytes, Result]:
    """Those of the wishes that the cell says are decided. To be asked of every cell that comes back, also with a refusal."""
    found: dict[bytes, Result] = {}
    for wish_id in wish_ids:
        result = find_wish(cell, wish_id)
        if result is not None:
            found[wish_id] = result
    return found


def trace(wish: Wish, cell: LockCell) -> Result | None:
    """What the entries of a later cell tell about a wish, where `recent` does not reach back to when it was asked. None: nothing;
    a Refusal `expired`: it had not been carried out."""
    return _trace(wish, cell)


def _trace(wish: Wish, cell: LockCell) -> Result | None:
    """What the entries alone tell about a wish that may have been carried out at any time before this state.

    Tickets are issued once and leave once, so an entry that is still there was not released, and a nonce that is there was
    taken over. An entry that is not there may have gone in other ways: that proves nothing.
    """
    if isinstance(wish, Enqueue):
        queued = entry_by_nonce(cell, wish.nonce) or entry_by_request(cell, wish.request_id)
        if queued is not None:
            return Enqueued(queued.ticket, repeated=True)
        gone = departed_ticket(cell, wish.request_id)
        return None if gone is None else Enqueued(gone, repeated=True, gone=True)
    if isinstance(wish, TakeOver):
        entry = entry_by_ticket(cell, wish.ticket)
        return Done() if entry is not None and entry.nonce == wish.nonce else None
    if isinstance(wish, ReleaseClean | ReleaseDirty | Leave | Cancel | Promote):
        entry = entry_by_ticket(cell, wish.ticket)
        if entry is None or entry.nonce != wish.nonce:
            return None
        if isinstance(wish, Promote):
            return Done() if entry.kind == "promoting" else None
        return Refusal("expired", "it was not carried out; ask again")
    return None


def combiner_of(key: bytes, processes: Sequence[str]) -> str:
    """Which of a site's processes combines the wishes for a key: a rendezvous hash, so that one that comes or goes moves few
    keys. `processes` is not empty."""
    assert processes, "a site has at least one process"
    return max(processes, key=lambda process: (_rendezvous(key, process), process))


def steward_of(
    cell: LockCell, *, idle_s: float, rtt_s: float, is_silent: Callable[[Author], bool] = lambda _: False
) -> Author | None:
    """Which process carries changes of this cell: the head's; while the queue is empty the last changer's for 10 W.

    `idle_s`: how long the caller has seen this version on its own clock; `rtt_s` is W. `is_silent`: who is asked in vain at the
    moment; the first in the queue who is not carries for the rest, for all who hear as little of the head agree on that one,
    and he is the next head. None: nobody, do your own. It is advice: the register arbitrates.
    """
    for entry in cell.queue:
        process = Author(entry.site, entry.process, entry.incarnation)
        if not is_silent(process):
            return process
    if cell.queue or idle_s < STEWARD_IDLE_TRIPS * rtt_s:
        return None if cell.author is None or is_silent(cell.author) else cell.author
    return None


def silent_for_s(rtt_s: float) -> float:
    """How long a process that did not note a wish in time is not asked again: 10 W."""
    return SILENT_TRIPS * rtt_s


def may_keep_back(cell: LockCell, wish: Wish) -> bool:
    """Whether a steward may keep the wish for its next release or renewal: it does not change who holds."""
    after, _ = apply(cell, wish, cell.floor)
    return _holding(after) == _holding(cell)


def keep_back_s(rtt_s: float) -> float:
    """How long at most a wish is kept back: 4 W."""
    return KEEP_BACK_TRIPS * rtt_s


class Patience(msgspec.Struct, gc=False):
    """How long answers of a site's stewards took lately: their mean and mean deviation, as TCP has it (RFC 6298). Between busy
    machines a `noted` takes longer than the round trip, and who does not wait for it changes the cell beside the steward.

    A process that stood still is not slow: when it goes on it answers at once all that it was asked meanwhile. So of answers that come together
    the quickest counts, which is the one that was asked for last.
    """

    mean_s: float | None = None
    deviation_s: float = 0.0
    burst: tuple[float, float, float] = (float("-inf"), float("-inf"), 0.0)
    """When the answers that came together last began to come, when the last of them came, and how long the quickest took."""
    before: tuple[float | None, float] = (None, 0.0)
    """Mean and deviation without them."""

    def answered(self, took_s: float, now_s: float) -> None:
        """An answer came now (own monotonic clock), which took so long."""
        began_s, last_s, quickest_s = self.burst
        if now_s - last_s <= BURST_GAP_S and now_s - began_s <= BURST_S:
            took_s = min(took_s, quickest_s)
            self.mean_s, self.deviation_s = self.before
        else:
            began_s = now_s
            self.before = (self.mean_s, self.deviation_s)
        self.burst = (began_s, now_s, took_s)
        if self.mean_s is None:
            self.mean_s, self.deviation_s = took_s, took_s / 4
            return
        self.deviation_s += (abs(took_s - self.mean_s) - self.deviation_s) / 4
        self.mean_s += (took_s - self.mean_s) / 8

    def beyond_s(self, steward_rtt_s: float) -> float:
        """How much longer than `noted_within_s` of a quiet network answers may be waited for."""
        if self.mean_s is None:
            return 0.0
        longest_s = self.mean_s + 4 * self.deviation_s
        return max(0.0, min(longest_s, NOTED_S_MAX) - noted_within_s(steward_rtt_s))


def noted_within_s(steward_rtt_s: float) -> float:
    """How long to wait for the steward's `noted` before an own compare-and-set: the measured round trip to it + 100 ms."""
    return steward_rtt_s + 0.1


def decided_within_s(rtt_s: float, beyond_s: float = 0.0) -> float:
    """How long to wait for the decided cell after `noted`: 8 W + 200 ms, and four times what answers take `beyond_s` the usual: the change
    and the push, and the release that it may be kept back for, take longer as well."""
    return 8 * rtt_s + 0.2 + 4 * beyond_s


def own_attempt_delay_s(rtt_s: float, unknowns: int, fraction: float) -> float:
    """How long to wait before an own attempt after `unknowns` unanswered or lost ones: full jitter over W that doubles with each.

    `fraction` is a random number in [0, 1).
    """
    assert 0 <= fraction < 1, "fraction is a random number in [0, 1)"
    return float(rtt_s * 2 ** min(unknowns, DOUBLINGS_MAX) * fraction)


def entries_of(cell: LockCell, process: str, incarnation: str) -> tuple[Entry, ...]:
    """The entries whose session this incarnation of a process is, for renewals and for farewells."""
    return tuple(entry for entry in cell.queue if entry.process == process and entry.incarnation == incarnation)


def _holding(cell: LockCell) -> list[tuple[Identity, bool]]:
    return [(entry.identity, is_exclusive(cell, entry.ticket, entry.nonce)) for entry in holders(cell)]


def _rendezvous(key: bytes, process: str) -> bytes:
    return hashlib.blake2b(key + b"\0" + process.encode(), digest_size=8).digest()
