"""What callers are told while their Cassandra node is frozen, killed and started again; through both drivers.

Method: the signals that a machine knows. A frozen Cassandra node takes requests and answers none; a killed one drops its connections. What
an unknown write did is looked up afterwards.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from polysite.cells.cassandra import CassandraCells
from polysite.cells.contract import CellView
from polysite.clock import SystemClock
from polysite.engines.cassandra import CassandraPort, Consistency, Statement
from polysite.engines.cassandra.checks import define, ensure_keyspace
from polysite.engines.cassandra.opening import cassandra_port
from polysite.errors import OutcomeUnknown, PolysiteError, Unavailable
from polysite.lab.engines import CassandraSpec, Engine, free_address, start
from polysite.values.types import parse_type
from tests.support.cassandra import DRIVERS, settings_for
from tests.support.engines import require, running

pytestmark = [pytest.mark.anyio, pytest.mark.engine("cassandra")]

INT = parse_type("int")
PUT = Statement("INSERT INTO outages.t (k, v) VALUES (?, ?)", (INT, INT))
MAKE = Statement("INSERT INTO outages.t (k, v) VALUES (?, ?) IF NOT EXISTS", (INT, INT), {"k": INT, "v": INT})
GET = Statement("SELECT v FROM outages.t WHERE k = ?", (INT,), {"v": INT})
ONE = (1).to_bytes(4, "big")
LOCAL_ONE, SERIAL = Consistency.LOCAL_ONE, Consistency.SERIAL
REQUEST_MS = 400


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A Cassandra node of these tests' own, because they kill it."""
    spec = CassandraSpec(
        folder=str(tmp_path_factory.mktemp("outages")), address=free_address((9042, 7000)), commitlog_sync="batch"
    )
    with running(start(spec, require("cassandra"))) as engine:
        yield engine


@pytest.fixture(params=DRIVERS)
async def port(request: pytest.FixtureRequest, engine: Engine) -> AsyncIterator[CassandraPort]:
    """Connected, with statements prepared, and with little patience."""
    settings = settings_for(engine, driver=request.param, request_ms=REQUEST_MS)
    patient = settings_for(engine)
    preparing = cassandra_port(patient)
    await preparing.connect()
    await ensure_keyspace(preparing, patient, SystemClock(), "outages", {"dc1": 1})
    await define(preparing, SystemClock(), "CREATE TABLE IF NOT EXISTS outages.t (k int PRIMARY KEY, v int)")
    await preparing.close()
    port = cassandra_port(settings)
    await port.connect()
    for work in works(port).values():
        await answered(work)
    yield port
    await port.close()


def works(port: CassandraPort) -> dict[str, Callable[[], Awaitable[object]]]:
    """One of each kind of work."""
    return {
        "write": lambda: port.write(PUT, [ONE, ONE], consistency=LOCAL_ONE),
        "batch": lambda: port.write_batch([(PUT, [ONE, ONE])], consistency=LOCAL_ONE),
        "conditional": lambda: port.write_if([(MAKE, [ONE, ONE])], commit=LOCAL_ONE, serial=SERIAL),
        "read": lambda: port.read(GET, [ONE], consistency=LOCAL_ONE),
        "linearizable read": lambda: port.read(GET, [ONE], consistency=SERIAL),
    }


async def answered(work: Callable[[], Awaitable[object]], *, within_s: float = 20.0) -> None:
    """Do the work until it is answered, that is, until the driver is connected again."""
    end_s = time.monotonic() + within_s
    while True:
        try:
            await work()
        except PolysiteError:
            assert time.monotonic() < end_s, "not connected again within the limit"
            await asyncio.sleep(0.02)
        else:
            return


async def outcome(work: Callable[[], Awaitable[object]]) -> PolysiteError | None:
    try:
        await work()
    except PolysiteError as error:
        return error
    return None


async def test_frozen(port: CassandraPort, engine: Engine) -> None:
    """Whatever is asked of a frozen Cassandra node ends within the request's limit: writes unknown, reads unavailable. Thawed, it goes on."""
    engine.freeze()
    try:
        async with asyncio.timeout(REQUEST_MS / 1000 + 10):
            found = dict(zip(works(port), await asyncio.gather(*map(outcome, works(port).values())), strict=True))
    finally:
        engine.thaw()
    for name, error in found.items():
        if "read" in name:
            assert type(error) is Unavailable, name
        else:
            assert type(error) is OutcomeUnknown, name
            assert error.reason == "client_timeout"
    for work in works(port).values():
        await answered(work)


async def test_killed_and_started_again(port: CassandraPort, engine: Engine, tmp_path: Path) -> None:
    """What was under way when the connection broke is unknown, what comes after is certainly not sent; when the Cassandra node is
    back, so is the driver, with its statements, and what was acknowledged before is there."""
    patient = cassandra_port(settings_for(engine, driver=port.driver))
    await patient.connect()
    for work in works(patient).values():
        await work()
    engine.freeze()
    asked = [asyncio.ensure_future(outcome(work)) for work in works(patient).values()]
    await asyncio.sleep(0)
    engine.kill()
    async with asyncio.timeout(10):
        found = dict(zip(works(patient), await asyncio.gather(*asked), strict=True))
    for name, error in found.items():
        assert isinstance(error, Unavailable if "read" in name else OutcomeUnknown), name
    await told_at_once(patient)
    again = start(engine.spec, require("cassandra"))
    try:
        again.wait_ready(wait_s=90)
        await answered(works(patient)["read"])
        assert (await patient.read(GET, [ONE], consistency=LOCAL_ONE)).rows == [[ONE]]
        for work in works(patient).values():
            await answered(work)
        await patient.close()
    except BaseException:
        again.kill()
        raise
    # The next test finds it where this one did.
    engine.__dict__.update(again.__dict__)


async def told_at_once(port: CassandraPort) -> None:
    """Soon after the loss the driver knows that nobody is there, and says so of writes too, without sending them."""
    end_s = time.monotonic() + 10
    while type(await outcome(works(port)["write"])) is not Unavailable:
        assert time.monotonic() < end_s, "a write is still unknown where nobody is connected"
        await asyncio.sleep(0.02)
    for name, work in works(port).items():
        assert type(await outcome(work)) is Unavailable, name


async def test_closed_with_work_under_way(port: CassandraPort, engine: Engine) -> None:
    """Closing ends what is under way: a write is told as unknown, a read as unavailable; afterwards nothing is sent."""
    patient = cassandra_port(settings_for(engine, driver=port.driver))
    await patient.connect()
    for work in works(patient).values():
        await work()
    engine.freeze()
    try:
        asked = [asyncio.ensure_future(outcome(works(patient)[name])) for name in ("write", "read")]
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            await patient.close()
            write, read = await asyncio.gather(*asked)
    finally:
        engine.thaw()
    assert type(write) is OutcomeUnknown
    assert type(read) is Unavailable
    assert type(await outcome(works(patient)["write"])) is Unavailable
    await answered(works(port)["write"])


@pytest.mark.parametrize("driver", DRIVERS)
async def test_an_unknown_change_of_a_cell_is_found_out(engine: Engine, driver: str) -> None:
    """Freeze while a cell is being changed: unknown; thawed, a SERIAL read says whether it applied, and a change goes on from there; once
    the version has moved it is made no more."""
    settings = settings_for(engine, driver=driver, request_ms=12_000)
    cells = CassandraCells(cassandra_port(settings), settings, clock=SystemClock())
    await cells.start()
    hasty = CassandraCells(
        cassandra_port(quick := settings_for(engine, driver=driver, request_ms=REQUEST_MS)), quick, clock=SystemClock()
    )
    await hasty._port.connect()
    key = b"outages/" + driver.encode()
    assert (await cells.compare_and_set(key, 0, b"one")).applied
    await hasty.compare_and_set(key, 9, b"prepares the statement")
    engine.freeze()
    try:
        with pytest.raises(OutcomeUnknown):
            await hasty.compare_and_set(key, 1, b"two")
        with pytest.raises(Unavailable):
            await hasty.read(key)
    finally:
        engine.thaw()
    view = await cells.read(key)
    assert view in (CellView(1, b"one"), CellView(2, b"two"))
    changed = await cells.compare_and_set(key, view.version, b"three")
    if not changed.applied:
        # As long as the version had not moved it could still be made (`Cells.read`), and so it was, in between.
        assert (view, changed.view) == (CellView(1, b"one"), CellView(2, b"two"))
        changed = await cells.compare_and_set(key, 2, b"three")
    assert changed.applied
    assert await cells.read(key) == changed.view, "it was made after the version had moved"
    await hasty.close()
    await cells.close()
