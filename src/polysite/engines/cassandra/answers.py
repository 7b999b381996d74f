"""What a conditional statement's answer says, whichever driver brought it."""

from polysite.engines.cassandra.port import NOTHING, Conditional, Page

_APPLIED = "[applied]"


def applied_of(page: Page | None) -> Conditional:
    """The answer of a conditional statement, with `[applied]` taken out; None: agreed, as its failure proved."""
    if page is None:
        return Conditional(True)
    at = list(page.names).index(_APPLIED)
    if page.rows[0][at] == b"\x01":
        return Conditional(True)
    names = [name for name in page.names if name != _APPLIED]
    if not names:
        return Conditional(False, NOTHING)
    return Conditional(False, Page(names, [row[:at] + row[at + 1 :] for row in page.rows]))
