"""What a record that was stored together with its write proves about the write.

A commit may arrive late: after its holder was preempted. Write and record are then both there, but the write lies below the
fence and nobody needs to see it. So the record alone does not make the write done.
"""

from polysite.core.lock_cell import LockCell


def proves_done(stamp: int, cell: LockCell) -> bool:
    """Whether a write with this stamp, known to be stored, was stored while its session held the lock.

    `cell` is from a linearizable read made after the write was found. A tenure that was preempted, taken over or released
    dirty has left the fence above every stamp of its window; one that was released clean had every write answered before.
    So a fence at or below the stamp says that the tenure still goes on or ended clean. A higher fence says nothing: it may be
    that of a later tenure.
    """
    return cell.fence <= stamp
