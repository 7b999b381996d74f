"""What is looked at before a Cassandra is used, over a port that answers from a script."""

from collections.abc import Sequence
from typing import Any, cast

import pytest

from polysite.engines.cassandra import CassandraPort, Consistency, Page, ServerFacts, Statement, Value
from polysite.engines.cassandra.checks import (
    SCHEMA_POLL_S,
    SCHEMA_WAIT_S,
    check_accord,
    check_read_repair,
    check_server,
    create_keyspace_text,
    define,
    ensure_keyspace,
    ensure_table,
    milliseconds,
    table_id,
)
from polysite.engines.cassandra.settings import CassandraSettings, cassandra_settings_from
from polysite.errors import AlreadyExists, BadRequest, Unavailable, UnknownKey
from polysite.testing.stepped_clock import SteppedClock
from polysite.values.types import parse_type

pytestmark = pytest.mark.anyio

GOOD = {
    "paxos_variant": "v2",
    "paxos_state_purging": "repaired",
    "commitlog_sync": "periodic",
    "read_request_timeout": "5s",
    "request_timeout": "10000ms",
}
COLUMNS = {"key": "blob", "version": "bigint"}
REPLICATION = parse_type("map<text, text>")


class Script:
    """What the checks ask of a port: the schema as dictionaries, changed by what is defined."""

    def __init__(self, **others: Any) -> None:
        self.described = ""
        self.release = "5.0.9"
        self.in_force: dict[str, str | None] = dict(GOOD)
        self.keyspaces: dict[str, dict[str, str]] = {}
        self.tables: dict[str, dict[str, tuple[str, str]]] = {}
        self.read_repair: dict[str, str] = {}
        self.made_as: dict[str, Any] = {}
        self.defined: list[str] = []
        self.agreements: list[bool | Exception] = []
        self.unreadable: list[Exception] = []
        self.__dict__.update(others)

    async def server(self) -> ServerFacts:
        return ServerFacts(self.release, "music", "ams", frozenset({"ams", "bei"}))

    async def server_settings(self, names: Sequence[str]) -> dict[str, str | None]:
        return {name: self.in_force[name] for name in names if name in self.in_force}

    async def schema_agreed(self) -> bool:
        answer = self.agreements.pop(0) if self.agreements else True
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def define(self, text: str) -> None:
        self.defined.append(text)
        for part in ("keyspaces", "tables"):
            getattr(self, part).update(self.made_as.get(part, {}))

    async def read(self, statement: Statement, values: Sequence[Value] = (), *, consistency: Consistency) -> Page:
        if statement.text.startswith("DESCRIBE"):
            return Page(["name", "create_statement"], [[b"t", self.described.encode()]])
        if statement.text.endswith("LIMIT 1"):
            if self.unreadable:
                raise self.unreadable.pop(0)
            return Page(["key"], [])
        named = [value.decode() for value in values if isinstance(value, bytes)]
        if "system_schema.keyspaces" in statement.text:
            found = self.keyspaces.get(named[0])
            return Page(["replication"], [] if found is None else [[REPLICATION.serialise(found)]])
        if "read_repair" in statement.text:
            return Page(
                ["table_name", "read_repair"],
                [[name.encode(), kind.encode()] for name, kind in self.read_repair.items()],
            )
        columns = self.tables.get(".".join(named), {})
        rows: list[list[bytes | None]] = [
            [name.encode(), *(word.encode() for word in of)] for name, of in columns.items()
        ]
        return Page(["column_name", "kind", "type"], rows)


def as_port(script: Script) -> CassandraPort:
    """The part of a port that the checks use."""
    return cast(CassandraPort, script)


def settings(**others: Any) -> CassandraSettings:
    return cassandra_settings_from({"contact_points": ["10.0.0.1"], "data_center": "ams", **others})


async def test_a_server_that_will_do() -> None:
    """5.0 with Paxos v2 passes; durable is what its commit log says."""
    checked = await check_server(as_port(Script()), settings())
    assert not checked.is_durable
    checked = await check_server(as_port(Script(in_force={**GOOD, "commitlog_sync": "batch"})), settings())
    assert checked.is_durable


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"release": "4.1.10"}, "too old: polysite needs 5.0"),
        ({"release": "unheard-of"}, "too old"),
        ({"in_force": {**GOOD, "paxos_repair_enabled": "false"}}, "paxos_repair_enabled is false"),
        ({"in_force": {**GOOD, "paxos_variant": "v1"}}, "set `paxos_variant: v2` in the cassandra.yaml"),
        ({"in_force": {}}, "paxos_variant is None"),
        ({"in_force": {**GOOD, "paxos_state_purging": "legacy"}}, "nodetool repair --paxos-only"),
        ({"in_force": {**GOOD, "paxos_state_purging": None}}, "paxos_state_purging: repaired"),
        ({"in_force": {**GOOD, "range_request_timeout": "12s"}}, "range_request_timeout of Cassandra 12000 ms: set request_ms above"),
    ],
)  # fmt: skip
async def test_a_server_that_must_be_set_otherwise(others: dict[str, Any], words: str) -> None:
    """Each thing that is wrong is an error at start that says what to do."""
    with pytest.raises(BadRequest, match=words):
        await check_server(as_port(Script(**others)), settings())


async def test_the_contact_points_are_of_this_site() -> None:
    """A Cassandra node of another data center would cost every call a wide-area round trip: it is refused."""
    with pytest.raises(BadRequest, match="in the data center 'ams', but data_center says 'bei'"):
        await check_server(as_port(Script()), settings(data_center="bei"))


@pytest.mark.parametrize(
    ("spelled", "expected"), [("2000ms", 2_000), ("10s", 10_000), ("1m", 60_000), ("5000", 5_000), ("null", None)]
)
def test_limits_in_every_spelling(spelled: str, expected: int | None) -> None:
    """cassandra.yaml's durations, and bare milliseconds as before 4.1."""
    assert milliseconds(spelled) == expected


async def test_a_missing_keyspace_is_made() -> None:
    """As the settings replicate it, only where that may be done, and only over data centers that are there."""
    made = {"class": "org.apache.cassandra.locator.NetworkTopologyStrategy", "ams": "3", "bei": "3"}
    script = Script(made_as={"keyspaces": {"cells": made}})
    wanted = {"bei": 3, "ams": 3}
    await ensure_keyspace(as_port(script), settings(), SteppedClock(), "cells", wanted)
    assert script.defined == [create_keyspace_text("cells", wanted)]
    assert "'ams': '3', 'bei': '3'" in script.defined[0]
    with pytest.raises(BadRequest, match="set create = true"):
        await ensure_keyspace(as_port(Script()), settings(create=False), SteppedClock(), "cells", wanted)
    with pytest.raises(BadRequest, match=r"replicas names \['irv'\] too"):
        await ensure_keyspace(as_port(Script()), settings(), SteppedClock(), "cells", {"ams": 1, "irv": 1})


@pytest.mark.parametrize(
    "found",
    [
        {"class": "org.apache.cassandra.locator.SimpleStrategy", "replication_factor": "1"},
        {"class": "org.apache.cassandra.locator.NetworkTopologyStrategy", "ams": "1"},
        {"class": "org.apache.cassandra.locator.NetworkTopologyStrategy", "ams": "3", "bei": "3"},
    ],
)
async def test_another_replication_is_refused(found: dict[str, str]) -> None:
    """A keyspace that is there is not changed; the error shows both."""
    script = Script(keyspaces={"cells": found})
    with pytest.raises(BadRequest, match=r"the settings say \{'ams': '3'\}"):
        await ensure_keyspace(as_port(script), settings(), SteppedClock(), "cells", {"ams": 3})
    assert not script.defined


async def test_a_table_without_read_repair_is_refused() -> None:
    """Of those that are asked about; the error says which, and what to do. One that Cassandra does not have yet is none."""
    script = Script(read_repair={"votes": "NONE", "jobs": "BLOCKING"})
    await check_read_repair(as_port(script), "ks", ["jobs", "unmade"])
    with pytest.raises(BadRequest, match=r"""ALTER TABLE "ks"."votes" WITH read_repair = 'BLOCKING'"""):
        await check_read_repair(as_port(script), "ks", ["jobs", "votes"])


async def test_a_missing_table_is_made_with_the_same_id_everywhere() -> None:
    """Its id follows from its names, so that sites which make it at once make one table."""
    right = {"key": ("partition_key", "blob"), "version": ("regular", "bigint")}
    script = Script(made_as={"tables": {"cells.t": right}})
    await ensure_table(as_port(script), settings(), SteppedClock(), "cells", "t", COLUMNS)
    assert script.defined == [
        f'CREATE TABLE IF NOT EXISTS "cells"."t" (key blob, version bigint, PRIMARY KEY (key)) WITH id = {table_id("cells", "t")}'
    ]
    assert table_id("cells", "t") == table_id("cells", "t") != table_id("cells", "u")
    await ensure_table(as_port(script), settings(create=False), SteppedClock(), "cells", "t", COLUMNS)
    assert len(script.defined) == 1
    with pytest.raises(BadRequest, match=r"the table cells\.t is missing"):
        await ensure_table(as_port(Script()), settings(create=False), SteppedClock(), "cells", "t", COLUMNS)


async def test_a_table_of_accord() -> None:
    """It is made in its mode and without read repair; one in another mode is refused, since the two kinds of agreement do not see each other."""
    right = {"key": ("partition_key", "blob"), "version": ("regular", "bigint")}
    script = Script(
        made_as={"tables": {"cells.t": right}}, described="WITH cdc = false AND transactional_mode = 'mixed_reads'"
    )
    await ensure_table(as_port(script), settings(), SteppedClock(), "cells", "t", COLUMNS, accord=True)
    assert script.defined[0].endswith("AND transactional_mode = 'mixed_reads' AND read_repair = 'NONE'")
    for described in ("WITH transactional_mode = 'off'", "WITH transactional_mode = 'full'", ""):
        with pytest.raises(BadRequest, match="does not see each other"):
            await ensure_table(
                as_port(Script(tables={"cells.t": right}, described=described)), settings(), SteppedClock(), "cells", "t", COLUMNS,
                accord=True,
            )  # fmt: skip


async def test_a_table_that_another_process_makes_is_waited_for() -> None:
    """Cassandra shows it in the schema before it can be asked. Rows that nobody has just now are no reason to wait."""
    right = {"key": ("partition_key", "blob"), "version": ("regular", "bigint")}
    script, clock = Script(tables={"cells.t": right}, unreadable=[UnknownKey(), UnknownKey()]), SteppedClock()
    await ensure_table(as_port(script), settings(), clock, "cells", "t", COLUMNS)
    assert not script.unreadable
    assert clock.monotonic_s() == pytest.approx(2 * SCHEMA_POLL_S)
    script.unreadable = [Unavailable(), UnknownKey()]
    await ensure_table(as_port(script), settings(), clock, "cells", "t", COLUMNS)
    script.unreadable = [UnknownKey()] * 1_000
    with pytest.raises(UnknownKey):
        await ensure_table(as_port(script), settings(), clock, "cells", "t", COLUMNS)
    assert clock.monotonic_s() == pytest.approx(SCHEMA_WAIT_S, rel=0.1)


@pytest.mark.parametrize(
    "found",
    [
        {"key": ("partition_key", "blob")},
        {"key": ("partition_key", "blob"), "version": ("regular", "int")},
        {"key": ("partition_key", "blob"), "version": ("clustering", "bigint")},
        {"key": ("partition_key", "blob"), "version": ("regular", "bigint"), "more": ("regular", "int")},
    ],
)
async def test_a_table_of_something_else_is_refused(found: dict[str, tuple[str, str]]) -> None:
    """Fewer, other or more columns: it is left alone."""
    with pytest.raises(BadRequest, match="belongs to something else"):
        await ensure_table(
            as_port(Script(tables={"cells.t": found})), settings(), SteppedClock(), "cells", "t", COLUMNS
        )


async def test_agreement_is_waited_for_but_not_for_ever() -> None:
    """It polls until every Cassandra node has the schema; where one is down, or cannot be asked, it goes on after the limit."""
    clock = SteppedClock()
    script = Script(agreements=[False, Unavailable(), True])
    await define(as_port(script), clock, "CREATE")
    assert not script.agreements
    script = Script(agreements=[False] * 10_000)
    await define(as_port(script), clock, "CREATE")
    assert 150 < 10_000 - len(script.agreements) < 250


async def test_what_is_there_already_needs_no_agreement() -> None:
    """Another site was faster: that is as good."""

    class Faster(Script):
        async def define(self, text: str) -> None:
            raise AlreadyExists

    await define(as_port(Faster(agreements=[False] * 10)), SteppedClock(), "CREATE")


ACCORD_GOOD = {
    "accord.enabled": "true",
    "accord.journal.flushMode": "GROUP",
    "accord.journal.stopMarkerFailurePolicy": "ALLOW_UNSAFE_STARTUP",
    "accord.journal.crcFailureOnRebuildPolicy": "IGNORE_CRC_ZERO_RECORDS",
    "read_request_timeout": "5s",
}


@pytest.mark.parametrize(("flush", "durable"), [("GROUP", True), ("BATCH", True), ("PERIODIC", False)])
async def test_a_server_with_accord_that_will_do(flush: str, durable: bool) -> None:
    """Paxos is not asked for; it is durable where the journal waits for the disk."""
    script = Script(release="6.0-alpha2", in_force=ACCORD_GOOD | {"accord.journal.flushMode": flush})
    checked = await check_accord(as_port(script), settings())
    assert checked.is_durable == durable


@pytest.mark.parametrize(
    ("others", "complaint"),
    [
        ({"release": "5.0.9"}, "needs 6.0 for Accord"),
        ({"in_force": {}}, "accord.enabled is not true"),
        ({"in_force": ACCORD_GOOD | {"accord.enabled": "false"}}, "accord: {enabled: true}"),
        (
            {"in_force": ACCORD_GOOD | {"accord.journal.stopMarkerFailurePolicy": "EXIT"}},
            "never starts again once it was killed.*stop_marker_failure_policy: ALLOW_UNSAFE_STARTUP",
        ),
        (
            {"in_force": ACCORD_GOOD | {"accord.journal.crcFailureOnRebuildPolicy": "FAIL"}},
            "crc_failure_on_rebuild_policy: IGNORE_CRC_ZERO_RECORDS",
        ),
        ({"in_force": ACCORD_GOOD | {"read_request_timeout": "60s"}}, "request_ms"),
    ],
)
async def test_a_server_with_accord_that_will_not_do(others: dict[str, Any], complaint: str) -> None:
    """The message says what to set, and where."""
    script = Script(**({"release": "6.0-alpha2", "in_force": ACCORD_GOOD} | others))
    with pytest.raises(BadRequest, match=complaint):
        await check_accord(as_port(script), settings())


async def test_accord_does_not_agree_within_one_site() -> None:
    """one_site would promise that other sites are not waited for, which Accord cannot."""
    script = Script(release="6.0-alpha2", in_force=ACCORD_GOOD)
    with pytest.raises(BadRequest, match="one_site"):
        await check_accord(as_port(script), settings(one_site=True))
