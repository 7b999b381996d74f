"""A slice in clustering order as restrictions that CQL can say.

CQL compares tuples of columns by value, whatever order they are kept in. Where all columns of a key are kept in one
direction that is the clustering order or its reverse, and any slice is one restriction. Where directions differ a slice is cut
into consecutive pieces, each of which fixes some leading columns and bounds the next one.
"""

from collections.abc import Sequence
from typing import NamedTuple

from polysite.stores.cassandra.layout import CassandraTable, quoted
from polysite.values.rows import Bound, Slice


class Relation(NamedTuple):
    """Clustering columns from `first` on compared with as many values."""

    first: int
    operator: str
    values: tuple[bytes, ...]

    def cql(self, names: Sequence[str]) -> str:
        """As `"a" > ?` or `("a", "b") > (?, ?)`."""
        columns = [quoted(name) for name in names[self.first : self.first + len(self.values)]]
        if len(columns) == 1:
            return f"{columns[0]} {self.operator} ?"
        return f"({', '.join(columns)}) {self.operator} ({', '.join('?' * len(columns))})"


Piece = tuple[Relation, ...]
"""Restrictions that together stand for a consecutive run of rows; empty: all rows of the partition."""

EVERY_ROW: Piece = ()
_End = tuple[tuple[bytes, ...], bool]
"""The rest of a bound: components and whether rows that start so are in. No components: that end is open."""
_OPEN: _End = ((), True)


def pieces(table: CassandraTable, part: Slice) -> list[Piece]:
    """The slice as pieces in clustering order, each possibly without rows; none at all if its ends cross."""
    if table.interval(part).is_empty:
        return []
    lower, upper = _end(part.lower), _end(part.upper)
    if len(set(table.directions)) == 1:
        operators = [_operator(table, 0, lower[1], after=True), _operator(table, 0, upper[1], after=False)]
        ends = zip(operators, (lower[0], upper[0]), strict=True)
        return [tuple(Relation(0, operator, values) for operator, values in ends if values)]
    return _cut(table, 0, (), lower, upper)


def after(clustering: tuple[bytes, ...], part: Slice, *, reverse: bool) -> Slice:
    """What is left of a slice behind the row `clustering`, in the direction of reading."""
    behind = Bound(clustering, False)
    return Slice(part.lower, behind) if reverse else Slice(behind, part.upper)


def one_row(table: CassandraTable, clustering: tuple[bytes, ...]) -> Piece:
    """One row as a range: an equality on every column would mean the row itself, which Cassandra deletes by another tombstone."""
    if not clustering:
        return EVERY_ROW
    last = len(table.directions) - 1
    fixed = tuple(Relation(at, "=", (value,)) for at, value in enumerate(clustering[:-1]))
    return (*fixed, Relation(last, ">=", clustering[-1:]), Relation(last, "<=", clustering[-1:]))


def as_range(table: CassandraTable, piece: Piece) -> Piece:
    """The piece, and as `one_row` where it is one row."""
    values = tuple(value for relation in piece for value in relation.values)
    is_row = len(values) == len(table.directions) and all(relation.operator == "=" for relation in piece)
    return one_row(table, values) if is_row else piece


def _end(bound: Bound | None) -> _End:
    return _OPEN if bound is None else (bound.prefix, bound.inclusive)


def _cut(table: CassandraTable, at: int, fixed: Piece, lower: _End, upper: _End) -> list[Piece]:
    """The pieces of what starts as `fixed` says, between two ends over the columns from `at` on."""
    (low, low_in), (high, high_in) = lower, upper
    if not low and not high:
        return [fixed]
    if low and high and low[0] == high[0]:
        same = (*fixed, Relation(at, "=", low[:1]))
        return _cut(table, at + 1, same, _beyond(low, low_in), _beyond(high, high_in))
    found: list[Piece] = []
    bounds: list[Relation] = []
    if low:
        whole = len(low) == 1
        if not whole:
            found += _cut(table, at + 1, (*fixed, Relation(at, "=", low[:1])), (low[1:], low_in), _OPEN)
        bounds.append(Relation(at, _operator(table, at, whole and low_in, after=True), low[:1]))
    tail: list[Piece] = []
    if high:
        whole = len(high) == 1
        if not whole:
            tail = _cut(table, at + 1, (*fixed, Relation(at, "=", high[:1])), _OPEN, (high[1:], high_in))
        bounds.append(Relation(at, _operator(table, at, whole and high_in, after=False), high[:1]))
    return [*found, (*fixed, *bounds), *tail]


def _beyond(components: tuple[bytes, ...], inclusive: bool) -> _End:
    """What a bound says of the next column, once its first is fixed by both bounds of a slice that has room for rows."""
    return (components[1:], inclusive) if len(components) > 1 else _OPEN


def _operator(table: CassandraTable, at: int, inclusive: bool, *, after: bool) -> str:
    """The comparison for rows after (or before) a value in the direction the column is kept in."""
    is_greater = after == (table.directions[at] == "asc")
    return (">" if is_greater else "<") + ("=" if inclusive else "")
