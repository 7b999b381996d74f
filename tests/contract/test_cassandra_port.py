"""The Cassandra port on a real Cassandra node, through both drivers: bytes in, the same bytes out, and nothing in between."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from polysite.clock import SystemClock
from polysite.engines.cassandra import UNSET, CassandraPort, Consistency, Page, Statement
from polysite.engines.cassandra.checks import define, ensure_keyspace
from polysite.engines.cassandra.opening import cassandra_port
from polysite.errors import AlreadyExists, BadRequest, OutcomeUnknown, QuorumUnavailable, UnknownKey
from polysite.lab.engines import Engine
from polysite.values.types import CqlType, parse_type
from tests.support.cassandra import DRIVERS, settings_for

pytestmark = pytest.mark.anyio

KEYSPACE = "port"
BLOB, INT, BIGINT, TEXT = map(parse_type, ("blob", "int", "bigint", "text"))
LOCAL_ONE, QUORUM, LOCAL_QUORUM = Consistency.LOCAL_ONE, Consistency.QUORUM, Consistency.LOCAL_QUORUM
SERIAL, LOCAL_SERIAL = Consistency.SERIAL, Consistency.LOCAL_SERIAL

PUT = Statement("INSERT INTO port.t (k, c, v, w) VALUES (?, ?, ?, ?)", (BLOB, INT, BIGINT, TEXT))
GET = Statement("SELECT c, v, w FROM port.t WHERE k = ?", (BLOB,), {"c": INT, "v": BIGINT, "w": TEXT})
CHANGE = Statement(
    "UPDATE port.t SET v = ? WHERE k = ? AND c = ? IF v = ?",
    (BIGINT, BLOB, INT, BIGINT),
    {"v": BIGINT, "k": BLOB, "c": INT},
)
MAKE = Statement(
    "INSERT INTO port.t (k, c, v) VALUES (?, ?, ?) IF NOT EXISTS",
    (BLOB, INT, BIGINT),
    {"k": BLOB, "c": INT, "v": BIGINT, "w": TEXT},
)

VALUES = {
    "ascii": ["", "61"],
    "bigint": ["8000000000000000", "7fffffffffffffff"],
    "blob": ["", "00ff"],
    "boolean": ["00", "01"],
    "date": ["00000000", "80000000", "ffffffff"],
    "decimal": ["000000020096", "fffffff005", "0000000080"],
    "double": ["8000000000000000", "7ff8000000000000", "0000000000000001", "fff0000000000000"],
    "duration": ["020406", "010305"],
    "float": ["80000000", "7fc00000", "00000001", "ff800000"],
    "inet": ["7f000001", "00" * 15 + "01"],
    "int": ["80000000", "7fffffff"],
    "smallint": ["8000", "7fff"],
    "text": ["", "c3a900"],
    "time": ["00" * 8, "00004e94914effff"],
    "timestamp": ["80" + "00" * 7, "7f" + "ff" * 7, "fffffffffffffffb"],
    "timeuuid": ["8e14e760977711e3aaec00163e5bdf7a"],
    "tinyint": ["80", "7f"],
    "uuid": ["000102030405060708090a0b0c0d0e0f"],
    "varint": ["00", "80", "00ff", "7f" + "ff" * 40],
    "list<int>": ["00000002" + "0000000400000003" + "0000000400000001"],
    "set<text>": ["00000002" + "0000000161" + "0000000162"],
    "map<text, decimal>": ["00000001" + "0000000161" + "00000006000000020096"],
    "tuple<int, text>": ["00000004" + "00000001" + "ffffffff", "ffffffff" + "0000000178"],
    "list<frozen<list<blob>>>": ["00000001" + "0000000a" + "00000001" + "0000000200ff"],
}
"""Type → values at its bounds, as hexadecimal of their serialisation."""

_numbers = itertools.count()


@pytest.fixture(params=DRIVERS)
async def port(request: pytest.FixtureRequest, cassandra_node: Engine) -> AsyncIterator[CassandraPort]:
    settings = settings_for(cassandra_node, driver=request.param)
    port = cassandra_port(settings)
    await port.connect()
    await ensure_keyspace(port, settings, SystemClock(), KEYSPACE, {settings.data_center: 1})
    await define(
        port,
        SystemClock(),
        "CREATE TABLE IF NOT EXISTS port.t (k blob, c int, v bigint, w text, PRIMARY KEY (k, c))",
    )
    yield port
    await port.close()


@pytest.fixture
def key() -> bytes:
    """A partition that no other test uses."""
    return b"key/%d" % next(_numbers)


def i4(value: int) -> bytes:
    return value.to_bytes(4, "big", signed=True)


def i8(value: int) -> bytes:
    return value.to_bytes(8, "big", signed=True)


@pytest.mark.parametrize("spelling", sorted(VALUES))
async def test_values_of_every_type_are_bytes_both_ways(port: CassandraPort, spelling: str) -> None:
    """Write the serialisation of values at the bounds of each type, read it back: the same bytes, and null as none."""
    kind: CqlType = parse_type(spelling)
    table = "port.v_" + "".join(letter for letter in spelling if letter.isalnum())
    await define(port, SystemClock(), f"CREATE TABLE IF NOT EXISTS {table} (k int PRIMARY KEY, v {spelling})")
    put = Statement(f"INSERT INTO {table} (k, v) VALUES (?, ?)", (INT, kind))
    get = Statement(f"SELECT v FROM {table} WHERE k = ?", (INT,), {"v": kind})
    for at, value in enumerate(VALUES[spelling]):
        await port.write(put, [i4(at), bytes.fromhex(value)], consistency=LOCAL_ONE)
        page = await port.read(get, [i4(at)], consistency=LOCAL_ONE)
        assert page == Page(["v"], [[bytes.fromhex(value)]]), value
    await port.write(put, [i4(0), None], consistency=LOCAL_ONE)
    assert (await port.read(get, [i4(0)], consistency=LOCAL_ONE)).rows == [[None]]


async def test_unset_leaves_what_is_there(port: CassandraPort, key: bytes) -> None:
    """Null takes a value away, UNSET does not touch it."""
    await port.write(PUT, [key, i4(1), i8(1), b"one"], consistency=LOCAL_QUORUM)
    await port.write(PUT, [key, i4(1), UNSET, b"two"], consistency=LOCAL_QUORUM)
    assert (await port.read(GET, [key], consistency=QUORUM)).rows == [[i4(1), i8(1), b"two"]]
    await port.write(PUT, [key, i4(1), None, UNSET], consistency=LOCAL_QUORUM)
    assert (await port.read(GET, [key], consistency=QUORUM)).rows == [[i4(1), None, b"two"]]


async def test_pages_go_on_where_the_last_one_ended(port: CassandraPort, key: bytes) -> None:
    """Seven rows in pages of three: every row once, in clustering order, and no state after the last."""
    await port.write_batch([(PUT, [key, i4(at), i8(at), None]) for at in range(7)], consistency=LOCAL_ONE)
    found: list[bytes | None] = []
    state: bytes | None = None
    for expected in (3, 3, 1):
        page = await port.read(GET, [key], consistency=LOCAL_ONE, page_rows=3, paging_state=state)
        assert len(page.rows) == expected
        found += [row[0] for row in page.rows]
        state = page.paging_state
        assert (state is None) is (expected == 1)
    assert found == [i4(at) for at in range(7)]
    assert len((await port.read(GET, [key], consistency=LOCAL_ONE)).rows) == 7


@pytest.mark.parametrize("logged", [False, True])
async def test_a_batch_is_all_of_its_writes(port: CassandraPort, key: bytes, logged: bool) -> None:
    """Several writes of one partition, logged or not, are there after it."""
    writes = [(PUT, [key, i4(at), i8(at), b"x"]) for at in range(3)]
    await port.write_batch(writes, consistency=LOCAL_QUORUM, logged=logged)
    assert len((await port.read(GET, [key], consistency=LOCAL_ONE)).rows) == 3


@pytest.mark.parametrize("serial", [SERIAL, LOCAL_SERIAL])
async def test_a_conditional_write_says_what_stood_against_it(
    port: CassandraPort, key: bytes, serial: Consistency
) -> None:
    """Applied; refused with the columns of the condition; refused by a row that is not there; not made because it is there."""
    assert (await port.write_if([(MAKE, [key, i4(1), i8(5)])], commit=LOCAL_QUORUM, serial=serial)).applied
    assert (await port.write_if([(CHANGE, [i8(6), key, i4(1), i8(5)])], commit=LOCAL_ONE, serial=serial)).applied
    answer = await port.write_if([(CHANGE, [i8(7), key, i4(1), i8(5)])], commit=LOCAL_ONE, serial=serial)
    assert (answer.applied, answer.found) == (False, Page(["v"], [[i8(6)]]))
    answer = await port.write_if([(CHANGE, [i8(7), key, i4(9), i8(5)])], commit=LOCAL_ONE, serial=serial)
    assert (answer.applied, answer.found.rows) == (False, [])
    answer = await port.write_if([(MAKE, [key, i4(1), i8(5)])], commit=LOCAL_QUORUM, serial=serial)
    assert not answer.applied
    assert dict(zip(answer.found.names, answer.found.rows[0], strict=True)) == {
        "k": key,
        "c": i4(1),
        "v": i8(6),
        "w": None,
    }
    assert (await port.read(GET, [key], consistency=serial)).rows == [[i4(1), i8(6), None]]


async def test_a_conditional_batch_applies_whole_or_not(port: CassandraPort, key: bytes) -> None:
    """Two conditions and a plain write of one partition: applied together, and refused together by one that does not hold."""
    await port.write_batch([(PUT, [key, i4(at), i8(0), None]) for at in (1, 2)], consistency=QUORUM)
    plain = Statement("INSERT INTO port.t (k, c, w) VALUES (?, ?, ?)", (BLOB, INT, TEXT))
    both = [(CHANGE, [i8(1), key, i4(at), i8(0)]) for at in (1, 2)] + [(plain, [key, i4(3), b"three"])]
    assert (await port.write_if(both, commit=LOCAL_QUORUM, serial=LOCAL_SERIAL)).applied
    await port.write(PUT, [key, i4(1), i8(0), None], consistency=QUORUM)
    answer = await port.write_if(both, commit=LOCAL_QUORUM, serial=LOCAL_SERIAL)
    assert not answer.applied
    column = list(answer.found.names).index("v")
    assert i8(1) in [row[column] for row in answer.found.rows]
    assert (await port.read(GET, [key], consistency=QUORUM)).rows[2] == [i4(3), None, b"three"]


async def test_what_is_not_there_or_not_allowed_is_refused(port: CassandraPort, key: bytes) -> None:
    """A table or column that is missing is UnknownKey, nonsense is BadRequest, what is made twice is AlreadyExists."""
    for text in ("SELECT v FROM port.nothing", "SELECT nothing FROM port.t", "SELECT v FROM nothing.t"):
        with pytest.raises(UnknownKey):
            await port.read(Statement(text), consistency=LOCAL_ONE)
    with pytest.raises(BadRequest):
        await port.read(Statement("SELECT"), consistency=LOCAL_ONE)
    with pytest.raises(BadRequest, match="takes 1 values, not 2"):
        await port.read(GET, [key, key], consistency=LOCAL_ONE)
    with pytest.raises(BadRequest):
        await port.write(PUT, [b"", i4(1), i8(1), None], consistency=LOCAL_ONE)  # an empty partition key
    with pytest.raises(AlreadyExists):
        await port.define("CREATE TABLE port.t (k blob PRIMARY KEY)")
    with pytest.raises(UnknownKey):
        await port.define("DROP TABLE port.nothing")


THREE_COPIES = "CREATE KEYSPACE IF NOT EXISTS port3 WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 3}"
PUT_3 = Statement("INSERT INTO port3.t (k, v) VALUES (?, ?)", (BLOB, BIGINT))
MAKE_3 = Statement("INSERT INTO port3.t (k, v) VALUES (?, ?) IF NOT EXISTS", (BLOB, BIGINT), {"k": BLOB, "v": BIGINT})
GET_3 = Statement("SELECT v FROM port3.t WHERE k = ?", (BLOB,), {"v": BIGINT})


@pytest.fixture
async def three_copies(port: CassandraPort) -> CassandraPort:
    """A keyspace that wants three copies where there is one Cassandra node."""
    for text in (THREE_COPIES, "CREATE TABLE IF NOT EXISTS port3.t (k blob PRIMARY KEY, v bigint)"):
        await define(port, SystemClock(), text)
    return port


@pytest.mark.parametrize("work", ["write", "batch", "read"])
async def test_too_few_replicas_is_certain(three_copies: CassandraPort, key: bytes, work: str) -> None:
    """Where two of three copies cannot be had, a majority is refused before anything is done; one copy is written and read."""
    port = three_copies
    works: dict[str, Callable[[], Awaitable[object]]] = {
        "write": lambda: port.write(PUT_3, [key, i8(1)], consistency=QUORUM),
        "batch": lambda: port.write_batch([(PUT_3, [key, i8(1)])], consistency=LOCAL_QUORUM),
        "read": lambda: port.read(GET_3, [key], consistency=QUORUM),
    }
    with pytest.raises(QuorumUnavailable):
        await works[work]()
    assert (await port.read(GET_3, [key], consistency=LOCAL_ONE)).rows == []
    await port.write(PUT_3, [key, i8(1)], consistency=LOCAL_ONE)
    assert (await port.read(GET_3, [key], consistency=LOCAL_ONE)).rows == [[i8(1)]]


async def test_agreed_is_done_though_its_commit_failed(three_copies: CassandraPort, key: bytes) -> None:
    """A commit level that cannot be met fails after the agreement: done where the driver tells the level, else unknown; in
    truth it was done."""
    port = three_copies
    write = port.write_if([(MAKE_3, [key, i8(1)])], commit=LOCAL_QUORUM, serial=SERIAL)
    if port.driver == "acsylla":
        with pytest.raises(OutcomeUnknown) as unknown:
            await write
        assert unknown.value.reason == "write_failure"
    else:
        assert (await write).applied
    assert (await port.read(GET_3, [key], consistency=SERIAL)).rows == [[i8(1)]]


async def test_a_table_made_anew_is_found_by_the_same_text(port: CassandraPort) -> None:
    """Statements stay known by their text when their table is dropped and comes back with another column type."""
    again = f"port.again{next(_numbers)}"
    get = Statement(f"SELECT v FROM {again} WHERE k = ?", (INT,), {"v": TEXT})
    put = Statement(f"INSERT INTO {again} (k, v) VALUES (?, ?)", (INT, TEXT))
    for _ in range(2):
        await define(port, SystemClock(), f"CREATE TABLE {again} (k int PRIMARY KEY, v text)")
        assert (await port.read(get, [i4(1)], consistency=LOCAL_ONE)).rows == []
        await port.write(put, [i4(1), b"x"], consistency=LOCAL_ONE)
        assert (await port.read(get, [i4(1)], consistency=LOCAL_ONE)).rows == [[b"x"]]
        await define(port, SystemClock(), f"DROP TABLE {again}")
        with pytest.raises(UnknownKey):
            await port.read(get, [i4(1)], consistency=LOCAL_ONE)


async def test_what_the_server_says_of_itself(port: CassandraPort, cassandra_node: Engine) -> None:
    """Release, data centers and settings in force; a setting that it does not know is absent."""
    facts = await port.server()
    assert facts.release.startswith("5.0")
    assert facts.data_center == "dc1"
    assert facts.data_centers == {"dc1"}
    assert await port.schema_agreed()
    found = await port.server_settings(["paxos_variant", "paxos_state_purging", "nothing_such"])
    assert found == {"paxos_variant": "v2", "paxos_state_purging": "repaired"}


async def test_many_at_once_and_some_given_up(port: CassandraPort, key: bytes) -> None:
    """Three hundred reads side by side, every third cancelled at once: all others are answered, and the port goes on."""
    await port.write(PUT, [key, i4(1), i8(1), None], consistency=LOCAL_ONE)
    reads = [asyncio.ensure_future(port.read(GET, [key], consistency=LOCAL_ONE)) for _ in range(300)]
    await asyncio.sleep(0)
    for read in reads[::3]:
        read.cancel()
    answers = await asyncio.gather(*reads, return_exceptions=True)
    for at, answer in enumerate(answers):
        if at % 3:
            assert answer == Page(["c", "v", "w"], [[i4(1), i8(1), None]])
        else:
            assert isinstance(answer, asyncio.CancelledError)
    assert (await port.read(GET, [key], consistency=LOCAL_ONE)).rows
