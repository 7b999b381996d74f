"""How the Cassandra store keeps its schema whole: any process may fail at any step, and another carries on. No engine."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from polysite.engines.cassandra.settings import cassandra_settings_from
from polysite.errors import (
    AlreadyExists,
    BadRequest,
    OutcomeUnknown,
    Overloaded,
    PolysiteError,
    Unavailable,
)
from polysite.stores.cassandra import registry as deciding
from polysite.stores.cassandra.defining import Definer
from polysite.stores.cassandra.layout import index_name, table_id
from polysite.stores.cassandra.schema import FRESH_S, SchemaKeeper
from polysite.testing.stepped_clock import SteppedClock
from polysite.testing.store_contract.support import BY_COLOUR, FLAT, KEYSPACE, WIDE
from polysite.values.tables import IndexSpec, KeyspaceSpec, TableSpec
from tests.support.cassandra_schema import SchemaOnly, SchemaPort

SETTINGS = {"contact_points": ["127.0.0.1"], "data_center": "dc1", "keyspace_prefix": "x_"}
SPACE = f"x_{KEYSPACE}"
Verb = Callable[[SchemaKeeper], Awaitable[bool]]


class Process:
    """One process's keeper and the port it has."""

    def __init__(self, shared: SchemaOnly, clock: SteppedClock) -> None:
        self.port = SchemaPort(shared)
        definer = Definer(self.port, clock, gc_grace_s=864_000)
        self.keeper = SchemaKeeper(self.port, cassandra_settings_from(SETTINGS), clock, definer)


async def started(shared: SchemaOnly, clock: SteppedClock) -> Process:
    process = Process(shared, clock)
    await process.keeper.start()
    process.port.changes = 0
    return process


CREATE_KEYSPACE: Verb = lambda keeper: keeper.create_keyspace(KeyspaceSpec(name=KEYSPACE))  # noqa: E731
CREATE_TABLE: Verb = lambda keeper: keeper.create_table(WIDE)  # noqa: E731
CREATE_INDEX: Verb = lambda keeper: keeper.create_index(KEYSPACE, "wide", BY_COLOUR)  # noqa: E731
DROP_INDEX: Verb = lambda keeper: keeper.drop_index(KEYSPACE, "wide", "by_colour")  # noqa: E731
DROP_TABLE: Verb = lambda keeper: keeper.drop_table(KEYSPACE, "wide")  # noqa: E731
DROP_KEYSPACE: Verb = lambda keeper: keeper.drop_keyspace(KEYSPACE)  # noqa: E731
VERBS = [CREATE_KEYSPACE, CREATE_TABLE, CREATE_INDEX, DROP_INDEX, DROP_TABLE, DROP_KEYSPACE]
NAMES = ["create keyspace", "create table", "create index", "drop index", "drop table", "drop keyspace"]


async def check_whole(shared: SchemaOnly) -> None:
    """The registry and the schema say the same, and nothing is half made."""
    process = await started(shared, SteppedClock())
    registry = await process.keeper.current()
    keyspaces = {f"x_{name}" for name in registry.keyspaces}
    tables: dict[tuple[str, str], bytes] = {}
    indexes: set[str] = set()
    assert all(entry.state == "ready" for entry in registry.keyspaces.values())
    for keyspace, of_keyspace in registry.tables.items():
        for name, entry in of_keyspace.items():
            assert entry.state == "ready"
            assert all(index.state == "ready" for index in entry.indexes)
            tables[f"x_{keyspace}", name] = table_id(f"x_{keyspace}", name, entry.making).bytes
            indexes |= {index_name(entry.spec.of_making(entry.making), index.spec) for index in entry.indexes}
    assert set(shared.keyspaces) == keyspaces
    assert {key: value for key, value in shared.tables.items() if key[0] != "x_polysite"} == tables
    assert indexes <= shared.indexes


@pytest.mark.parametrize("number", range(len(VERBS)), ids=NAMES)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_process_fails_at_any_step(number: int, when: str) -> None:
    """Goal: whoever fails in the middle of a schema change leaves nothing that the next one cannot finish. Method: the verbs up to this one;
    it fails at each of its steps in turn, untouched or carried out without an answer; another process asks the same again."""
    for step in range(4):
        shared = SchemaOnly()
        first = await started(shared, SteppedClock())
        for verb in VERBS[:number]:
            assert await verb(first.keeper)
        first.port.changes = 0
        fault = Unavailable if when == "before" else OutcomeUnknown
        # A statement that is not answered is sent again a few times; this one is never answered.
        first.port.faults = dict.fromkeys(range(step, step + 100), (when, fault))
        outcome = "done"
        try:
            await VERBS[number](first.keeper)
        except PolysiteError as error:
            outcome = error.outcome
        # The first step notes what is to be done; behind it nobody can say that nothing happened.
        if when == "before":
            assert outcome == ("refused" if step == 0 else "unknown" if step < first.port.changes else "done")
        else:
            assert outcome in {"unknown", "done"}
        second = await started(shared, SteppedClock())
        await VERBS[number](second.keeper)
        await check_whole(shared)
        assert not await VERBS[number](second.keeper)


@pytest.mark.parametrize("verb", VERBS[:3], ids=NAMES[:3])
async def test_an_answer_that_was_lost_once(verb: Verb) -> None:
    """Goal: a change of the registry whose answer is lost is looked up and gone on with, not made twice. Method: each step's answer is lost once."""
    for step in range(3):
        shared, clock = SchemaOnly(), SteppedClock()
        process = await started(shared, clock)
        for before in VERBS[: VERBS.index(verb)]:
            await before(process.keeper)
        process.port.changes = 0
        process.port.faults = {step: ("after", OutcomeUnknown)}
        assert await verb(process.keeper)
        assert step == 1 or clock.monotonic_s() == 0, "what was found to be noted is not waited for"
        assert not await verb(process.keeper)
        await check_whole(shared)


async def test_what_was_left_half_dropped_is_gone_before_it_is_made_anew() -> None:
    """Goal: a keyspace, table or index whose dropping was never finished does not stand in the way of a new one that differs. Method: each is left
    so, then one of other columns is made."""
    shared = SchemaOnly()
    process = await started(shared, SteppedClock())
    for verb in VERBS[:3]:
        await verb(process.keeper)
    other_index = IndexSpec(name="by_colour", column="size")
    other_table = TableSpec(keyspace=KEYSPACE, name="wide", columns=FLAT.columns, partition_key=("name",))
    other_keyspace = KeyspaceSpec(name=KEYSPACE, replicas={"dc1": 2})
    news: list[tuple[Verb, Verb]] = [
        (DROP_INDEX, lambda keeper: keeper.create_index(KEYSPACE, "wide", other_index)),
        (DROP_TABLE, lambda keeper: keeper.create_table(other_table)),
        (DROP_KEYSPACE, lambda keeper: keeper.create_keyspace(other_keyspace)),
    ]
    for drop, make in news:
        process.port.changes = 0
        process.port.faults = {1: ("before", Unavailable)}
        with pytest.raises(OutcomeUnknown):
            await drop(process.keeper)
        process.port.faults = {}
        assert await make(process.keeper)
        await check_whole(shared)
    assert (await process.keeper.current()).keyspaces[KEYSPACE].spec == other_keyspace


def test_a_note_is_only_of_its_own_making() -> None:
    """Goal: who comes late with `made` or `dropped` changes nothing of the table made since. Method: each note of making 1 on a registry with making 2."""
    old, new = (deciding.TableEntry(WIDE, making, "making") for making in (1, 2))
    keyspace = deciding.KeyspaceEntry(KeyspaceSpec(name=KEYSPACE), "ready")
    being_made = deciding.Registry().with_keyspace(KEYSPACE, keyspace).with_table(KEYSPACE, "wide", new)
    assert deciding.made_table(being_made, old) == being_made
    assert deciding.made_table(being_made, new) != being_made
    dropping = deciding.TableEntry(WIDE, 2, "dropping", (deciding.IndexEntry(BY_COLOUR, "dropping"),))
    being_dropped = being_made.with_table(KEYSPACE, "wide", dropping)
    assert deciding.dropped_table(being_dropped, old) == being_dropped
    assert deciding.dropped_index(being_dropped, old, "by_colour") == being_dropped
    assert deciding.dropped_index(being_dropped, dropping, "by_colour") != being_dropped
    assert deciding.dropped_keyspace(being_dropped, KEYSPACE) == being_dropped


async def test_two_processes_make_one_table() -> None:
    """Goal: two that make the same table at once make it once, with one id. Method: the second starts and ends between any two steps of the first."""
    for step in range(3):
        shared = SchemaOnly()
        first, second = await started(shared, SteppedClock()), await started(shared, SteppedClock())
        await CREATE_KEYSPACE(first.keeper)
        first.port.changes = 0
        first.port.faults = {step: ("before", Unavailable)}
        with pytest.raises(Unavailable if step == 0 else OutcomeUnknown):
            await CREATE_TABLE(first.keeper)
        assert await CREATE_TABLE(second.keeper)
        first.port.faults = {}
        assert not await CREATE_TABLE(first.keeper)
        assert first.keeper.catalogue.find(KEYSPACE, "wide") == WIDE
        await check_whole(shared)


async def test_who_comes_late_makes_nothing_stay() -> None:
    """Goal: a CREATE of a process that slept while the table was dropped does not become the next table of that name. Method: the table of an
    earlier making is put there by hand; making one of other columns drops it."""
    shared = SchemaOnly()
    process = await started(shared, SteppedClock())
    await CREATE_KEYSPACE(process.keeper)
    await CREATE_TABLE(process.keeper)
    late = shared.tables[SPACE, "wide"]
    await DROP_TABLE(process.keeper)
    shared.tables[SPACE, "wide"] = late
    assert await CREATE_TABLE(process.keeper)
    assert shared.tables[SPACE, "wide"] != late
    await check_whole(shared)


async def test_what_others_made_is_left_alone() -> None:
    """Goal: a keyspace or table of somebody else's is never taken over or dropped. Method: one of each under the name asked for."""
    shared = SchemaOnly()
    process = await started(shared, SteppedClock())
    shared.keyspaces["x_theirs"] = next(iter(shared.keyspaces.values()))
    with pytest.raises(AlreadyExists):
        await process.keeper.create_keyspace(KeyspaceSpec(name="theirs"))
    assert shared.keyspaces.pop("x_theirs")
    await CREATE_KEYSPACE(process.keeper)
    shared.tables[SPACE, "wide"] = b"0123456789abcdef"
    with pytest.raises(AlreadyExists):
        await CREATE_TABLE(process.keeper)
    assert shared.tables[SPACE, "wide"] == b"0123456789abcdef"
    assert (await process.keeper.current()).table(KEYSPACE, "wide") is None
    del shared.tables[SPACE, "wide"]
    assert await CREATE_TABLE(process.keeper)
    await check_whole(shared)


async def test_a_keyspace_names_sites_that_there_are() -> None:
    """Goal: copies where no Cassandra is are refused, and so are none. Method: a keyspace of each kind; one that differs exists already."""
    process = await started(SchemaOnly(), SteppedClock())
    for replicas in ({"elsewhere": 1}, {}, {"dc1": 0}):
        with pytest.raises(BadRequest):
            await process.keeper.create_keyspace(KeyspaceSpec(name="k", replicas=replicas))
    assert await process.keeper.create_keyspace(KeyspaceSpec(name="k", replicas={"dc1": 1}))
    with pytest.raises(AlreadyExists):
        await process.keeper.create_keyspace(KeyspaceSpec(name="k", replicas={"elsewhere": 1}))


async def test_what_polysite_needs_cannot_be_dropped_or_made() -> None:
    """Goal: the registry is not lost by a verb. Method: the reserved keyspace and the registry's own table; its keyspace is there already."""
    process = await started(SchemaOnly(), SteppedClock())
    assert not await process.keeper.create_keyspace(KeyspaceSpec(name="polysite"))
    with pytest.raises(BadRequest):
        await process.keeper.drop_keyspace("polysite")
    own = FLAT.__class__(keyspace="polysite", name="store_schema", columns=FLAT.columns, partition_key=("name",))
    with pytest.raises(BadRequest):
        await process.keeper.create_table(own)


async def test_who_is_overtaken_gives_way() -> None:
    """Goal: processes that change the schema at once take turns, each after a longer pause, and none tries for ever. Method: another process makes a
    keyspace right before each change, three times and then always."""
    shared, clock = SchemaOnly(), SteppedClock()
    process, other = await started(shared, clock), await started(shared, clock)
    left = 3

    def overtake() -> None:
        nonlocal left
        if left:
            left -= 1
            assert shared.registry is not None
            generation, found = shared.registry
            entry = deciding.KeyspaceEntry(KeyspaceSpec(name=f"k{left}"), "ready")
            noted = deciding.encode(deciding.decode(found).with_keyspace(f"k{left}", entry))
            shared.registry = ((int.from_bytes(generation) + 1).to_bytes(8), noted)

    process.port.before_change = overtake
    assert await CREATE_KEYSPACE(process.keeper)
    assert len((await other.keeper.current()).keyspaces) == 5
    assert 0.7 * 0.5 <= clock.monotonic_s() <= 0.7 * 1.5
    left = 1_000
    with pytest.raises(Overloaded):
        await CREATE_TABLE(process.keeper)
    process.port.before_change = None
    assert await CREATE_TABLE(other.keeper)


async def test_others_changes_are_known_within_a_second() -> None:
    """Goal: what is told of a table is at most a second old, and asked for no oftener. Method: two processes, a clock that is moved."""
    shared, clock = SchemaOnly(), SteppedClock()
    first, second = await started(shared, clock), await started(shared, clock)
    await CREATE_KEYSPACE(first.keeper)
    await CREATE_TABLE(first.keeper)
    assert second.keeper.is_fresh()
    assert (await second.keeper.look()).find(KEYSPACE, "wide") is None
    clock.advance_s(FRESH_S + 0.001)
    assert not second.keeper.is_fresh()
    made = (await second.keeper.look()).find(KEYSPACE, "wide")
    assert made is not None
    await DROP_TABLE(first.keeper)
    await CREATE_TABLE(first.keeper)
    again = (await second.keeper.look(anew=True)).find(KEYSPACE, "wide")
    assert again == made
    assert again is not None
    assert again.making != made.making


async def test_a_replica_that_is_behind_changes_nothing() -> None:
    """Goal: who has seen a later registry does not go back. Method: the replica read next holds the one before."""
    shared, clock = SchemaOnly(), SteppedClock()
    process = await started(shared, clock)
    await CREATE_KEYSPACE(process.keeper)
    behind = shared.registry
    await CREATE_TABLE(process.keeper)
    current, shared.registry = shared.registry, behind
    assert (await process.keeper.look(anew=True)).find(KEYSPACE, "wide") == WIDE
    shared.registry = current
    await check_whole(shared)
    # The one asked first may be ahead of the one asked next.
    other = await started(shared, clock)
    await DROP_TABLE(process.keeper)
    read, answers = other.port.read, iter([shared.registry, behind])

    async def from_two(*arguments: Any, **others: Any) -> Any:
        kept = shared.registry
        shared.registry = next(answers)
        try:
            return await read(*arguments, **others)
        finally:
            shared.registry = kept

    other.port.read = from_two  # type: ignore[method-assign]
    assert (await other.keeper.look(anew=True)).find(KEYSPACE, "wide") == WIDE


def test_a_registry_of_a_newer_version_is_not_touched() -> None:
    """Goal: what cannot be understood is refused, not overwritten. Method: another format, and bytes that are none."""
    newer = deciding.encode(deciding.Registry(format=2))
    for data in (newer, b"\xc1", b""):
        with pytest.raises(BadRequest):
            deciding.decode(data)
    assert deciding.decode(None) == deciding.Registry()
