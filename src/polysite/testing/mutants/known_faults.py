"""Which mutant brings each known fault back: the steps of the original's algorithm, each of which it fails without, and the original's own faults.

`STEPS` are the rows of `locks.md` 1.6 of the design, `FAULTS` its B1 to B19 (3.1, those that break safety). Each is revived by mutants, or it is said why none
can be.
"""

from typing import NamedTuple


class Known(NamedTuple):
    """A step without which the algorithm fails, or a fault that the original has. `mutants`: by name, those that revive it; none: `why` says why
    none can."""

    name: str
    what: str
    mutants: tuple[str, ...]
    why: str = ""


STEPS: tuple[Known, ...] = (
    Known(
        "ticket",
        "unique tickets from consensus, guard and row in one conditional batch",
        ("enqueue without max(floor)", "a request is enqueued again"),
    ),
    Known(
        "past state",
        "a local peek returns some past true state of the queue",
        (),
        "A cell is one register with the whole queue, so whatever any replica shows of it is a state that it had: a view with a hole cannot be made.",
    ),
    Known(
        "flag before dequeue",
        "the flag is on a quorum before the dequeue, and read by the next holder",
        ("preempt without fence", "dirty release without fence", "waiter uses the fence seen at enqueue"),
    ),
    Known(
        "sync",
        "the successor reads a quorum and writes what it read in its own slot, before it answers",
        ("no fence rule", "re-stamp at the old stamp", "re-stamp not awaited", "absent rows not re-stamped"),
    ),
    Known(
        "flag by ticket",
        "the flag is ordered by tickets, not by clocks: who is preempted cannot clear it",
        ("fence cleared by a clean release", "nonce unchecked: who was taken over goes on"),
    ),
    Known(
        "quorum and slot",
        "puts go to a quorum, with stamps of the holder's slot",
        (
            "acknowledge after one replica",
            "read from one replica",
            "preempt sets floor := last seen",
            "release clean sets floor := last",
            "write past the window",
        ),
    ),
    Known(
        "dirty release",
        "a holder whose last put is not acknowledged does not release in the ordinary way",
        (
            "dirty release treated as clean",
            "a write without an answer counts as not sent",
            "unanswered range delete released clean",
        ),
    ),
    Known(
        "eventual writes",
        "eventual writes use no slot above the current holder's",
        ("an unlocked write is stamped above the locks",),
    ),
)

FAULTS: tuple[Known, ...] = (
    Known(
        "B1",
        "a replica that missed one enqueue and has the next shows a queue with a hole, and two hold",
        (),
        "The queue is one value of one register: a replica has all of it as it was at some time, or none of it.",
    ),
    Known(
        "B2",
        "the sync is stamped below what it rewrites",
        ("re-stamp at the old stamp", "no fence rule"),
    ),
    Known(
        "B3",
        "errors of the sync are swallowed, and the acquire succeeds",
        ("re-stamp not awaited", "batches of a settle not awaited", "no fence rule"),
    ),
    Known(
        "B4",
        "the flag cannot be written, and the holder is dequeued all the same",
        ("preempt without fence",),
    ),
    Known(
        "B5",
        "flags are set and deleted in the order of two clocks: one set later is lost",
        ("fence cleared by a clean release", "enqueue without max(floor)"),
    ),
    Known(
        "B6",
        "a clean-up deletes holders without a flag, and waiters by their age",
        ("preempt without fence", "preempt drops entries that live", "preempt by ticket alone: a beat does not save"),
    ),
    Known(
        "B7",
        "all readers of a run sync, each to what it read",
        ("shared: all re-stamp",),
    ),
    Known(
        "B8",
        "an unlocked write stamped with the last issued ticket hides what holders put",
        ("an unlocked write is stamped above the locks",),
    ),
    Known(
        "B9",
        "a put that failed or was not answered, and a voluntary release",
        ("dirty release treated as clean", "a write without an answer counts as not sent"),
    ),
    Known(
        "B10",
        "a third party preempts by a voluntary release, without a flag",
        ("preempt without fence", "dirty release without fence"),
    ),
    Known(
        "B11",
        "a put is acknowledged though its author was preempted meanwhile",
        (
            "answers are done whatever the lease",
            "gets are answered whatever the lease",
            "a write that outlives its release is done",
            "a lease counts from the answer",
        ),
    ),
    Known(
        "B12",
        "slots are left: the product overflows, a tenure has no end, clocks of several machines stamp one tenure",
        ("write past the window", "extend keeps window", "one stamp for a whole batch"),
    ),
    Known(
        "B13",
        "callers give a stamp of their own",
        (),
        "No write under a lock takes a stamp: its session draws each from its window. Writes without a lock may bring one, below all that locks use.",
    ),
    Known(
        "B14",
        "stamps are put into statements by replacing text, and are missing where it does not fit",
        (),
        "Statements are made from values, with the stamp bound; the simulation has no statements at all, and the contract suite of stores sees to the adapters.",
    ),
    Known(
        "B15",
        "a promotion does not close the run of readers: a reader beside a writer, two that wait for each other",
        ("promotion without upto", "shared readers beside a writer"),
    ),
    Known(
        "B16",
        "a conditional update that did not apply counts as applied",
        ("release by one who is not head",),
    ),
    Known(
        "B17",
        "dequeue first, flag afterwards",
        ("preempt without fence", "dirty release without fence"),
    ),
    Known(
        "B18",
        "plain stamps, a holder test on an old view, two processes both reach the lock",
        ("read from one replica", "nonce unchecked: who was taken over goes on"),
    ),
    Known(
        "B19",
        "a preemption never sets the flag",
        ("preempt without fence",),
    ),
)
