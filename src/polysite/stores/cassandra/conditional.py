"""Conditional writes: predicates and writes of one partition as one conditional batch, which Cassandra agrees on as a whole.

A condition stands on a statement that writes nothing (its one column is UNSET), so that rows which are only looked at have one
too. That a row is not there is said as: every column and the hidden marker is null. What one statement cannot say (a row that is
there, with certain columns null) is read serially first and then asked for exactly as it was found.

What a refusal tells of the rows is what stood against it. Where Cassandra does not show all columns (tables without clustering
columns and predicates by value) they are read serially afterwards, and asked again if by then the predicates hold.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from polysite.engines.cassandra import UNSET, Bound, CassandraPort
from polysite.engines.cassandra import Conditional as Answer
from polysite.errors import BadRequest, Overloaded
from polysite.stores.cassandra.decoding import keyed_row, no_row, refused_row
from polysite.stores.cassandra.folding import folded
from polysite.stores.cassandra.layout import MARKER, YES, CassandraTable
from polysite.stores.cassandra.slices import one_row
from polysite.stores.cassandra.statements import Statements
from polysite.stores.cassandra.writing import bind_piece, bind_put, bind_range, check_writes
from polysite.stores.contract import BATCH_WRITES_MAX, Conditional, Predicate
from polysite.values.keys import RowKey
from polysite.values.rows import DeleteRange, DeleteRow, Put, StoredRow, Write, partition_of

TRIES_MAX = 16

Equals = Mapping[str, bytes | None]


class Condition(NamedTuple):
    """What one statement can ask of a row: that it is there (`equals` None), or the values of columns, of the marker too."""

    key: RowKey
    equals: Equals | None


async def write_if(
    statements: Statements, port: CassandraPort, expect: Sequence[Predicate], writes: Sequence[Write]
) -> Conditional:
    """All writes if every predicate holds, else none. Errors as the contract says; Overloaded: others were quicker each time."""
    table = statements.table
    check(table, expect, writes)
    if not expect and not writes:
        return Conditional(True, [])
    changes = bind_changes(statements, writes)
    partition = expect[0].key.partition if expect else partition_of(writes[0])
    conditions = conditions_of(table, expect)
    for _ in range(TRIES_MAX):
        if conditions is not None:
            answer = await _ask(statements, port, partition, conditions, changes)
            if answer.applied:
                return Conditional(True, [])
            told = told_rows(table, expect, conditions, answer)
            if told is not None:
                return Conditional(False, told)
        rows = await read_rows(statements, port, [item.key for item in expect])
        if not all(holds(table, item, rows[item.key]) for item in expect):
            return Conditional(False, [rows[item.key] for item in expect])
        if conditions is None:
            exact = [Condition(key, _exactly(table, row)) for key, row in rows.items()]
            if (await _ask(statements, port, partition, exact, changes)).applied:
                return Conditional(True, [])
    raise Overloaded("others changed the same rows each time; nothing was written")


def check(table: CassandraTable, expect: Sequence[Predicate], writes: Sequence[Write]) -> None:
    """BadRequest, TooLarge or UnknownKey if they cannot be asked."""
    if not table.is_conditional:
        raise BadRequest("conditional writes need a table whose `writes` is conditional")
    if len({partition_of(write) for write in writes} | {item.key.partition for item in expect}) > 1:
        raise BadRequest("the predicates and writes of a conditional write are all of one partition")
    check_writes(table, writes, stamped=False)
    if len(expect) > BATCH_WRITES_MAX:
        raise BadRequest(f"a conditional write has at most {BATCH_WRITES_MAX} predicates")
    for write in writes:
        if isinstance(write, Put) and (write.row_stamp is not None or write.absent is not None):
            raise BadRequest("rows of a conditional table have no row stamp and are never marked absent")
    for item in expect:
        table.check_key(item.key)
        for column in item.equals:
            table.spec.type_of(column)


def bind_changes(statements: Statements, writes: Sequence[Write]) -> list[Bound]:
    """The statements of the writes, without stamps and without a winner among them.

    A row is deleted as a range of one: Cassandra joins the tombstone of a row with what is put into the row before it gives the
    tombstone its lower stamp, and the put would be lost (5.0, `CQL3CasRequest.makeUpdates`).
    """
    bound: list[Bound] = []
    for write in folded(statements.table, writes):
        if isinstance(write, Put):
            bound.append(bind_put(statements, write, None))
        elif isinstance(write, DeleteRange):
            bound += bind_range(statements, write, ())
        elif isinstance(write, DeleteRow):
            piece = one_row(statements.table, write.key.clustering)
            bound.append(bind_piece(statements, write.key.partition, piece, ()))
    return bound


def conditions_of(table: CassandraTable, expect: Sequence[Predicate]) -> list[Condition] | None:
    """One condition per row that means the same as the predicates; None if no single one does, or if they can never hold."""
    by_row: dict[RowKey, list[Predicate]] = {}
    for item in expect:
        by_row.setdefault(item.key, []).append(item)
    conditions: list[Condition] = []
    for key, items in by_row.items():
        merged = _merged(table, key, items)
        if merged is None:
            return None
        is_there, equals = merged
        if is_there is None and not equals:
            continue
        if is_there is False:
            conditions.append(Condition(key, dict.fromkeys((*table.regular, MARKER))))
        elif is_there and not equals:
            conditions.append(Condition(key, None))
        elif is_there and all(value is None for value in equals.values()):
            return None
        else:
            conditions.append(Condition(key, equals))
    return conditions


def _merged(
    table: CassandraTable, key: RowKey, items: Sequence[Predicate]
) -> tuple[bool | None, dict[str, bytes | None]] | None:
    """Whether the row must be there, and the values its regular columns must have; None if they contradict each other."""
    own = dict(zip(table.spec.key_names, key.partition + key.clustering, strict=True))
    there = {item.exists for item in items if item.exists is not None}
    equals: dict[str, bytes | None] = {}
    for column, value in ((column, value) for item in items for column, value in item.equals.items()):
        if column in own:
            if value not in (None, own[column]):
                return None
            there.add(value is not None)
        elif equals.setdefault(column, value) != value:
            return None
    if any(value is not None for value in equals.values()):
        there.add(True)
    if len(there) > 1:
        return None
    return (there.pop() if there else None), equals


def holds(table: CassandraTable, item: Predicate, row: StoredRow) -> bool:
    """Whether the predicate holds of the row that was found."""
    if item.exists is not None and item.exists != row.present:
        return False
    own = dict(zip(table.spec.key_names, row.key.partition + row.key.clustering, strict=True)) if row.present else {}
    values = own | {name: cell.value for name, cell in row.cells.items()}
    return all(values.get(column) == wanted for column, wanted in item.equals.items())


def told_rows(
    table: CassandraTable, expect: Sequence[Predicate], conditions: Sequence[Condition], answer: Answer
) -> list[StoredRow] | None:
    """The rows of the predicates as a refusal tells them; None if it does not tell all of them whole.

    A row that had a condition and is not among them is not there.
    """
    names = answer.found.names
    if not {item.key for item in expect} <= {condition.key for condition in conditions}:
        return None
    if answer.found.rows and not {*table.regular, MARKER} <= set(names):
        return None
    # Of a lone statement Cassandra tells the columns of the condition and not the key: then there is only that row.
    found = [refused_row(table, names, values, expect[0].key) for values in answer.found.rows]
    by_key = {row.key: row for row in found}
    return [by_key.get(item.key) or no_row(item.key) for item in expect]


async def read_rows(statements: Statements, port: CassandraPort, keys: Sequence[RowKey]) -> dict[RowKey, StoredRow]:
    """Rows of one partition in one linearizable read."""
    table = statements.table
    distinct = list(dict.fromkeys(keys))
    values = [*distinct[0].partition, *(component for key in distinct for component in key.clustering)]
    page = await port.read(statements.rows(len(distinct)), values, consistency=table.levels.serial)
    found = [keyed_row(table, row) for row in page.rows]
    by_key = {row.key: row for row in found if row is not None}
    return {key: by_key.get(key) or no_row(key) for key in distinct}


async def _ask(
    statements: Statements,
    port: CassandraPort,
    partition: tuple[bytes, ...],
    conditions: Sequence[Condition],
    changes: Sequence[Bound],
) -> Answer:
    levels = statements.table.levels
    asked = bind_conditions(statements, partition, conditions)
    return await port.write_if([*asked, *changes], commit=levels.commit, serial=levels.serial)


def bind_conditions(
    statements: Statements, partition: tuple[bytes, ...], conditions: Sequence[Condition]
) -> list[Bound]:
    """The conditions as statements, and one that always holds where it is needed."""
    bound: list[Bound] = []
    if statements.table.is_clustered:
        bound.append((statements.if_true, (*partition, UNSET)))
    elif not conditions:
        bound.append((statements.if_true, (UNSET, *partition)))
    for condition in conditions:
        key = (*condition.key.partition, *condition.key.clustering)
        if condition.equals is None:
            bound.append((statements.if_exists, (UNSET, *key)))
        else:
            names = sorted(condition.equals)
            bound.append((statements.if_equal(names), (UNSET, *key, *(condition.equals[name] for name in names))))
    return bound


def _exactly(table: CassandraTable, row: StoredRow) -> Equals:
    """Every column as it was found; the marker only where it alone says whether the row is there."""
    values: dict[str, bytes | None] = dict.fromkeys(table.regular)
    values |= {name: cell.value for name, cell in row.cells.items()}
    if not row.cells:
        values[MARKER] = YES if row.present else None
    return values
