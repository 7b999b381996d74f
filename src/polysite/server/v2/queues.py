"""Priority queues: tables whose clustering order is the priority. Everything but `peek` is what the data interface does."""

from polysite.server.exchange import Reply, Stream
from polysite.server.v2 import rows, tables
from polysite.server.v2.bodies import Body, needed
from polysite.server.v2.call import Call
from polysite.server.v2.envelope import Failure
from polysite.server.v2.names import PRIMARY_KEY

_NO_VALUES = "Required HTTP Request body is missing."


async def create(call: Call) -> Reply:
    """A queue needs an order: clustering columns and their directions."""
    body = needed(await call.body())
    fields = body.mapping("fields")
    if not fields:
        raise Failure("CreateQ/Required table fields are empty or not set")
    has_key = "primaryKey" in body or PRIMARY_KEY in fields
    if not has_key and "partitionKey" not in body:
        raise Failure("CreateQ: Partition key cannot be empty")
    if not has_key and "clusteringKey" not in body:
        raise Failure("CreateQ: Clustering key cannot be empty")
    if "clusteringOrder" not in body:
        raise Failure("CreateQ: Clustering Order cannot be empty")
    if "partitionKey" in body and body.text("filteringKey") == body.text("partitionKey"):
        raise Failure("CreateQ: filteringKey equals partitionKey")
    keyspace, table = call.names
    spec = tables.spec_of(keyspace, table, body)
    if not spec.clustering_key:
        raise Failure("CreateQ: Clustering key cannot be empty")
    return await tables.create(call)


async def enqueue(call: Call) -> Reply:
    _need_values(await call.body(), _NO_VALUES)
    return await rows.insert(call)


async def update(call: Call) -> Reply:
    _need_values(await call.body(), f"{_NO_VALUES} JsonUpdate updateObj.getValues() is empty. ")
    return await rows.update(call)


async def remove(call: Call) -> Reply:
    if await call.body() is None:
        raise Failure("deleteFromQ JsonDelete delObjis empty")
    return await rows.delete(call)


async def peek(call: Call) -> Reply | Stream:
    """The first row of the partition that the query names, in the queue's order."""
    keyspace, table = call.names
    if not call.query:
        raise Failure("peek takes the queue's key in the query: within a partition there is an order, across them none")
    spec = await rows.table_of_row(call, keyspace, table)
    return await rows.select_rows(call, spec, first_only=True)


async def find(call: Call) -> Reply | Stream:
    """All rows that have the values in the query."""
    return await rows.select(call)


def _need_values(body: Body | None, text: str) -> None:
    if not needed(body).mapping("values"):
        raise Failure(text)
