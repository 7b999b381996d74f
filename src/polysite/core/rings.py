"""Who waits for whom among the owners of locks, and whether they wait in a ring.

An owner is whoever an entry says it belongs to; entries without one wait for nobody that could be told.
"""

from collections.abc import Iterable, Mapping

from polysite.core.lock_cell import LockCell, holders


def waits_of(cell: LockCell) -> set[tuple[str, str]]:
    """Pairs (waiting owner, owner it waits for) in one queue. An entry that holds waits for nobody, unless it is being promoted:
    then for the others of its run. A shared entry waits for what is not shared before it, an exclusive one for all before it.
    An owner that waits behind itself is a pair of its own."""
    holding = holders(cell)
    tickets = {entry.ticket for entry in holding}
    pairs: set[tuple[str, str]] = set()
    for place, entry in enumerate(cell.queue):
        if not entry.owner:
            continue
        if entry.ticket in tickets:
            before = [other for other in holding if other is not entry] if entry.kind == "promoting" else []
        elif entry.kind == "shared":
            before = [other for other in cell.queue[:place] if other.kind != "shared"]
        else:
            before = list(cell.queue[:place])
        pairs.update((entry.owner, other.owner) for other in before if other.owner)
    return pairs


def waits_in_ring(pairs: Iterable[tuple[str, str]], owner: str) -> bool:
    """Whether the owner waits, through others or not, for itself."""
    after: dict[str, set[str]] = {}
    for waiting, other in pairs:
        after.setdefault(waiting, set()).add(other)
    return _reaches(after, owner)


def _reaches(after: Mapping[str, set[str]], owner: str) -> bool:
    seen: set[str] = set()
    open_ends = list(after.get(owner, ()))
    while open_ends:
        other = open_ends.pop()
        if other == owner:
            return True
        if other not in seen:
            seen.add(other)
            open_ends.extend(after.get(other, ()))
    return False
