"""Tables and indexes: create and drop."""

from polysite.errors import AlreadyExists, BadRequest, PolysiteError, UnknownKey
from polysite.server.exchange import Reply
from polysite.server.v2.bodies import Body, needed
from polysite.server.v2.call import Call
from polysite.server.v2.envelope import Failure, failure_of, success
from polysite.server.v2.names import PRIMARY_KEY, fold
from polysite.server.v2.primary_keys import key_columns
from polysite.values.tables import ColumnSpec, IndexSpec, TableSpec
from polysite.values.types import parse_type

QUERY_EXCEPTION = "Query Exception: "
OPTIONS = frozenset(
    {
        "additional_write_policy", "bloom_filter_fp_chance", "caching", "cdc", "comment", "compaction", "compression",
        "crc_check_chance", "dclocal_read_repair_chance", "default_time_to_live", "extensions", "gc_grace_seconds", "id",
        "max_index_interval", "memtable", "memtable_flush_period_in_ms", "min_index_interval", "read_repair",
        "read_repair_chance", "speculative_retry",
    }
)  # fmt: skip
"""Table options of Cassandra. They are taken and have no effect: how tables are kept is polysite's business, and protocols
stand on some of them."""


async def create(call: Call) -> Reply:
    keyspace, table = call.names
    if not keyspace or not table:
        raise Failure(
            "One or more path parameters are not set, please check and try again."
            f"Parameter values: keyspace='{keyspace}' tablename='{table}'"
        )
    spec = spec_of(keyspace, table, needed(await call.body()))
    try:
        made = await call.coordinator.create_table(spec)
    except AlreadyExists:
        made = False
    except UnknownKey:
        raise Failure(f"{QUERY_EXCEPTION}Keyspace {spec.keyspace} doesn't exist") from None
    except BadRequest as error:
        raise failure_of(error, before=QUERY_EXCEPTION) from None
    if not made:
        raise Failure(f"Already Exists Exception: Table {spec.keyspace}.{spec.name} already exists")
    return success(message=f"TableName {table} Created under keyspace {keyspace}")


def spec_of(keyspace: str, table: str, body: Body) -> TableSpec:
    """The table that a body describes. It may be written without locks too, and locks on its first column (architecture 5)."""
    fields = body.mapping("fields")
    if fields is None:
        raise Failure("Create Table Error: No fields in request")
    partition, clustering = key_columns(body, fields)
    described = Body(fields)
    columns = []
    for name in fields:
        if name == PRIMARY_KEY:
            continue
        type_text = described.text(name)
        if type_text is None:
            raise Failure(f"Create Table Error: the field {fold(name, 'column')} has no type")
        columns.append(ColumnSpec(fold(name, "column"), _type(type_text)))
    known = {column.name for column in columns}
    for name in (*partition, *(column.name for column in clustering)):
        if name not in known:
            raise Failure(f"{QUERY_EXCEPTION}Unknown definition {name} referenced in PRIMARY KEY")
    for option in body.mapping("properties") or {}:
        if option.lower() not in OPTIONS:
            raise Failure(f"Executing Session Failure: Unknown property '{option[:64]}'")
    return TableSpec(
        keyspace=fold(keyspace, "keyspace"),
        name=fold(table, "table"),
        columns=tuple(columns),
        partition_key=partition,
        clustering_key=clustering,
        lock_columns=partition[:1],
        writes="mixed",
    )


def _type(text: str) -> str:
    try:
        return str(parse_type(text))
    except BadRequest as error:
        raise failure_of(error, before=QUERY_EXCEPTION) from None


async def drop(call: Call) -> Reply:
    keyspace, table = call.names
    await call.exchange.raw_body()
    try:
        dropped = await call.coordinator.drop_table(fold(keyspace, "keyspace"), fold(table, "table"))
    except UnknownKey:
        dropped = False
    except PolysiteError as error:
        raise failure_of(error) from None
    if not dropped:
        raise await unknown_table(call, keyspace, table)
    return success()


async def create_index(call: Call) -> Reply:
    keyspace, table, field = call.names
    column = fold(field, "column")
    spec = await call.table(keyspace, table)
    if spec is None:
        raise await unknown_table(call, keyspace, table)
    if column not in spec.types:
        raise Failure(f"{QUERY_EXCEPTION}Undefined column name {column}")
    # An index is made if there is none, so repeating it is fine, under whatever name.
    if column not in spec.index_by_column:
        asked = call.query.get("index_name")
        name = fold(asked, "index") if asked else f"{spec.name}_{column}_idx"[-48:].lstrip("_0123456789")
        try:
            await call.coordinator.create_index(spec.keyspace, spec.name, IndexSpec(name=name, column=column))
        except PolysiteError as error:
            raise failure_of(error, before=QUERY_EXCEPTION) from None
    return success(message=f"Index Created on {keyspace}.{table}.{field}")


async def unknown_table(call: Call, keyspace: str, table: str) -> Failure:
    """Why a table that a schema change names is not there."""
    if await call.has_keyspace(keyspace):
        return Failure(f"Invalid Query Exception: unconfigured table {table}")
    return Failure(f"{QUERY_EXCEPTION}Keyspace {keyspace} does not exist")
