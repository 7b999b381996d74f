"""Between the Python values that callers give and get, and the bytes that stores hold."""

from collections.abc import Mapping
from typing import Any

from polysite.api import Condition
from polysite.errors import BadRequest, TooLarge, UnknownKey
from polysite.stores.contract import VALUE_BYTES_MAX
from polysite.values.rows import StoredRow
from polysite.values.tables import TableSpec

EXPIRES_MS_MAX = 20 * 365 * 86_400_000
"""Twenty years, Cassandra's bound on a life."""


def cells_of(spec: TableSpec, columns: Mapping[str, Any]) -> dict[str, bytes | None]:
    """Serialise regular columns; BadRequest for key columns, UnknownKey for columns that do not exist."""
    types = spec.types
    cells: dict[str, bytes | None] = {}
    for name, value in columns.items():
        cql_type = types.get(name)
        if cql_type is None:
            raise UnknownKey(f"table {spec.keyspace}.{spec.name} has no such column; it has {', '.join(types)}")
        if value is None:
            cells[name] = None
            continue
        data = cql_type.serialise(value)
        if len(data) > VALUE_BYTES_MAX:
            raise TooLarge(f"a value is at most {VALUE_BYTES_MAX} bytes", column=name)
        cells[name] = data
    if not cells.keys().isdisjoint(spec.key_names):
        raise BadRequest(
            f"the primary key ({', '.join(spec.key_names)}) names the row; columns to write are the others"
        )
    return cells


def check_life(expires_ms: int | None) -> int | None:
    """Return the life of a write if it is one; BadRequest otherwise."""
    if expires_ms is not None and not 1_000 <= expires_ms <= EXPIRES_MS_MAX:
        raise BadRequest("expires_ms is from 1,000 (one second) to twenty years, or left out for ever")
    return expires_ms


def row_of(spec: TableSpec, stored: StoredRow) -> dict[str, Any] | None:
    """Every column of a row in declaration order, None for null; None if there is no row."""
    if not stored.present:
        return None
    components = stored.key.partition + stored.key.clustering
    cells = stored.cells
    row: dict[str, Any] = {}
    for name, cql_type, key_at in spec.shown_columns:
        if key_at is not None:
            row[name] = cql_type.deserialise(components[key_at])
        else:
            cell = cells.get(name)
            row[name] = None if cell is None else cql_type.deserialise(cell.value)
    return row


def stamps_of(stored: StoredRow) -> dict[str, int]:
    """The stamps of the columns that have a value."""
    return {name: cell.stamp for name, cell in stored.cells.items()}


def value_bytes(spec: TableSpec, condition: Condition, value: Any) -> bytes:
    """One value of a condition, serialised; BadRequest for null."""
    if value is None:
        raise BadRequest(f"a condition on {condition.column} compares with a value, not null")
    return spec.type_of(condition.column).serialise(value)
