"""Many clients of REST v2 at once, some of which die.

Goal: no update is lost, no queue stays stuck when clients die at any point, and lock numbers strictly increase. Method: 64
clients, each on a connection of its own, on one key and on a thousand; some of them break off at drawn points. A judge reads
what the clients saw. Set POLYSITE_TEST_LOAD=long for twenty times as many cycles.
"""

import asyncio
import os
import random
from pathlib import Path

import pytest

from tests.support.server_process import ServerProcess
from tests.support.v2_clients import (
    KEYSPACE,
    NOTHING,
    TABLE,
    Created,
    Crowd,
    Death,
    Tenure,
    Version,
    lost_updates,
    numbers_out_of_order,
)

CLIENTS = 64
LEASE_MS = 1_000
EMPTY_S = 20.0
LONG = os.environ.get("POLYSITE_TEST_LOAD") == "long"
TIMES = 20 if LONG else 1
RUN_S = 90.0 * TIMES


def make_table(server: ServerProcess) -> None:
    """A keyspace and a table, as a client of v2 makes them."""
    base = f"/MUSIC/rest/v2/keyspaces/{KEYSPACE}"
    replication = {"class": "SimpleStrategy", "replication_factor": 1}
    made = server.request("POST", base, {"replicationInfo": replication, "consistencyInfo": {}})
    assert made.status == 200, made
    fields = {"name": "text", "total": "int", "author": "text"}
    made = server.request("POST", f"{base}/tables/{TABLE}", {"fields": fields, "primaryKey": "name"})
    assert made.status == 200, made


@pytest.mark.slow
@pytest.mark.timeout(RUN_S + 60)
@pytest.mark.parametrize(
    ("keys", "tenures", "deaths"), [(1, 100, 8), (1_000, 1_200, 40)], ids=["one-key", "a-thousand-keys"]
)
def test_clients_that_die_leave_nothing_behind(keys: int, tenures: int, deaths: int, tmp_path: Path) -> None:
    """Every cycle ends although others die, and afterwards every queue is empty; also those of keys that nobody wants after the
    one who died there."""
    chance = random.Random(keys)
    names = [f"key-{number}" for number in range(keys)]
    alone = [f"alone-{number}" for number in range(len(Death))]
    with ServerProcess(tmp_path / "data", variables={"POLYSITE_V2_LEASE_MS": str(LEASE_MS)}) as server:
        make_table(server)
        crowd = Crowd(server.url, names, chance, deaths=deaths * TIMES, tenures=tenures * TIMES)

        async def drill() -> float:
            async with asyncio.timeout(RUN_S):
                await crowd.run(CLIENTS)
                await crowd.until_empty(names, EMPTY_S)
                await crowd.one_dies_at_every_point(alone)
                return await crowd.until_empty(alone, EMPTY_S)

        empty_s = asyncio.run(drill())
        assert server.terminate() == 0
    print(f"{len(crowd.tenures)} tenures, {len(crowd.created)} locks, {crowd.lost} lost, empty after {empty_s:.1f} s")
    assert not lost_updates(crowd.tenures)
    assert not numbers_out_of_order(crowd.created)
    assert set(crowd.deaths.values()) == {deaths * TIMES // len(Death) + 1}, "clients were to die at every point alike"
    assert sum(tenure.done is True for tenure in crowd.tenures) >= tenures * TIMES


def test_the_judge_sees_a_lost_update() -> None:
    """A holder that finds what its predecessor found, although that wrote; an unknown put may be found or not."""
    one, two = Version(1, "a"), Version(2, "b")
    known = Tenure("k", 1, NOTHING, one, done=True)
    assert lost_updates([known, Tenure("k", 2, NOTHING, two, done=True)])
    assert not lost_updates([known, Tenure("k", 2, one, two, done=True)])
    unknown = known._replace(done=None)
    assert not lost_updates([unknown, Tenure("k", 2, NOTHING, two, done=None)])
    assert not lost_updates([unknown, Tenure("k", 2, one, two, done=None)])
    assert lost_updates([known._replace(done=False), Tenure("k", 2, one, two, done=True)])


def test_the_judge_sees_numbers_that_do_not_increase() -> None:
    """Locks of one key, one after the other; those that were asked for at once may have either order."""
    first = Created("k", 0.0, 1.0, 5)
    assert numbers_out_of_order([first, Created("k", 2.0, 3.0, 4)])
    assert numbers_out_of_order([first, Created("k", 0.5, 3.0, 5)])
    assert not numbers_out_of_order([first, Created("k", 0.5, 3.0, 4), Created("other", 2.0, 3.0, 1)])
