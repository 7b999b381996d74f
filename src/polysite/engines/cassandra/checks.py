"""What must hold of a Cassandra before rows or cells are kept in it: looked at on start, and told with what to do.

Whoever starts on a server calls `check_server`, then `ensure_keyspace` and `ensure_table` for what it keeps there.
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from typing import NamedTuple, cast
from uuid import UUID

from polysite.clock import Clock
from polysite.engines.cassandra.accord import MODE, OPTIONS
from polysite.engines.cassandra.port import CassandraPort, Consistency, ServerFacts, Statement
from polysite.engines.cassandra.settings import CassandraSettings
from polysite.errors import AlreadyExists, BadRequest, Unavailable, UnknownKey
from polysite.values.types import parse_type

RELEASE_MIN = (5, 0)
"""4.1 has Paxos v2 too, but its first releases could bring deleted rows back with purging `repaired` (CASSANDRA-19617)."""
ACCORD_RELEASE_MIN = (6, 0)
SCHEMA_WAIT_S = 10.0
"""How long an agreement on the schema is waited for; then it goes on, for a Cassandra node may be down."""
SCHEMA_POLL_S = 0.05

_TEXT = parse_type("text")
_OPTIONS = parse_type("map<text, text>")
_REPLICATION = Statement(
    "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?",
    takes=(_TEXT,),
    gives={"replication": _OPTIONS},
)
_COLUMNS = Statement(
    "SELECT column_name, kind, type FROM system_schema.columns WHERE keyspace_name = ? AND table_name = ?",
    takes=(_TEXT, _TEXT),
    gives={"column_name": _TEXT, "kind": _TEXT, "type": _TEXT},
)
_READ_REPAIR = Statement(
    "SELECT table_name, read_repair FROM system_schema.tables WHERE keyspace_name = ?",
    takes=(_TEXT,),
    gives={"table_name": _TEXT, "read_repair": _TEXT},
)
PAXOS = ("paxos_variant", "paxos_state_purging", "paxos_repair_enabled")
LIMITS = (
    "read_request_timeout",
    "range_request_timeout",
    "write_request_timeout",
    "cas_contention_timeout",
    "request_timeout",
)
"""The server's own limits: after the greatest of them it has answered, if only with an error."""
ACCORD_JOURNAL = {
    "accord.journal.stopMarkerFailurePolicy": (
        "stop_marker_failure_policy",
        ("ALLOW_UNSAFE_STARTUP", "UNSAFE_STARTUP"),
    ),
    "accord.journal.crcFailureOnRebuildPolicy": (
        "crc_failure_on_rebuild_policy",
        ("IGNORE_CRC_ZERO_RECORDS",),
    ),
}
"""As it runs → as cassandra.yaml has it, and with what a killed Cassandra node starts again; by default it never does (decision 10)."""
ACCORD = ("accord.enabled", "accord.journal.flushMode", *ACCORD_JOURNAL)
_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "": 1}


class ServerChecked(NamedTuple):
    """What was found out about a server that will do."""

    facts: ServerFacts
    is_durable: bool
    """Whether a write is on the disk of each replica that acknowledged it, not only in its memory."""


async def check_server(port: CassandraPort, settings: CassandraSettings) -> ServerChecked:
    """Look at release, data centers and settings. BadRequest: something must be set otherwise, the message says what and where.

    Source: Cassandra 5.0, `Config` (`paxos_variant`, `paxos_state_purging`, `paxos_repair_enabled`).
    """
    facts = await _facts(port, settings, RELEASE_MIN, "5.0, whose Paxos v2 it relies on")
    in_force = await port.server_settings((*PAXOS, "commitlog_sync", *LIMITS))
    _check_paxos(in_force)
    _check_limits(in_force, settings)
    return ServerChecked(facts, (in_force.get("commitlog_sync") or "") in ("batch", "group"))


async def check_accord(port: CassandraPort, settings: CassandraSettings) -> ServerChecked:
    """Look at release, data centers and settings where Accord keeps the cells, and Paxos nothing. BadRequest as `check_server`.

    Source: Cassandra 6.0-alpha2, `AccordConfig` and its `JournalConfig`.
    """
    facts = await _facts(port, settings, ACCORD_RELEASE_MIN, "6.0 for Accord")
    in_force = await port.server_settings((*ACCORD, *LIMITS))
    if in_force.get("accord.enabled") != "true":
        raise BadRequest(
            "accord.enabled is not true at this Cassandra node: set `accord: {enabled: true}` in the cassandra.yaml of every "
            "Cassandra node of every site"
        )
    if settings.one_site:
        raise BadRequest(
            "one_site: Accord agrees over all copies of a keyspace, never within one site alone; name its copies only"
        )
    for name, (setting, good) in ACCORD_JOURNAL.items():
        if in_force.get(name) not in good:
            raise BadRequest(
                f"{name} is {in_force.get(name)!r} at this Cassandra node, with which it never starts again once it was killed: set "
                f"`{setting}: {good[0]}` under `accord: journal:` in the cassandra.yaml of every Cassandra node"
            )
    _check_limits(in_force, settings)
    return ServerChecked(facts, (in_force.get("accord.journal.flushMode") or "") in ("BATCH", "GROUP"))


async def _facts(
    port: CassandraPort, settings: CassandraSettings, release_min: tuple[int, int], needed: str
) -> ServerFacts:
    facts = await port.server()
    found = re.match(r"(\d+)\.(\d+)", facts.release)
    if not found or (int(found[1]), int(found[2])) < release_min:
        raise BadRequest(f"Cassandra {facts.release} is too old: polysite needs {needed}")
    if facts.data_center != settings.data_center:
        raise BadRequest(
            f"the contact points are in the data center {facts.data_center!r}, but data_center says "
            f"{settings.data_center!r}: name this site's own Cassandra nodes, or mend data_center"
        )
    return facts


def _check_paxos(in_force: Mapping[str, str | None]) -> None:
    if in_force.get("paxos_variant") != "v2":
        raise BadRequest(
            f"paxos_variant is {in_force.get('paxos_variant')!r} at this Cassandra node: set `paxos_variant: v2` in the "
            "cassandra.yaml of every Cassandra node of every site and restart them one by one"
        )
    if in_force.get("paxos_state_purging") != "repaired":
        raise BadRequest(
            f"paxos_state_purging is {in_force.get('paxos_state_purging')!r} at this Cassandra node: run "
            "`nodetool repair --paxos-only` everywhere and regularly, then set `paxos_state_purging: repaired` in the "
            "cassandra.yaml of every Cassandra node"
        )
    if in_force.get("paxos_repair_enabled") == "false":
        raise BadRequest(
            "paxos_repair_enabled is false at this Cassandra node, so what agreements leave behind is never purged: set it to "
            "true in the cassandra.yaml of every Cassandra node"
        )


def _check_limits(in_force: Mapping[str, str | None], settings: CassandraSettings) -> None:
    for name in LIMITS:
        limit_ms = milliseconds(in_force.get(name) or "")
        if limit_ms is not None and limit_ms >= settings.request_ms:
            raise BadRequest(
                f"request_ms is {settings.request_ms}, and {name} of Cassandra {limit_ms} ms: set request_ms above it, "
                "or what the server says of a failure is never heard"
            )


def milliseconds(duration: str) -> int | None:
    """`2000ms`, `10s`, `1m` or a bare number of milliseconds; None: something else."""
    found = re.fullmatch(r"(\d+)(ms|s|m|)", duration.strip())
    return int(found[1]) * _UNITS_MS[found[2]] if found else None


async def ensure_keyspace(
    port: CassandraPort, settings: CassandraSettings, clock: Clock, name: str, replication: Mapping[str, int]
) -> None:
    """See that the keyspace (by its name at Cassandra) is there with exactly this replication; make it if `create` says so.

    BadRequest: it is missing and is not to be made, is replicated otherwise, or a data center is not there. Unavailable: the
    schema could not be asked for or changed; starting again is safe.
    """
    found = await replication_of(port, name)
    if found is None:
        if not settings.create:
            raise BadRequest(f"the keyspace {name} is missing at Cassandra: make it, or set create = true")
        await _check_data_centers(port, replication)
        await define(port, clock, create_keyspace_text(name, replication))
        found = await replication_of(port, name)
    wanted = {data_center: str(copies) for data_center, copies in replication.items()}
    if found != wanted:
        shown = "something other than NetworkTopologyStrategy" if found is None else found
        raise BadRequest(
            f"the keyspace {name} is replicated as {shown}, the settings say {wanted}: mend `replicas`, or ALTER KEYSPACE "
            "and repair it"
        )


async def replication_of(port: CassandraPort, name: str) -> dict[str, str] | None:
    """Data center to copies of a keyspace, empty for another strategy; None: there is no such keyspace."""
    page = await port.read(_REPLICATION, [name.encode()], consistency=Consistency.ONE)
    if not page.rows or page.rows[0][0] is None:
        return None
    options = cast("dict[str, str]", _OPTIONS.deserialise(page.rows[0][0]))
    if not options.pop("class", "").endswith("NetworkTopologyStrategy"):
        return {}
    return options


def create_keyspace_text(name: str, replication: Mapping[str, int]) -> str:
    """The statement that makes it; data centers are checked by the settings to hold no quote."""
    copies = ", ".join(f"'{data_center}': '{count}'" for data_center, count in sorted(replication.items()))
    return f"""CREATE KEYSPACE IF NOT EXISTS "{name}" WITH replication = {{'class': 'NetworkTopologyStrategy', {copies}}}"""


async def _check_data_centers(port: CassandraPort, replication: Mapping[str, int]) -> None:
    known = (await port.server()).data_centers
    missing = sorted(set(replication) - known)
    if missing:
        raise BadRequest(
            f"Cassandra knows the data centers {sorted(known)}, but replicas names {missing} too: mend the names, or start "
            "those Cassandra nodes first"
        )


async def ensure_table(
    port: CassandraPort,
    settings: CassandraSettings,
    clock: Clock,
    keyspace: str,
    table: str,
    columns: Mapping[str, str],
    *,
    accord: bool = False,
) -> None:
    """See that a table of polysite's own is there with these columns: name to CQL type, the first one the key.

    `accord`: whether its conditional writes are Accord's work and not that of Paxos.

    Every site may make it at the same time: it gets the same table id everywhere (`WITH id`), where Cassandra would give it
    several and lose writes until a restart. Only for tables that are never dropped: an id must not be used twice.
    BadRequest: it is missing and is not to be made, or has other columns.
    """
    key = next(iter(columns))
    wanted = {name: ("partition_key" if name == key else "regular", kind) for name, kind in columns.items()}
    found = await columns_of(port, keyspace, table)
    if not found:
        if not settings.create:
            raise BadRequest(f"the table {keyspace}.{table} is missing at Cassandra: make it, or set create = true")
        spelled = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        await define(
            port,
            clock,
            f'CREATE TABLE IF NOT EXISTS "{keyspace}"."{table}" ({spelled}, PRIMARY KEY ({key})) '
            f"WITH id = {table_id(keyspace, table)}" + (f" AND {OPTIONS}" if accord else ""),
        )
        found = await columns_of(port, keyspace, table)
    if found != wanted:
        raise BadRequest(
            f"the table {keyspace}.{table} has other columns than polysite's: it belongs to something else"
        )
    if accord and (mode := await _mode_of(port, keyspace, table)) != MODE:
        raise BadRequest(
            f"the table {keyspace}.{table} has transactional_mode {mode!r}, not {MODE!r}: what Paxos and Accord agree on does not "
            "see each other"
        )
    text = f'SELECT {key} FROM "{keyspace}"."{table}" LIMIT 1'  # noqa: S608
    await until_usable(port, clock, Statement(text, gives={key: parse_type(columns[key])}))


async def check_read_repair(port: CassandraPort, keyspace: str, tables: Collection[str]) -> None:
    """BadRequest: one of these tables of a keyspace has its read repair off. A shared holder that is not the first of its run returns what
    it reads as if a majority had it, and that is the engine's to see to (locks.md 6.5)."""
    page = await port.read(_READ_REPAIR, [keyspace.encode()], consistency=Consistency.ONE)
    kinds = {(name or b"").decode(): (kind or b"").decode() for name, kind in page.rows}
    off = sorted(table for table in tables if kinds.get(table, "BLOCKING") != "BLOCKING")
    if off:
        raise BadRequest(
            f"read_repair is {kinds[off[0]]!r} for the table {keyspace}.{off[0]}, whose rows are read under shared locks: what one reader saw the "
            f'next might not. Say ALTER TABLE "{keyspace}"."{off[0]}" WITH read_repair = \'BLOCKING\''
        )


async def _mode_of(port: CassandraPort, keyspace: str, table: str) -> str:
    """The table's transactional mode; "" where there is none. Only DESCRIBE tells it (6.0-alpha2): no schema table has it."""
    gives = dict.fromkeys(("keyspace_name", "type", "name", "create_statement"), _TEXT)
    page = await port.read(
        Statement(f'DESCRIBE TABLE "{keyspace}"."{table}"', gives=gives), consistency=Consistency.ONE
    )
    said = b"".join(row[-1] or b"" for row in page.rows).decode()
    found = re.search(r"transactional_mode = '(\w+)'", said)
    return found[1] if found else ""


async def until_usable(port: CassandraPort, clock: Clock, read: Statement) -> None:
    """Wait, at most `SCHEMA_WAIT_S`, until a table can be read: one that another process makes is in the schema tables first.

    `read` is a statement without values. UnknownKey: it cannot be read still.
    """
    until_s = clock.monotonic_s() + SCHEMA_WAIT_S
    while True:
        try:
            await port.read(read, consistency=Consistency.ONE)
            return
        except UnknownKey:
            if clock.monotonic_s() > until_s:
                raise
        except Unavailable:
            return  # it is there, and nobody has the rows just now
        await clock.sleep_s(SCHEMA_POLL_S)


async def columns_of(port: CassandraPort, keyspace: str, table: str) -> dict[str, tuple[str, str]]:
    """Column to (kind, type) as the schema has it; empty: there is no such table."""
    page = await port.read(_COLUMNS, [keyspace.encode(), table.encode()], consistency=Consistency.ONE)
    rows = [[(value or b"").decode() for value in row] for row in page.rows]
    return {name: (kind, spelling) for name, kind, spelling in rows}


def table_id(keyspace: str, table: str) -> UUID:
    """The same id for the same names, at every site."""
    return UUID(bytes=hashlib.sha256(f"polysite table {keyspace}.{table}".encode()).digest()[:16], version=5)


async def define(port: CassandraPort, clock: Clock, text: str) -> None:
    """Execute a schema statement and wait, at most `SCHEMA_WAIT_S`, until every Cassandra node has it."""
    try:
        await port.define(text)
    except AlreadyExists:
        return
    until_s = clock.monotonic_s() + SCHEMA_WAIT_S
    while not await _agreed(port) and clock.monotonic_s() < until_s:
        await clock.sleep_s(SCHEMA_POLL_S)


async def _agreed(port: CassandraPort) -> bool:
    try:
        return await port.schema_agreed()
    except Unavailable:
        return False
