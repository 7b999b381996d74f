"""Keys and conditions as people write them, turned into the names the protocol speaks."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, get_args

from polysite.api import Comparison, Condition, KeyName, Level
from polysite.errors import BadRequest
from polysite.values.tables import TableSpec

Key: TypeAlias = Any
"""A key: a mapping by column name, a tuple by position, or the bare value of a key with one column."""

Where: TypeAlias = Mapping[str, Any] | Iterable[Condition | tuple[str, Comparison, Any]]
"""Conditions: a mapping of columns to the values they equal, or (column, comparison, value) each."""

MS_MAX = 2**53
_COMPARISONS = frozenset(get_args(Comparison))


def key_by_name(spec: TableSpec, key: Key, *, within: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """`key` by column names. Positions are those of the primary key, and may stop early (a lock key does).

    `within` (a section's key): a key may leave out its columns; by position it then names the columns after them.
    """
    if isinstance(key, Mapping):
        return {**within, **key} if within else dict(key)
    values = key if isinstance(key, tuple) else (key,)
    names = spec.key_names
    if within and len(values) + len(within) == len(names) and all(name in within for name in names[: len(within)]):
        return {**within, **dict(zip(names[len(within) :], values, strict=True))}
    if not 1 <= len(values) <= len(names):
        raise BadRequest(
            f"the primary key of {spec.keyspace}.{spec.name} is ({', '.join(names)}): {len(values)} values were given"
        )
    return dict(zip(names, values, strict=False))


def key_name(spec: TableSpec, key: Key, *, within: Mapping[str, Any] | None = None) -> KeyName:
    return KeyName(keyspace=spec.keyspace, table=spec.name, key=key_by_name(spec, key, within=within))


def conditions(where: Where | None) -> list[Condition]:
    """The conditions that `where` spells; None and the empty mapping are none."""
    if where is None:
        return []
    if isinstance(where, Mapping):
        return [Condition(column=column, comparison="eq", value=value) for column, value in where.items()]
    found: list[Condition] = []
    for item in where:
        if isinstance(item, Condition):
            found.append(item)
            continue
        column, comparison, value = item
        if comparison not in _COMPARISONS:
            raise BadRequest(f"a comparison is one of {', '.join(sorted(_COMPARISONS))}")
        found.append(Condition(column=column, comparison=comparison, value=value))
    return found


def milliseconds(duration_s: float) -> int:
    """Float seconds as the whole milliseconds of the wire; a positive duration never becomes 0."""
    if not 0 <= duration_s < MS_MAX / 1000:
        raise BadRequest("a duration is a number of seconds, not negative")
    return max(round(duration_s * 1000), 1) if duration_s > 0 else 0


def milliseconds_or_none(duration_s: float | None) -> int | None:
    return None if duration_s is None else milliseconds(duration_s)


def write_level(spec: TableSpec) -> Level:
    """The level of a write outside a section that the table's `writes` allows."""
    return "atomic" if spec.writes in {"sections", "transactional"} else "eventual"
