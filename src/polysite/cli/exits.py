"""Exit codes: what a script can do next, told apart.

They keep clear of the codes that commands under `polysite lock hold` commonly end with.
"""

from polysite.errors import LockLost, PolysiteError

DONE = 0
NOT_FOUND = 1
"""There is no such row; nothing went wrong."""
USAGE = 2
"""The command line is malformed; nothing was sent."""
REFUSED = 10
"""It did not happen, and sending the same again gives the same."""
TRY_AGAIN = 11
"""It did not happen, for a passing reason."""
UNKNOWN = 12
"""It may have happened."""
LOCK_LOST = 13
"""The lock was lost while it was used."""
INTERNAL = 70
"""The command itself failed: a defect."""
NOT_STARTED = 126
NOT_THERE = 127
"""`lock hold` could not start its command, or did not find it: as shells say it."""
SIGNALLED = 128
"""Plus the number of the signal that ended the command."""

MEANINGS = {
    DONE: "done",
    NOT_FOUND: "there is no such row",
    USAGE: "the command line is malformed; nothing was sent",
    REFUSED: "refused: it did not happen, and the same again gives the same",
    TRY_AGAIN: "refused for a passing reason: try again",
    UNKNOWN: "unknown: it may have happened",
    LOCK_LOST: "the lock was lost while it was used",
    INTERNAL: "the command itself failed",
    NOT_STARTED: "`lock hold`: the command could not be started",
    NOT_THERE: "`lock hold`: there is no such command",
}


def code_of(error: PolysiteError) -> int:
    """The exit code that tells what `error` means."""
    if isinstance(error, LockLost):
        return LOCK_LOST
    if error.outcome == "unknown":
        return UNKNOWN
    return TRY_AGAIN if error.retry else REFUSED
