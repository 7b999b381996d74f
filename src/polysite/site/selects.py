"""From conditions to what a store can read without filtering, and cursors that are bound to their selection."""

import base64
import binascii
import hashlib
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec

from polysite.api import Condition
from polysite.errors import BadRequest
from polysite.site.rows import value_bytes
from polysite.values.rows import WHOLE_PARTITION, Bound, Slice
from polysite.values.tables import TableSpec


class PartitionRead(NamedTuple):
    """A slice of one partition, in clustering order."""

    partition: tuple[bytes, ...]
    slice: Slice


class TableScan(NamedTuple):
    """The whole table, or (column, value) the rows that an index finds."""

    by_index: tuple[str, bytes] | None


Selection: TypeAlias = "list[PartitionRead] | TableScan"

_RANGES = {"lt": (1, False), "le": (1, True), "gt": (0, False), "ge": (0, True)}


def plan_select(spec: TableSpec, where: Sequence[Condition], *, ranges_max: int) -> Selection:
    """What to read for `where`. BadRequest names what would have to be filtered, since nothing is filtered here.

    `in` may stand on partition columns and on the last clustering column of the leading run; it makes one read per
    combination, at most `ranges_max`, in the order of the values as they are kept.
    """
    if not where:
        return TableScan(None)
    by_column = _by_column(spec, where)
    if not any(name in by_column for name in spec.partition_key):
        return _plan_index(spec, by_column)
    missing = [name for name in spec.partition_key if name not in by_column]
    if missing:
        raise BadRequest(_advice(spec, f"partition column {missing[0]} is missing"))
    for name in spec.partition_key:
        if any(condition.comparison not in {"eq", "in"} for condition in by_column[name]):
            raise BadRequest(_advice(spec, f"partition column {name} has no range"))
    partitions = [_alternatives(spec, by_column.pop(name)) for name in spec.partition_key]
    slices = _plan_slices(spec, by_column)
    count = len(slices)
    for alternatives in partitions:
        count *= len(alternatives)
    if count > ranges_max:
        raise BadRequest(f"the `in` lists make {count} reads; at most {ranges_max}")
    return [PartitionRead(partition, part) for partition in itertools.product(*partitions) for part in slices]


def plan_range(spec: TableSpec, where: Sequence[Condition]) -> PartitionRead:
    """The slice that a range deletion names; BadRequest if it names none or more than one."""
    if any(condition.comparison == "in" for condition in where):
        raise BadRequest("a range deletion takes eq, then lt / le / gt / ge; not in")
    planned = plan_select(spec, where, ranges_max=1)
    if not isinstance(planned, list):
        raise BadRequest(_advice(spec, "a range deletion needs every partition column"))
    return planned[0]


def _by_column(spec: TableSpec, where: Sequence[Condition]) -> dict[str, list[Condition]]:
    found: dict[str, list[Condition]] = {}
    for condition in where:
        spec.type_of(condition.column)
        found.setdefault(condition.column, []).append(condition)
    for name, conditions in found.items():
        if len(conditions) == 1:
            continue
        sides = {_RANGES[item.comparison][0] for item in conditions if item.comparison in _RANGES}
        if len(conditions) != 2 or len(sides) != 2:
            raise BadRequest(f"column {name} has more than one condition: only a lower and an upper bound go together")
    return found


def _plan_index(spec: TableSpec, by_column: dict[str, list[Condition]]) -> TableScan:
    (column, conditions), *others = by_column.items()
    if others or column not in spec.index_by_column or conditions[0].comparison != "eq":
        raise BadRequest(_advice(spec, f"the condition on {', '.join(by_column)} would need filtering"))
    return TableScan((column, value_bytes(spec, conditions[0], conditions[0].value)))


def _plan_slices(spec: TableSpec, by_column: dict[str, list[Condition]]) -> list[Slice]:
    prefix: tuple[bytes, ...] = ()
    for column in spec.clustering_key:
        if not by_column:
            break
        conditions = by_column.pop(column.name, None)
        if conditions is None:
            break
        comparison = conditions[0].comparison
        if comparison == "eq":
            prefix += (value_bytes(spec, conditions[0], conditions[0].value),)
            continue
        if by_column:
            break
        if comparison == "in":
            values = _alternatives(spec, conditions)
            if column.direction == "desc":
                values.reverse()
            return [_slice_of(prefix + (value,)) for value in values]
        return [_range_of(spec, prefix, conditions, descending=column.direction == "desc")]
    if by_column:
        raise BadRequest(_advice(spec, f"the condition on {next(iter(by_column))} would need filtering"))
    return [_slice_of(prefix)]


def _slice_of(prefix: tuple[bytes, ...]) -> Slice:
    return Slice(Bound(prefix, True), Bound(prefix, True)) if prefix else WHOLE_PARTITION


def _range_of(
    spec: TableSpec, prefix: tuple[bytes, ...], conditions: Iterable[Condition], *, descending: bool
) -> Slice:
    """Bounds stand in clustering order, so a descending column swaps them."""
    start = Bound(prefix, True) if prefix else None
    ends: list[Bound | None] = [start, start]
    for condition in conditions:
        side, inclusive = _RANGES[condition.comparison]
        if descending:
            side = 1 - side
        ends[side] = Bound((*prefix, value_bytes(spec, condition, condition.value)), inclusive)
    return Slice(ends[0], ends[1])


def _alternatives(spec: TableSpec, conditions: Sequence[Condition]) -> list[bytes]:
    """The values of one eq or in, serialised, each once, in the order of the type."""
    (condition,) = conditions
    if condition.comparison == "eq":
        return [value_bytes(spec, condition, condition.value)]
    if not isinstance(condition.value, list | tuple | set | frozenset):
        raise BadRequest(f"`in` on {condition.column} takes a list")
    cql_type = spec.type_of(condition.column)
    return sorted({value_bytes(spec, condition, value) for value in condition.value}, key=cql_type.order_key)


def _advice(spec: TableSpec, reason: str) -> str:
    clustering = (
        f", then ({', '.join(spec.clustering_names)}) in order by eq and one range" if spec.clustering_key else ""
    )
    indexed = f"; or eq on one of the indexed columns ({', '.join(spec.index_by_column)})" if spec.indexes else ""
    return (
        f"{reason}. A select of {spec.keyspace}.{spec.name} takes no condition; or ({', '.join(spec.partition_key)}) by eq"
        f"{clustering}{indexed}"
    )


class _Cursor(msgspec.Struct, array_like=True):
    selection: bytes
    read: int
    inner: bytes


_DECODER = msgspec.msgpack.Decoder(_Cursor)


def selection_digest(spec: TableSpec, selection: Selection) -> bytes:
    """What binds a cursor to its selection: table, columns and every bound."""
    parts: Any = [spec.keyspace, spec.name, spec.columns_hash, repr(selection)]
    return hashlib.blake2b(msgspec.msgpack.encode(parts), digest_size=8).digest()


def encode_cursor(digest: bytes, read: int, inner: bytes) -> str:
    """A cursor's text: page goes on in read number `read` of the selection, at the store's own cursor `inner`."""
    data = msgspec.msgpack.encode(_Cursor(digest, read, inner))
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode_cursor(digest: bytes, text: str, reads: int) -> tuple[int, bytes | None]:
    """Inverse of `encode_cursor`; BadRequest for a cursor of another selection or none at all."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        cursor = _DECODER.decode(data)
    except (binascii.Error, UnicodeError, ValueError, msgspec.DecodeError):
        raise BadRequest("not a cursor: pass on the text that the last page answered, unchanged") from None
    if cursor.selection != digest:
        raise BadRequest("the cursor belongs to another selection")
    if not 0 <= cursor.read < reads:
        raise BadRequest("not a cursor: pass on the text that the last page answered, unchanged")
    return cursor.read, cursor.inner or None
