"""What can be asked of a lock cell, and how it is answered.

A wish is one transition of the protocol as a value: it can be sent to another process, put into a change beside others, and
asked again. Every wish names what it needs to be true; `transitions.apply` checks it against the cell it meets.
Nonces are secrets between our processes: wishes go over the peer channel, never to clients.
"""

from typing import Literal, NamedTuple, TypeAlias

import msgspec

from polysite.errors import OutcomeUnknown, PolysiteError, from_code

ID_BYTES = 16
"""Length of change ids, wish ids and request ids."""

QUEUE_MAX = 256
"""Entries a queue may hold; beyond it `Overloaded`."""

EntryKind = Literal["exclusive", "shared", "promoting"]
Ground = Literal["incarnation_dead", "handed_over", "observed"]
"""Why an entry may be taken over: its old incarnation is known to be dead (a newer one of the same process is registered,
it said farewell, or on the same host its file lock could be taken), it handed the entry over, or its beat was observed
unchanged for its lease. A refused connection is no ground."""


class Identity(NamedTuple):
    """Which session of which entry: the nonce changes at every take-over."""

    ticket: int
    nonce: bytes


class Observed(NamedTuple):
    """An entry as an observer saw it, unchanged for the entry's lease."""

    ticket: int
    nonce: bytes
    beat: int


class Enqueue(msgspec.Struct, frozen=True, array_like=True, tag="enqueue", gc=False):
    """Append an entry. The answer is `Enqueued`, with the same ticket if `request_id` was enqueued before; empty: nobody can
    make the request again, and the cell need not remember it once the entry has left.

    `site_limit`: how many entries this site may have in the queue (`QUEUE_MAX // sites`). `secret` and `nonce` are made by
    the author in memory; `incarnation` names the author's run of its process. Refused: overloaded, cell_exhausted.
    """

    request_id: bytes
    secret: bytes
    nonce: bytes
    kind: Literal["exclusive", "shared"]
    site: str
    process: str
    incarnation: str
    lease_ms: int
    owner: str | None = None
    site_limit: int = QUEUE_MAX


class ReleaseClean(msgspec.Struct, frozen=True, array_like=True, tag="release_clean", gc=False):
    """The head lets go; all its writes are answered or covered. `last`: highest stamp it used, None if it used none.

    Refused: lock_lost (no such entry any more), not_holder (it is not the head).
    """

    ticket: int
    nonce: bytes
    last: int | None


class ReleaseDirty(msgspec.Struct, frozen=True, array_like=True, tag="release_dirty", gc=False):
    """The head lets go while a write of it is unanswered: the fence moves up. Refusals as `ReleaseClean`."""

    ticket: int
    nonce: bytes
    last: int | None


class Leave(msgspec.Struct, frozen=True, array_like=True, tag="leave"):
    """A shared holder that was not first in its own view, and so has used no stamp, goes; floor and fence stay.

    If it has become the head meanwhile it goes as a head that has written nothing. Refused: lock_lost, not_holder.
    """

    ticket: int
    nonce: bytes


class Preempt(msgspec.Struct, frozen=True, array_like=True, tag="preempt"):
    """Drop the entries that are still exactly as observed, waiting ones too; or, by order, the one that `forced` names.

    `ordered_by` says who gave the order. The answer is `Preempted` with the tickets dropped; if the head is among them floor
    moves by a window and the fence with it. Refused: compare_failed, if none of them is as it was observed.
    """

    observed: tuple[Observed, ...] = ()
    forced: Identity | None = None
    ordered_by: str | None = None


class TakeOver(msgspec.Struct, frozen=True, array_like=True, tag="take_over"):
    """Another process becomes the session of an entry, with a new nonce it made in memory; a head gets a new window and fence.

    `secret` comes from the client's reference; `old_nonce` (and with ground `observed` also `old_beat`) are as its author saw
    them. Refused: lock_lost (no such entry), forbidden (wrong secret), compare_failed (somebody else took it over, or it beat).
    """

    ticket: int
    secret: bytes
    old_nonce: bytes
    old_beat: int
    ground: Ground
    nonce: bytes
    site: str
    process: str
    incarnation: str


class Extend(msgspec.Struct, frozen=True, array_like=True, tag="extend"):
    """The head gets a further window right behind its old one. Refused: lock_lost, not_holder, cell_exhausted."""

    ticket: int
    nonce: bytes


class Renew(msgspec.Struct, frozen=True, array_like=True, tag="renew", gc=False):
    """Show that the entries' process lives: their beats move. The answer `Renewed` lists those that are still there.

    `lease_ms`: their leases are this from now on, None: as they are. Since the beat moves with it, observers count anew.
    Refused: lock_lost, if none is.
    """

    entries: tuple[Identity, ...]
    lease_ms: int | None = None


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag="cancel"):
    """Give up an entry whose author has written nothing under it and will not. If it holds by now, that is a clean release
    of a holder that has written nothing (or a leave). Refused: lock_lost."""

    ticket: int
    nonce: bytes


class CancelRequest(msgspec.Struct, frozen=True, array_like=True, tag="cancel_request"):
    """Give up the entry that was enqueued with `nonce`, for an author who never learned its ticket.

    Not there: refused with lock_lost, which proves nothing while the enqueue itself may still apply.
    """

    nonce: bytes


class Promote(msgspec.Struct, frozen=True, array_like=True, tag="promote"):
    """A shared entry asks to become exclusive when the others of its run have left; none may join the run meanwhile.

    Refused: lock_lost, compare_failed (another promotion in the run), bad_request (not a shared entry).
    """

    ticket: int
    nonce: bytes


class Withdraw(msgspec.Struct, frozen=True, array_like=True, tag="withdraw"):
    """A promoting entry becomes shared again; only before it has acted exclusively, which its session knows.

    Refused: lock_lost, bad_request (not promoting).
    """

    ticket: int
    nonce: bytes


class Compact(msgspec.Struct, frozen=True, array_like=True, tag="compact"):
    """Forget changes and departed entries of a cell that was idle for longer than any wish may be old (10 minutes).

    issued, floor and fence stay for ever. Refused: compare_failed (the queue is not empty, or the cell has moved).
    """


Wish: TypeAlias = (
    Enqueue
    | ReleaseClean
    | ReleaseDirty
    | Leave
    | Preempt
    | TakeOver
    | Extend
    | Renew
    | Cancel
    | CancelRequest
    | Promote
    | Withdraw
    | Compact
)


class Done(msgspec.Struct, frozen=True, array_like=True, tag=0, gc=False):
    """The transition was made."""


class Enqueued(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """The entry's ticket. `repeated`: the request had been enqueued before; `gone`: and its entry has left the queue."""

    ticket: int
    repeated: bool = False
    gone: bool = False


class Preempted(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The tickets dropped, in queue order; `ordered_by` is set when it was an order."""

    dropped: tuple[int, ...]
    ordered_by: str | None = None


class Renewed(msgspec.Struct, frozen=True, array_like=True, tag=3, gc=False):
    """The tickets whose beat moved; entries asked for and not listed are lost."""

    tickets: tuple[int, ...]


class Refusal(msgspec.Struct, frozen=True, array_like=True, tag=4, gc=False):
    """The transition was not made; `code` is one of `errors`."""

    code: str
    message: str

    def error(self) -> PolysiteError:
        """The error to raise where the author waits."""
        return from_code(self.code, self.message, {})


Result: TypeAlias = Done | Enqueued | Preempted | Renewed | Refusal


def unknown(message: str = "whether the change was made is not known") -> OutcomeUnknown:
    """The error of a wish that could not be decided."""
    return OutcomeUnknown(message)
