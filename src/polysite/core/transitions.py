"""The transitions of a lock cell: each is one compare-and-set on the version that was read.

    wish            needs                                         does
    enqueue         room; the request not seen before             append; empty queue: floor := max(floor + 1, now)
    release clean   head; nothing unanswered and uncovered        pop; floor := max(floor, last + 1, now)
    release dirty   head                                          pop; floor likewise; fence := floor
    leave           shared holder that is not first               remove
    preempt         entries exactly as observed, or an order      drop; head too: floor := max(floor + WINDOW, now), fence := floor
    take over       secret, and the old session is known gone     new nonce; head: floor := floor + WINDOW, fence := floor
    extend          head                                          floor := floor + WINDOW
    renew           entries of one process                        beats move
    cancel          an entry that has written nothing             remove
    promote         shared entry, no other promotion in its run   promoting, up to the last entry of the run
    withdraw        promoting entry                               shared
    compact         empty queue, long idle                        forget recent and departed

Nothing else changes a cell. issued, floor and fence never go back.
"""

from polysite.core.lock_cell import LockCell
from polysite.core.wishes import Result, Wish


def apply(cell: LockCell, wish: Wish, now: int) -> tuple[LockCell, Result]:
    """The cell after `wish`, and the wish's result; the same cell object if the wish is refused or changes nothing.

    `now` is a stamp (`stamps.now_stamp`). Does not touch `recent`: `combine.build_change` does.
    """
    raise NotImplementedError


def pass_through(cell: LockCell, request_id: bytes, used: int, now: int) -> tuple[LockCell, int, int]:
    """Enqueue and clean release in one step, for a one-shot section on a cell whose queue is empty.

    `used`: how many stamps the section needs. Answers the cell after it, the ticket, and the first of the section's stamps.
    """
    raise NotImplementedError
