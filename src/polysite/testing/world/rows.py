"""Replicated rows: one replica per site, any of which may miss any write for any time.

A write is sent to every replica and waits for as many as its level says; what a replica missed it gets by a hint, by read repair,
or never. A majority read asks all replicas, takes the first majority of answers, joins them, and writes the result back to those of them
that lack some of it before it answers (unless `read_repair` is off). Conditional writes are agreed on by a majority, one after the other.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from polysite.clock import Clock, Randomness
from polysite.errors import BadRequest, OutcomeUnknown, Unavailable, UnknownKey
from polysite.stores.contract import (
    Conditional,
    Level,
    Predicate,
    Store,
    StoreCapability,
    StoreCosts,
    StoredPage,
    TableWrites,
)
from polysite.stores.embedded.changes import Change, prepare
from polysite.stores.embedded.layout import Interval, PhysicalTable
from polysite.stores.embedded.reading import (
    NOT_A_CURSOR,
    Found,
    check_limit,
    column_value,
    fill,
    holds,
    opened,
    seal,
    shown_row,
)
from polysite.testing.world.catalogue import Catalogue
from polysite.testing.world.network import Network, Refused
from polysite.testing.world.replica import Partition, Replica
from polysite.values.keys import RowKey, split_parts
from polysite.values.rows import WHOLE_PARTITION, Slice, StoredRow, Write, partition_of
from polysite.values.tables import IndexSpec, KeyspaceSpec, TableSpec, check_index, check_name, check_table

ANSWER_S = 3.0
"""How long an engine waits for its replicas."""

HINT_S = 1.0
"""Between two attempts to bring a replica what it missed."""

EVERYTHING = Interval()


@dataclass
class Carelessness:
    """How replicas fail: `missed` is the share of the writes that a replica does not get though it was sent, `hints` whether it is
    told later, `read_repair` whether majority reads mend what they meet."""

    missed: float = 0.0
    hints: bool = True
    read_repair: bool = True


@dataclass
class Mutation:
    """A write on its way: to one partition of one table."""

    table: int
    partition: bytes
    changes: Sequence[Change]


@dataclass
class Rows:
    """What the sites' replicas hold. `clock` is the engines', which lives are measured with."""

    network: Network
    randomness: Randomness
    clock: Clock
    catalogue: Catalogue = field(default_factory=Catalogue)
    carelessness: Carelessness = field(default_factory=Carelessness)

    def __post_init__(self) -> None:
        self.replicas = {site: Replica() for site in self.network.sites}
        self.loop = asyncio.get_running_loop()
        self.majority = len(self.replicas) // 2 + 1
        self.missed = self.repaired = self.hinted = 0
        self.conditional_stamp = 0
        self._hints: dict[tuple[str, str], list[Mutation]] = {}
        self._hinting: set[tuple[str, str]] = set()

    def check_majority(self, site: str) -> None:
        """Unavailable: the engine at `site` is down, or counts too many of the others as away."""
        self.check_engine(site)
        alive = sum(not self.network.counts_as_away(site, other) for other in self.replicas)
        if alive < self.majority:
            raise Unavailable("too few replicas can be reached")

    def check_engine(self, site: str) -> None:
        if not self.network.has_engine(site):
            raise Unavailable("the engine is down")

    def mutate(self, site: str, mutation: Mutation, answered: Callable[[str], object]) -> None:
        """Send a write from the engine at `site` to all replicas; `answered` is told of each that has it."""
        for target in self.replicas:
            done: list[bool] = []

            def at_home(told: str = target, done: list[bool] = done) -> None:
                done.append(True)
                answered(told)

            self.network.to_engine(
                site,
                target,
                lambda target=target: self._take(site, target, mutation),  # type: ignore[misc]
                lambda _, at_home=at_home: at_home(),  # type: ignore[misc]
            )
            if self.carelessness.hints:
                self.loop.call_later(ANSWER_S, self._hint_unless, done, site, target, mutation)

    def apply(self, target: str, mutation: Mutation) -> None:
        self.replicas[target].apply(mutation.table, mutation.partition, mutation.changes)

    def _take(self, site: str, target: str, mutation: Mutation) -> None:
        if self.replicas[target].full:
            raise Refused
        missed = self.carelessness.missed
        if missed and target != site and self.randomness.uniform(0.0, 1.0) < missed:
            self.missed += 1
            raise Refused
        self.apply(target, mutation)

    # hints

    def _hint_unless(self, done: list[bool], site: str, target: str, mutation: Mutation) -> None:
        if done:
            return
        self._hints.setdefault((site, target), []).append(mutation)
        if (site, target) not in self._hinting:
            self._hinting.add((site, target))
            self._bring(site, target)

    def _bring(self, site: str, target: str) -> None:
        """Send what the target missed, until it has it."""
        waiting = self._hints.get((site, target), [])
        if not waiting:
            self._hinting.discard((site, target))
            return
        if self.network.has_engine(site):
            sent = list(waiting)

            def take() -> None:
                if self.replicas[target].full:
                    raise Refused
                for mutation in sent:
                    self.apply(target, mutation)

            def forget(_: None) -> None:
                self.hinted += len(sent)
                self._hints[site, target] = [left for left in self._hints[site, target] if left not in sent]

            self.network.to_engine(site, target, take, forget)
        self.loop.call_later(HINT_S, self._bring, site, target)


class WorldStore(Store):
    """The rows as the processes of one site see them."""

    name = "world"

    def __init__(self, rows: Rows, site: str) -> None:
        self._rows = rows
        self._site = site
        self._catalogue = rows.catalogue
        capabilities: set[StoreCapability] = {"conditional_write", "expiry", "durable", "empty_partition"}
        if len(rows.replicas) > 1:
            capabilities.add("cross_site_quorum")
        self.capabilities = frozenset(capabilities)
        wide = 1 if len(rows.replicas) > 1 else 0
        self.costs = StoreCosts(read_majority=wide, write_majority=wide, conditional=2 * wide, conditional_refused=wide)

    async def start(self) -> None:
        self._rows.check_engine(self._site)

    async def close(self) -> None:
        return

    # schema

    async def create_keyspace(self, spec: KeyspaceSpec) -> bool:
        check_name(spec.name, "keyspace")
        await self._agree()
        return self._catalogue.create_keyspace(spec)

    async def drop_keyspace(self, name: str) -> bool:
        await self._agree()
        return self._catalogue.drop_keyspace(name)

    async def keyspaces(self) -> list[KeyspaceSpec]:
        self._rows.check_engine(self._site)
        return [spec for _, spec in sorted(self._catalogue.keyspaces.items())]

    async def create_table(self, spec: TableSpec) -> bool:
        checked = check_table(spec)
        await self._agree()
        return self._catalogue.create_table(checked)

    async def drop_table(self, keyspace: str, name: str) -> bool:
        await self._agree()
        return self._catalogue.drop_table(keyspace, name)

    async def tables(self, keyspace: str) -> list[TableSpec]:
        self._rows.check_engine(self._site)
        self._catalogue.keyspace(keyspace)
        return [table.spec for (of, _), table in sorted(self._catalogue.tables.items()) if of == keyspace]

    async def table(self, keyspace: str, name: str) -> TableSpec:
        self._rows.check_engine(self._site)
        return self._catalogue.table(keyspace, name).spec

    def known_table(self, keyspace: str, name: str) -> TableSpec | None:
        found = self._catalogue.tables.get((keyspace, name))
        return None if found is None else found.spec

    async def create_index(self, keyspace: str, table: str, index: IndexSpec) -> bool:
        check_index(self._catalogue.table(keyspace, table).spec, index)
        await self._agree()
        return self._catalogue.create_index(keyspace, table, index)

    async def drop_index(self, keyspace: str, table: str, index_name: str) -> bool:
        await self._agree()
        return self._catalogue.drop_index(keyspace, table, index_name)

    # rows

    async def read(self, table: TableSpec, key: RowKey, level: Level) -> StoredRow:
        physical = self._catalogue.resolve(table)
        partition, position, _ = physical.place(key)
        found = await self._excerpt(physical, partition, Interval(position, position + b"\x00"), level)
        return self._shown(physical, key, found, position)

    async def read_partition(
        self,
        table: TableSpec,
        partition: tuple[bytes, ...],
        level: Level,
        *,
        slice: Slice = WHOLE_PARTITION,
        limit: int,
        cursor: bytes | None = None,
        reverse: bool = False,
    ) -> StoredPage:
        check_limit(limit)
        physical = self._catalogue.resolve(table)
        data, interval = physical.partition(partition), physical.interval(slice)
        selection = repr(("partition", physical.number, data, interval, reverse)).encode()
        rest = interval
        if cursor is not None:
            of, position = opened(selection, cursor)
            if of != data or not interval.holds(position):
                raise BadRequest(NOT_A_CURSOR)
            rest = Interval(interval.low, position) if reverse else Interval(position + b"\x00", interval.high)
        found = await self._excerpt(physical, data, rest, level)
        rows, last = fill(self._all(physical, data, found, reverse=reverse), limit, None)
        return StoredPage(rows, None if last is None else seal(selection, last), found.shown_part_stamp)

    async def scan(
        self,
        table: TableSpec,
        level: Level,
        *,
        index: tuple[str, bytes] | None = None,
        limit: int,
        cursor: bytes | None = None,
    ) -> StoredPage:
        check_limit(limit)
        physical = self._catalogue.resolve(table)
        if index is not None and all(there.column != index[0] for there in physical.spec.indexes):
            raise UnknownKey("there is no index over that column", keyspace=table.keyspace, table=table.name)
        selection = repr(("table", physical.number, index)).encode()
        after, position = (b"", b"") if cursor is None else opened(selection, cursor)
        keys = {key for replica in self._rows.replicas.values() for key in replica.partitions(physical.number)}
        found: list[Found] = []
        for key in sorted(keys):
            if key < after:
                continue
            rest = Interval(position + b"\x00" if cursor is not None and key == after else b"")
            excerpt = await self._excerpt(physical, key, rest, level)
            found += [
                (spot, row if row is not None and _matches(physical, row, index) else None, size)
                for spot, row, size in self._all(physical, key, excerpt)
            ]
        rows, last = fill(iter(found), limit, None)
        return StoredPage(rows, None if last is None else seal(selection, last))

    async def write(self, table: TableSpec, writes: Sequence[Write], level: Level) -> None:
        if not writes:
            return
        physical = self._catalogue.resolve(table)
        changes = prepare(physical, writes, self._rows.clock.wall_us())
        mutation = Mutation(physical.number, physical.partition(partition_of(writes[0])), changes)
        await self._written(mutation, level)

    async def write_if(
        self,
        table: TableSpec,
        expect: Sequence[Predicate],
        writes: Sequence[Write],
        *,
        once: TableWrites | None = None,
    ) -> Conditional:
        assert once is None, "only with the capability joint"
        if table.writes != "conditional":
            raise BadRequest("conditional writes need a table whose `writes` is conditional")
        partitions = {partition_of(write) for write in writes} | {item.key.partition for item in expect}
        if len(partitions) > 1:
            raise BadRequest("the predicates and writes of a conditional write are all of one partition")
        physical, rows = self._catalogue.resolve(table), self._rows
        prepare(physical, writes, rows.clock.wall_us(), first_stamp=1)
        for item in expect:
            physical.place(item.key)
            for column in item.equals:
                physical.spec.type_of(column)
        await self._agree()
        await self._agree()
        # Agreed on: what is done here is done at one moment, with what every earlier agreement left behind.
        whole = self._everybody(physical, physical.partition(partitions.pop())) if partitions else Partition()
        found = [self._shown(physical, item.key, whole, physical.place(item.key)[1]) for item in expect]
        if not all(holds(physical, item, row) for item, row in zip(expect, found, strict=True)):
            return Conditional(False, found)
        if writes:
            now_us = rows.clock.wall_us()
            rows.conditional_stamp = max(rows.conditional_stamp + 1, now_us)
            changes = prepare(physical, writes, now_us, first_stamp=rows.conditional_stamp)
            rows.conditional_stamp += len(writes)
            mutation = Mutation(physical.number, physical.partition(partition_of(writes[0])), changes)
            # What comes next must find it, whether or not its author hears of it.
            for target in rows.replicas:
                if target == self._site or not (
                    rows.network.is_cut(self._site, target) or rows.network.is_cut(target, self._site)
                ):
                    rows.apply(target, mutation)
            await self._written(mutation, "majority")
        return Conditional(True, [])

    # what replicas are asked

    def _everybody(self, physical: PhysicalTable, partition: bytes) -> Partition:
        whole = Partition()
        for replica in self._rows.replicas.values():
            whole.join(replica.partition(physical.number, partition))
        return whole

    async def _agree(self) -> None:
        """Hear of a majority."""
        await self._asked(lambda _: None)

    async def _asked(self, ask: Callable[[str], object]) -> list[tuple[str, object]]:
        """What the first majority answers. Unavailable: too few do."""
        rows = self._rows
        rows.check_majority(self._site)
        enough: asyncio.Future[None] = rows.loop.create_future()
        answers: list[tuple[str, object]] = []

        def answered(of: str, answer: object) -> None:
            answers.append((of, answer))
            if len(answers) == rows.majority and not enough.done():
                enough.set_result(None)

        for target in rows.replicas:
            rows.network.to_engine(
                self._site,
                target,
                lambda target=target: ask(target),  # type: ignore[misc]
                lambda answer, target=target: answered(target, answer),  # type: ignore[misc]
            )
        try:
            async with asyncio.timeout(ANSWER_S):
                await enough
        except TimeoutError:
            raise Unavailable("too few replicas answered") from None
        return answers[: rows.majority]

    async def _excerpt(self, physical: PhysicalTable, partition: bytes, interval: Interval, level: Level) -> Partition:
        rows, number = self._rows, physical.number
        if level != "majority" or len(rows.replicas) == 1:
            rows.check_engine(self._site)
            return rows.replicas[self._site].partition(number, partition).excerpt(interval)
        answers = await self._asked(lambda site: rows.replicas[site].partition(number, partition).excerpt(interval))
        parts = {site: part for site, part in answers if isinstance(part, Partition)}
        joined = Partition()
        for part in parts.values():
            joined.join(part)
        lacking = [site for site, part in parts.items() if not part.is_same(joined)]
        if lacking and rows.carelessness.read_repair:
            await self._repaired(number, partition, joined, lacking)
        return joined

    async def _repaired(self, number: int, partition: bytes, joined: Partition, lacking: list[str]) -> None:
        rows = self._rows
        repaired: asyncio.Future[None] = rows.loop.create_future()
        left = set(lacking)

        def answered(site: str) -> None:
            left.discard(site)
            if not left and not repaired.done():
                repaired.set_result(None)

        def repair(site: str) -> None:
            if rows.replicas[site].full:
                raise Refused
            rows.repaired += 1
            rows.replicas[site].partition(number, partition).join(joined)

        for site in lacking:
            rows.network.to_engine(
                self._site,
                site,
                lambda site=site: repair(site),  # type: ignore[misc]
                lambda _, site=site: answered(site),  # type: ignore[misc]
            )
        try:
            async with asyncio.timeout(ANSWER_S):
                await repaired
        except TimeoutError:
            raise Unavailable("a replica did not take what it lacked") from None

    async def _written(self, mutation: Mutation, level: Level) -> None:
        rows = self._rows
        needed = rows.majority if level == "majority" else 1
        if level == "majority":
            rows.check_majority(self._site)
        else:
            rows.check_engine(self._site)
        enough: asyncio.Future[None] = rows.loop.create_future()
        having: set[str] = set()

        def answered(site: str) -> None:
            if level == "majority" or site == self._site:
                having.add(site)
            if len(having) >= needed and not enough.done():
                enough.set_result(None)

        rows.mutate(self._site, mutation, answered)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                await enough
                return
        raise OutcomeUnknown("too few replicas answered")

    # what a replica's answer shows

    def _shown(self, physical: PhysicalTable, key: RowKey, found: Partition, position: bytes) -> StoredRow:
        row = found.rows.get(position)
        part_stamp = found.shown_part_stamp if physical.is_clustered else 0
        if row is None:
            return StoredRow(key, {}, False, part_stamp=part_stamp)
        return shown_row(physical, key, row[1], part_stamp, self._rows.clock.wall_us())

    def _all(
        self, physical: PhysicalTable, partition: bytes, found: Partition, *, reverse: bool = False
    ) -> Iterator[Found]:
        components = tuple(split_parts(partition))
        for position in sorted(found.rows, reverse=reverse):
            clustering = found.rows[position][0]
            key = RowKey(components, tuple(split_parts(clustering)) if clustering is not None else ())
            row = self._shown(physical, key, found, position)
            yield (partition, position), row if row.present else None, 1


def _matches(physical: PhysicalTable, row: StoredRow, index: tuple[str, bytes] | None) -> bool:
    return index is None or column_value(physical, row, index[0]) == index[1]
