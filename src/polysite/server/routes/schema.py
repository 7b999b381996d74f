"""Keyspaces, tables and indexes."""

import msgspec

from polysite.errors import UnknownKey
from polysite.server import wire
from polysite.server.convert import decode_segment, schema_digest
from polysite.server.exchange import Exchange, Reply, reply_json
from polysite.server.routes import _common
from polysite.server.routing import Route
from polysite.server.service import Service
from polysite.values.tables import IndexSpec, KeyspaceSpec, TableSpec

_keyspace_decoder = msgspec.json.Decoder(wire.KeyspaceBody)
_table_decoder = msgspec.json.Decoder(wire.TableBody)
_index_decoder = msgspec.json.Decoder(wire.IndexBody)


async def get_keyspaces(service: Service, exchange: Exchange) -> Reply:
    exchange.query()
    may = exchange.principal.may
    found = await service.coordinator.keyspaces()
    return reply_json(wire.Keyspaces([spec for spec in found if may("read", spec.name)]))


async def get_keyspace(service: Service, exchange: Exchange) -> Reply:
    exchange.query()
    name = decode_segment(exchange.captured[0])
    for spec in await service.coordinator.keyspaces():
        if spec.name == name:
            return reply_json(spec)
    raise UnknownKey("there is no such keyspace")


async def put_keyspace(service: Service, exchange: Exchange) -> Reply:
    exchange.query()
    body = await exchange.body(_keyspace_decoder, optional=True)
    spec = body.spec(decode_segment(exchange.captured[0]))
    made = await service.coordinator.create_keyspace(spec)
    return reply_json(spec, status=201 if made else 200)


async def delete_keyspace(service: Service, exchange: Exchange) -> Reply:
    exchange.query()
    dropped = await service.coordinator.drop_keyspace(decode_segment(exchange.captured[0]))
    return reply_json(wire.Dropped(dropped))


async def get_tables(service: Service, exchange: Exchange) -> Reply:
    exchange.query()
    return reply_json(wire.Tables(await service.coordinator.tables(decode_segment(exchange.captured[0]))))


async def get_table(service: Service, exchange: Exchange) -> Reply:
    exchange.query()
    spec = await service.coordinator.table(*map(decode_segment, exchange.captured))
    return _table(spec, 200)


async def put_table(service: Service, exchange: Exchange) -> Reply:
    exchange.query()
    body = await exchange.body(_table_decoder)
    spec = body.spec(*map(decode_segment, exchange.captured))
    made = await service.coordinator.create_table(spec)
    return _table(await service.coordinator.table(spec.keyspace, spec.name), 201 if made else 200)


async def delete_table(service: Service, exchange: Exchange) -> Reply:
    exchange.query()
    dropped = await service.coordinator.drop_table(*map(decode_segment, exchange.captured))
    return reply_json(wire.Dropped(dropped))


async def get_index(service: Service, exchange: Exchange) -> Reply:
    exchange.query()
    keyspace, table, name = map(decode_segment, exchange.captured)
    for index in (await service.coordinator.table(keyspace, table)).indexes:
        if index.name == name:
            return reply_json(index)
    raise UnknownKey("the table has no such index")


async def put_index(service: Service, exchange: Exchange) -> Reply:
    exchange.query()
    body = await exchange.body(_index_decoder)
    keyspace, table, name = map(decode_segment, exchange.captured)
    index = IndexSpec(name=name, column=body.column)
    made = await service.coordinator.create_index(keyspace, table, index)
    return reply_json(index, status=201 if made else 200)


async def delete_index(service: Service, exchange: Exchange) -> Reply:
    exchange.query()
    dropped = await service.coordinator.drop_index(*map(decode_segment, exchange.captured))
    return reply_json(wire.Dropped(dropped))


def _table(spec: TableSpec, status: int) -> Reply:
    return reply_json(spec, status=status, headers=((b"polysite-schema", schema_digest(spec)),))


_READ = ("unknown_key", "quorum_unavailable", "site_unreachable")
_CHANGE = (*_READ, *_common.OF_BODY, *_common.OF_WRITE, "already_exists", "acquire_timeout")
_KEYSPACE = "/v3/keyspaces/{keyspace}"
_TABLE = _KEYSPACE + "/tables/{table}"
_INDEX = _TABLE + "/indexes/{index}"
_TABLE_EXAMPLE = {
    "columns": [{"name": "voter", "type": "text"}, {"name": "count", "type": "int"}],
    "partition_key": ["voter"],
}
_EXAMPLES = {**_common.PATH_EXAMPLES, "index": "by_count"}

ROUTES = [
    Route(
        method="GET", pattern="/v3/keyspaces", name="list_keyspaces", asks_also="any token", handler=get_keyspaces,
        about="All keyspaces the caller may read.", answers={200: wire.Keyspaces}, errors=_READ,
    ),
    Route(
        method="GET", pattern=_KEYSPACE, name="get_keyspace", right="read", handler=get_keyspace,
        about="One keyspace.", answers={200: KeyspaceSpec}, errors=_READ, path_examples=_EXAMPLES,
    ),
    Route(
        method="PUT", pattern=_KEYSPACE, name="create_keyspace", right="admin", handler=put_keyspace, changes=True,
        about="Make a keyspace. 201: made now. 200: it was there, and is the same.",
        body=wire.KeyspaceBody, body_optional=True, body_example={},
        answers={201: KeyspaceSpec, 200: KeyspaceSpec}, errors=_CHANGE, path_examples=_EXAMPLES,
    ),
    Route(
        method="DELETE", pattern=_KEYSPACE, name="drop_keyspace", right="admin", handler=delete_keyspace, changes=True,
        about="Drop a keyspace with its tables.", answers={200: wire.Dropped}, errors=_CHANGE, path_examples=_EXAMPLES,
    ),
    Route(
        method="GET", pattern=_KEYSPACE + "/tables", name="list_tables", right="read", handler=get_tables,
        about="All tables of a keyspace.", answers={200: wire.Tables}, errors=_READ, path_examples=_EXAMPLES,
    ),
    Route(
        method="GET", pattern=_TABLE, name="get_table", right="read", handler=get_table,
        about="What a table is made of.", answers={200: TableSpec}, errors=_READ, path_examples=_EXAMPLES,
    ),
    Route(
        method="PUT", pattern=_TABLE, name="create_table", right="admin", handler=put_table, changes=True,
        about="Make a table. 201: made now. 200: it was there, and is the same.",
        body=wire.TableBody, body_example=_TABLE_EXAMPLE,
        answers={201: TableSpec, 200: TableSpec}, errors=_CHANGE, path_examples=_EXAMPLES,
    ),
    Route(
        method="DELETE", pattern=_TABLE, name="drop_table", right="admin", handler=delete_table, changes=True,
        about="Drop a table with its rows; tickets of its keys go on where they were if it is made again.",
        answers={200: wire.Dropped}, errors=_CHANGE, path_examples=_EXAMPLES,
    ),
    Route(
        method="GET", pattern=_INDEX, name="get_index", right="read", handler=get_index,
        about="One index of a table.", answers={200: IndexSpec}, errors=_READ, path_examples=_EXAMPLES,
    ),
    Route(
        method="PUT", pattern=_INDEX, name="create_index", right="admin", handler=put_index, changes=True,
        about="Add an index over one column; rows already there are found through it at once.",
        body=wire.IndexBody, body_example={"column": "count"},
        answers={201: IndexSpec, 200: IndexSpec}, errors=_CHANGE, path_examples=_EXAMPLES,
    ),
    Route(
        method="DELETE", pattern=_INDEX, name="drop_index", right="admin", handler=delete_index, changes=True,
        about="Drop an index.", answers={200: wire.Dropped}, errors=_CHANGE, path_examples=_EXAMPLES,
    ),
]  # fmt: skip
