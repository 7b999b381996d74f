"""How wishes become changes of a cell, and how changes without an answer are understood.

A process keeps one change per key under way at a time; wishes that come meanwhile go into the next one. A change is
immutable once built: the same id, bytes and expected version, however often it is sent.

    wish -> AskedWish(id, version its author last saw) -> build_change(cell, version, wishes, ...) -> Change
         -> compare-and-set -> applied: change.results | not applied: look for own ids in the cell that came back, build anew
                            -> no answer: read linearizably, resolve_unknown(...)
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import msgspec

from polysite.core.lock_cell import Author, Entry, LockCell
from polysite.core.wishes import Result, Wish

WISHES_MAX = 64
"""Wishes in one change; more go into the next."""


class AskedWish(msgspec.Struct, frozen=True, array_like=True):
    """A wish, its id (16 bytes, the same by whatever road it travels) and the cell version its author last saw."""

    wish_id: bytes
    seen_version: int
    wish: Wish


class Change(msgspec.Struct, frozen=True):
    """A compare-and-set that is ready to be sent: on `expected_version`, to `content` (which decodes to `cell`).

    `results`: what every wish that was put in gets if it applies, in order, by wish id; wishes that the cell already
    remembered have their old result here. `expired`: wishes older than what the cell remembers: not in it, their authors
    read linearizably and ask again. `effective` false: no wish changes anything, so nothing need be sent; refusals judged on
    a local view prove nothing until a linearizable read shows the same version.
    """

    change_id: bytes
    expected_version: int
    content: bytes
    cell: LockCell
    results: Mapping[bytes, Result]
    expired: tuple[bytes, ...]
    effective: bool
    wishes: tuple[AskedWish, ...]


def build_change(
    cell: LockCell,
    version: int,
    wishes: Sequence[AskedWish],
    *,
    change_id: bytes,
    author: Author,
    now: int,
) -> Change:
    """Gather up to `WISHES_MAX` wishes, applied in order on the intermediate states. `now` is a stamp."""
    raise NotImplementedError


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
    """What became of a change whose compare-and-set was not answered, from a linearizable read made after it was sent."""
    raise NotImplementedError


def search_own(wish_ids: Iterable[bytes], cell: LockCell) -> dict[bytes, Result]:
    """Those of the wishes that the cell says are decided. To be asked of every cell that comes back, also with a refusal."""
    raise NotImplementedError


def combiner_of(key: bytes, processes: Sequence[str]) -> str:
    """Which of a site's processes combines the wishes for a key: a rendezvous hash, so that one that comes or goes moves few
    keys. `processes` is not empty."""
    raise NotImplementedError


def steward_of(cell: LockCell, *, idle_s: float, rtt_s: float) -> Author | None:
    """Which process carries changes of this cell: the head's; while the queue is empty the last changer's for 10 W.

    `idle_s`: how long the caller has seen this version on its own clock; `rtt_s` is W. None: nobody, do your own. It is
    advice: the register arbitrates.
    """
    raise NotImplementedError


def may_keep_back(cell: LockCell, wish: Wish) -> bool:
    """Whether a steward may keep the wish for its next release or renewal: it does not change who holds."""
    raise NotImplementedError


def keep_back_s(rtt_s: float) -> float:
    """How long at most a wish is kept back: 4 W."""
    raise NotImplementedError


def noted_within_s(steward_rtt_s: float) -> float:
    """How long to wait for the steward's `noted` before an own compare-and-set: the measured round trip to it + 100 ms."""
    raise NotImplementedError


def decided_within_s(rtt_s: float) -> float:
    """How long to wait for the decided cell after `noted`: 8 W + 200 ms."""
    raise NotImplementedError


def own_attempt_delay_s(rtt_s: float, unknowns: int, fraction: float) -> float:
    """How long to wait before an own attempt after `unknowns` unanswered or lost ones: full jitter over W that doubles with each.

    `fraction` is a random number in [0, 1).
    """
    raise NotImplementedError


def entries_of(cell: LockCell, process: str, incarnation: str) -> tuple[Entry, ...]:
    """The entries whose session this incarnation of a process is, for renewals and for farewells."""
    raise NotImplementedError
