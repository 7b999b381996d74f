"""Keyspaces: create and drop."""

from typing import Any

from polysite.errors import AlreadyExists, BadRequest, PolysiteError, UnknownKey
from polysite.server.exchange import Reply
from polysite.server.v2.bodies import Body, needed
from polysite.server.v2.call import Call
from polysite.server.v2.envelope import INCOMPLETE, MISSING_INPUT, Failure, failure_of, success
from polysite.server.v2.levels import check_consistency
from polysite.server.v2.names import fold
from polysite.values.tables import KeyspaceSpec

OFF = "Keyspace {} has been turned off. Contact DBA to {} the keyspace or set keyspace.active to true."
COPIES_MAX = 100
_SIMPLE, _BY_SITE = "simplestrategy", "networktopologystrategy"
_TRUE, _FALSE = "true", "false"


async def create(call: Call) -> Reply:
    if not call.settings.keyspace_active:
        raise Failure(OFF.format("Creation", "create"))
    body = needed(await call.body())
    replication = body.mapping("replicationInfo")
    if replication is None:
        raise Failure(INCOMPLETE)
    consistency = body.mapping("consistencyInfo")
    if consistency is None:
        raise Failure(f"consistencyInfo is missing. {MISSING_INPUT}")
    check_consistency(Body(consistency))
    durable = body.text("durabilityOfWrites")
    if durable is not None and durable.lower() not in {_TRUE, _FALSE}:
        raise Failure("durabilityOfWrites is true or false")
    named = call.names[0]
    spec = KeyspaceSpec(name=fold(named, "keyspace"), replicas=_replicas(replication))
    try:
        made = await call.coordinator.create_keyspace(spec)
    except AlreadyExists:
        made = False
    except BadRequest as error:
        raise failure_of(error, before="Query Exception: ") from None
    if not made:
        raise Failure(f"Already Exists Exception: Keyspace {spec.name} already exists")
    return success(message=f"Keyspace {named} Created")


async def drop(call: Call) -> Reply:
    if not call.settings.keyspace_active:
        raise Failure(OFF.format("deletion", "delete"))
    await call.exchange.raw_body()
    named = call.names[0]
    before = f"Error Deleteing Keyspace {named} "
    try:
        dropped = await call.coordinator.drop_keyspace(fold(named, "keyspace"))
    except UnknownKey:
        dropped = False
    except PolysiteError as error:
        raise failure_of(error, before=before) from None
    if not dropped:
        raise Failure(f"{before}Query Exception: Cannot drop non existing keyspace '{named}'.")
    return success(message=f"Keyspace {named} Deleted")


def _replicas(replication: dict[str, Any]) -> dict[str, int] | None:
    """Copies by site; None: one at every site, which is what a replication factor without names of sites comes to here."""
    described = Body(replication)
    strategy = described.text("class")
    if strategy is None:
        raise Failure("Query Exception: Missing mandatory replication strategy class")
    short = strategy.rpartition(".")[2].lower()
    if short not in {_SIMPLE, _BY_SITE}:
        shown = strategy if "." in strategy else f"org.apache.cassandra.locator.{strategy}"
        raise Failure(f"Query Exception: Unable to find replication strategy class '{shown[:128]}'")
    copies: dict[str, int] = {}
    for name in replication:
        if name == "class":
            continue
        count = described.whole_number(name)
        if count is None or not 1 <= count <= COPIES_MAX:
            raise Failure(f"replicationInfo: the number of copies is from 1 to {COPIES_MAX}")
        copies[name] = count
    if short == _SIMPLE:
        if set(copies) != {"replication_factor"}:
            raise Failure("replicationInfo: SimpleStrategy takes replication_factor and nothing else")
        return None
    copies.pop("replication_factor", None)
    return copies or None
