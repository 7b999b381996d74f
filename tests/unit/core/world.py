"""Several sessions against one lock cell and three replicas, under a schedule that a seed decides.

The world knows the truth (the cell's history, every message) and judges what legitimate holders are told:
a get returns what the last acknowledged write or legitimate get left, or a write sent after it; no stamp is used twice on a
row; tenures use stamps in the order in which they held. Everything else (lost and late messages, lost answers of
compare-and-sets, preemption and take-over at any moment, old views, zombies) is left to the schedule.
"""

import random
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Literal
from unittest import mock

from polysite.core import stamps, tenure, transitions
from polysite.core.combine import AskedWish, Change, Happened, NotMade, SendAgain, build_change, resolve_unknown
from polysite.core.lock_cell import NO_REQUEST, LockCell, decode, entry_by_ticket, find_wish, is_holder
from polysite.core.plans import (
    Answer,
    AskFirst,
    ConfirmFence,
    DeleteIntent,
    Intent,
    NeedExtend,
    NotSettled,
    Planned,
    PutIntent,
    RangeAnswer,
    RangeIntent,
    ReadRange,
    ReadRow,
    Restamp,
    Settle,
    Settled,
    SettleFirst,
    Wait,
)
from polysite.core.session import Session, SessionSettings
from polysite.core.stamps import STAMP_BASE
from polysite.core.wishes import (
    Enqueue,
    Enqueued,
    Extend,
    Identity,
    Observed,
    Preempt,
    Refusal,
    Result,
    TakeOver,
    Wish,
)
from polysite.errors import LockLost, NotHolder, Overloaded
from polysite.values.keys import RowKey
from polysite.values.rows import WHOLE_PARTITION, Bound, DeleteRange, DeleteRow, Put, Slice, StoredRow, Write
from polysite.values.tables import TableSpec
from tests.unit.core.factories import AUTHOR, PARTITION, WIDE, number, wide_row
from tests.unit.core.replicas import Replica, inside

Task = Generator[None, None, Any]
KEYS = (wide_row(1), wide_row(2))
COLUMNS = ("a", "b")
PRESENT = "@"
SLICES = (
    WHOLE_PARTITION,
    Slice(None, Bound(KEYS[0].clustering, inclusive=True)),
    Slice(Bound(KEYS[0].clustering, inclusive=False)),
)
STEPS_MAX = 6_000
TRIES_MAX = 4


MAJORITY = 2


class Violation(AssertionError):
    """A promise was broken."""


class Ended(Exception):
    """A client's tenure is over, for whatever reason."""


class World:
    def __init__(
        self,
        seed: int,
        *,
        kinds: tuple[str, ...] = ("exclusive",) * 3,
        table: TableSpec = WIDE,
        rows_max: int = 100,
        **chances: float,
    ) -> None:
        self.random = random.Random(seed)
        self.table = table
        self.kinds = kinds
        self.rows_max = rows_max
        self.chances = {
            "deliver": 0.35, "preempt": 0.01, "take_over": 0.005, "give_up": 0.03, "lost_cas": 0.05, "push": 0.5,
            "repair": 1.0, "speculate": 0.5, "retry": 0.3, "overlap": 0.3, "ranges": 0.2, "range_writes": 0.1, "plain": 0.0, "late": 0.3,
        } | chances  # fmt: skip
        self.replicas = [Replica() for _ in range(3)]
        self.messages: list[tuple[int, Planned | tuple[Write, ...], int]] = []
        self.reached: dict[tuple[int, int], set[int]] = {}
        self.history: list[bytes] = [b""]
        self.pending: list[Change] = []
        self.tasks: list[Task] = []
        self.sessions: dict[Identity, Session] = {}
        self.head_order: dict[Identity, int] = {}
        self.used: dict[Identity, list[int]] = {}
        self.row_stamps: dict[RowKey, dict[int, object]] = {key: {} for key in KEYS}
        self.certain: dict[tuple[RowKey, str], tuple[Any, int]] = {
            (key, name): (None if name != PRESENT else False, 0) for key in KEYS for name in (*COLUMNS, PRESENT)
        }
        self.sent: list[tuple[int, RowKey, str, Any]] = []
        self.mail: dict[Identity, list[tuple[int, LockCell, RowKey, StoredRow]]] = {}
        self.counter = 0
        self.gets = 0
        self.settled = 0
        self.repair = self.random.random() < self.chances["repair"]
        self.ranges = self.random.random() < self.chances["ranges"]

    # what the world is

    def fresh(self) -> int:
        self.counter += 1
        return self.counter

    def chance(self, name: str) -> bool:
        return self.random.random() < self.chances[name]

    def now(self) -> int:
        """A clock that stands, jumps and differs from caller to caller."""
        return STAMP_BASE + self.random.choice((0, 3, 10, 30))

    @property
    def version(self) -> int:
        return len(self.history) - 1

    @property
    def cell(self) -> LockCell:
        return decode(self.history[-1])

    def cas(self, expected: int, content: bytes) -> bool:
        if expected != self.version:
            return False
        before, after = self.cell, decode(content)
        if after.issued < before.issued or after.floor < before.floor or after.fence < before.fence:
            raise Violation("issued, floor or fence went back")
        self.history.append(content)
        if after.queue:
            self.head_order.setdefault(after.queue[0].identity, len(self.head_order))
        return True

    def legitimate(self, session: Session) -> bool:
        return is_holder(self.cell, session.ticket, session.nonce)

    # rows

    def send(self, session: Session, planned: Planned, user: list[tuple[int, RowKey, str, Any]]) -> tuple[int, int]:
        """Give a batch to the network and judge its stamps. A batch that was sent before may be sent again as it is."""
        identity = Identity(session.ticket, session.nonce)
        for write in planned.writes:
            self.judge_stamp(identity, write, (identity, planned.op))
        self.sent.extend(user)
        place = (id(session), planned.op)
        self.reached.setdefault(place, set())
        for index in range(3):
            self.messages.append((index, planned, id(session)))
        return place

    def judge_stamp(self, identity: Identity, write: Write, owner: object) -> None:
        if isinstance(write, Put | DeleteRow):
            touched = [write.key]
        elif isinstance(write, DeleteRange):
            touched = [key for key in KEYS if inside(write.slice, key.clustering)]
        else:
            touched = []
        for key in touched:
            before = self.row_stamps[key].setdefault(write.stamp, (owner, write))
            if before != (owner, write):
                raise Violation("a stamp was used twice on a row")
        mine = self.used.setdefault(identity, [])
        mine.append(write.stamp)
        order = self.head_order.get(identity)
        if order is None:
            raise Violation("one who was never head wrote")
        for other, used in self.used.items():
            other_order = self.head_order.get(other, -1)
            if other_order < order and max(used) >= write.stamp:
                raise Violation("a later tenure used a lower stamp")
            if other_order > order and min(used) <= write.stamp:
                raise Violation("an earlier tenure used a higher stamp")

    def deliver(self) -> None:
        if self.messages:
            position = self.random.randrange(len(self.messages))
            index, planned, sender = self.messages[position]
            self.messages[position] = self.messages[-1]
            self.messages.pop()
            if self.random.random() < 0.15:
                return
            writes = planned.writes if isinstance(planned, Planned) else planned
            self.replicas[index].apply(writes)
            if isinstance(planned, Planned):
                self.reached[sender, planned.op].add(index)

    def read(self) -> Generator[None, None, Replica]:
        """Two replicas, one after the other, as one merged replica."""
        first, second = self.random.sample(range(3), 2)
        merged = self.replicas[first].copy()
        yield
        merged.merge(self.replicas[second])
        if self.repair:
            self.replicas[first].merge(merged)
            self.replicas[second].merge(merged)
        return merged

    # the judge

    def barrier(self) -> int:
        """Whatever is sent from now on by whoever holds legitimately has a stamp above this."""
        cell = self.cell
        last = max((stamp for used in self.used.values() for stamp in used), default=0)
        head = cell.queue[0].identity if cell.queue else None
        own = max(self.used.get(head, [0])) if head is not None else last
        return max(cell.floor - 1, own)

    def acknowledged(self, session: Session, user: list[tuple[int, RowKey, str, Any]]) -> None:
        if self.legitimate(session):
            for stamp, key, name, value in user:
                if stamp > self.certain[key, name][1]:
                    self.certain[key, name] = (value, stamp)

    def got(self, session: Session, key: RowKey, row: StoredRow | None) -> None:
        if not self.legitimate(session):
            return
        self.gets += 1
        shown = row is not None and row.present
        values: dict[str, Any] = dict.fromkeys(COLUMNS) | {PRESENT: shown}
        if row is not None and shown:
            values |= {name: cell.value for name, cell in row.cells.items()}
        barrier = self.barrier()
        for name, value in values.items():
            certain, since = self.certain[key, name]
            allowed = [certain, *(v for stamp, k, n, v in self.sent if k == key and n == name and stamp > since)]
            if value not in allowed:
                raise Violation(f"{name} of {key.clustering!r} is {value!r}, allowed {allowed!r}")
            self.certain[key, name] = (value, barrier)

    # the schedule

    def run(self) -> None:
        for kind in self.kinds:
            self.tasks.append(Client(self, kind).life())
        for _ in range(STEPS_MAX):
            if not self.tasks:
                return
            if self.random.random() < self.chances["deliver"]:
                self.deliver()
            elif self.chance("preempt"):
                self.preempt()
            elif self.pending and self.random.random() < 0.2:
                change = self.pending.pop(self.random.randrange(len(self.pending)))
                self.cas(change.expected_version, change.content)
            elif self.chances["plain"] and self.chance("plain"):
                self.plain_write()
            else:
                task = self.random.choice(self.tasks)
                try:
                    next(task)
                except StopIteration:
                    self.tasks.remove(task)

    def preempt(self) -> None:
        cell = self.cell
        if cell.queue:
            entry = self.random.choice(cell.queue)
            wish = Preempt((Observed(entry.ticket, entry.nonce, entry.beat),))
            if self.random.random() < 0.5:
                wish = Preempt((), entry.identity, "admin")
            self.make(wish)

    def make(self, wish: Wish) -> Result:
        """Somebody's change on the newest version."""
        wish_id = number(self.fresh())
        change = build_change(
            self.cell,
            self.version,
            [AskedWish(wish_id, self.version, wish)],
            change_id=number(self.fresh()),
            author=AUTHOR,
            now=self.now(),
        )
        self.cas(change.expected_version, change.content)
        return change.results[wish_id]

    def plain_write(self) -> None:
        """An unlocked write of a site that does not know of any lock yet, still on its way."""
        key = self.random.choice(KEYS)
        value = number(self.fresh(), 4)
        name = self.random.choice(COLUMNS)
        stamp = self.fresh()
        for index in range(3):
            self.messages.append((index, (Put(key=key, cells={name: value}, stamp=stamp, absent=None),), 0))
        self.sent.append((stamp, key, name, value))
        self.sent.append((stamp, key, PRESENT, True))


class Client:
    """One process's client: tenures one after the other, each with a few operations."""

    def __init__(self, world: World, kind: str) -> None:
        self.world = world
        self.kind = kind
        self.seen = 0
        self.session: Session
        self.children: list[Task] = []

    def view(self) -> tuple[int, LockCell]:
        """A past true state, never older than one this client has seen."""
        world = self.world
        self.seen = world.random.randint(self.seen, world.version)
        return self.seen, decode(world.history[self.seen])

    def newest(self) -> tuple[int, LockCell]:
        self.seen = self.world.version
        return self.seen, self.world.cell

    def life(self) -> Task:
        for _ in range(2):
            with suppress(Ended, LockLost):
                yield from self.tenure()
            yield

    def tenure(self) -> Task:
        yield from self.acquire()
        yield from self.work(self.session)

    def work(self, session: Session) -> Task:
        world = self.world
        try:
            yield from self.until_held(session)
            if self.kind == "promoting" and world.random.random() < 0.7:
                yield from self.promote(session)
            for _ in range(world.random.randint(1, 4)):
                if world.chance("take_over"):
                    yield from self.hand_over(session)
                with suppress(Overloaded):
                    yield from self.operate(session)
            for child in list(self.children):
                yield from self.drain(child)
            yield from self.release(session)
        except NotHolder:
            yield from self.release(session)

    def drain(self, child: Task) -> Task:
        while child in self.world.tasks and self.world.random.random() < 0.9:
            yield

    # the cell

    def change(
        self, wish: Wish, version: int, cell: LockCell
    ) -> Generator[None, None, tuple[Result | None, int, LockCell]]:
        """Carry out a wish: its result (None: unknown), and the view it was found in."""
        world = self.world
        session = world.sessions.get(Identity(getattr(wish, "ticket", 0), getattr(wish, "nonce", b"")))
        wish_id, seen = number(world.fresh()), version if session is None else max(version, session.version)
        for _ in range(50):
            change = build_change(
                cell,
                version,
                [AskedWish(wish_id, seen, wish)],
                change_id=None,
                author=AUTHOR,
                now=world.now(),
            )
            if wish_id in change.expired:
                yield
                version, cell = self.newest()
                seen = version
                continue
            if not change.effective and version == world.version:
                return change.results[wish_id], version, cell
            if not change.effective:
                yield
                version, cell = self.newest()
                continue
            yield
            answered = not world.chance("lost_cas")
            if answered or world.random.random() < 0.5:
                applied = world.cas(change.expected_version, change.content)
            else:
                applied = False
                world.pending.append(change)
            if answered and applied:
                self.seen = version + 1
                return change.results[wish_id], version + 1, change.cell
            if not answered:
                known = yield from self.resolve(change, wish_id)
                if known is not None:
                    return known
            version, cell = self.newest()
            found = find_wish(cell, wish_id)
            if found is not None:
                return found, version, cell
        return None, version, cell

    def resolve(
        self, change: Change, wish_id: bytes
    ) -> Generator[None, None, tuple[Result | None, int, LockCell] | None]:
        world = self.world
        version, cell = self.newest()
        for _ in range(20):
            yield
            version, cell = self.newest()
            resolution = resolve_unknown(change, version, cell)
            if isinstance(resolution, Happened):
                return resolution.results[wish_id], version, cell
            if isinstance(resolution, SendAgain):
                world.cas(change.expected_version, change.content)
                continue
            if wish_id in resolution.decided:
                return resolution.decided[wish_id], version, cell
            if isinstance(resolution, NotMade):
                return None
            return None, version, cell
        return None, version, cell

    def acquire(self) -> Task:
        world = self.world
        value = world.fresh()
        kind: Literal["exclusive", "shared"] = "exclusive" if self.kind == "exclusive" else "shared"
        request_id = number(value) if value % 2 else NO_REQUEST
        wish = Enqueue(request_id, number(value), number(value), kind, "s1", "p1", "i1", 10_000)
        version, cell = self.view()
        key = world.random.choice(KEYS)
        read = world.read() if world.chance("speculate") else None
        if read is not None:
            next(read)
            yield
        result, seen, after = yield from self.change(wish, version, cell)
        merged: Replica | None = None
        if read is not None:
            try:
                next(read)
            except StopIteration as stop:
                merged = stop.value
        if not isinstance(result, Enqueued) or entry_by_ticket(after, result.ticket) is None:
            raise Ended
        session = Session(
            table=world.table,
            ticket=result.ticket,
            nonce=wish.nonce,
            version=seen,
            cell=after,
            settings=SessionSettings(batch_writes_max=5, rows_max=world.rows_max),
        )
        session.lease_applied(0.0)
        self.session = session
        world.sessions[Identity(session.ticket, session.nonce)] = session
        if merged is not None and may_speculate(version, cell, seen, after) and not result.repeated:
            yield from self.speculate(session, key, merged.row(key), seen - 1)

    def speculate(self, session: Session, key: RowKey, row: StoredRow, version: int) -> Task:
        got = session.speculative(key, row, version)
        if isinstance(got, Answer) or (isinstance(got, Restamp) and (yield from self.finish(session, got.planned, []))):
            self.world.got(session, key, got.row)

    def until_held(self, session: Session) -> Task:
        for _ in range(3_000):
            self.read_mail(session)
            session.observe(*self.view())
            if session.standing == "lost":
                raise Ended
            if session.standing != "waiting":
                self.read_mail(session)
                return
            yield
        raise Ended

    def read_mail(self, session: Session) -> None:
        mail = self.world.mail.get(Identity(session.ticket, session.nonce), [])
        while mail and self.world.random.random() < 0.5:
            version, cell, key, row = mail.pop()
            session.observe(version, cell)
            session.pushed(key, row, version)

    def promote(self, session: Session) -> Task:
        if session.standing == "exclusive":
            return
        result, version, cell = yield from self.change(session.promote(), *self.view())
        session.observe(version, cell)
        if isinstance(result, Refusal):
            return
        for _ in range(400):
            session.observe(*self.view())
            if session.standing in {"exclusive", "lost"}:
                return
            yield
        wish = session.withdraw()
        yield from self.change(wish, *self.view())

    def hand_over(self, session: Session) -> Task:
        """Another process takes the session over; the old one does not know and goes on with what it is doing."""
        world = self.world
        cell = world.cell
        entry = entry_by_ticket(cell, session.ticket)
        if entry is None or entry.nonce != session.nonce:
            return
        nonce = number(world.fresh())
        result = world.make(
            TakeOver(entry.ticket, entry.secret, entry.nonce, entry.beat, "handed_over", nonce, "s1", "p2", "i1")
        )
        if not isinstance(result, Refusal):
            taken = Session(table=world.table, ticket=entry.ticket, nonce=nonce, version=world.version, cell=world.cell)
            taken.lease_applied(0.0)
            world.sessions[Identity(taken.ticket, taken.nonce)] = taken
            other = Client(world, self.kind)
            other.seen = world.version
            world.tasks.append(other.rest(taken))
        yield

    def rest(self, session: Session) -> Task:
        with suppress(Ended, LockLost):
            yield from self.work(session)

    def release(self, session: Session) -> Task:
        world = self.world
        wish = session.plan_release()
        version, cell = self.view()
        result, version, cell = yield from self.change(wish, version, cell)
        if result is not None and not isinstance(result, Refusal) and cell.queue and world.chance("push"):
            self.push(session, version, cell)

    def push(self, session: Session, version: int, cell: LockCell) -> None:
        row_states = [row for part in session._ledger.parts.values() for row in part.rows.values() if row.copy]
        if row_states and session.ticket < cell.queue[0].ticket and find_holder_change(self.world, cell, version):
            row = self.world.random.choice(row_states)
            assert row.copy is not None
            self.world.mail.setdefault(cell.queue[0].identity, []).append((version, cell, row.key, row.copy))

    # operations

    def operate(self, session: Session) -> Task:
        world = self.world
        self.read_mail(session)
        if world.random.random() < 0.3:
            session.observe(*self.view())
        key = world.random.choice(KEYS)
        choice = world.random.random()
        if session.standing != "exclusive" or choice < 0.4:
            if world.ranges and world.random.random() < 0.5:
                yield from self.get_range(session)
            else:
                yield from self.get(session, key)
            return
        task = self.write(session, self.intents(key))
        if world.chance("overlap"):
            guarded = self.guard(task)
            self.children.append(guarded)
            world.tasks.append(guarded)
            yield
        else:
            yield from task

    def guard(self, task: Task) -> Task:
        with suppress(Ended, LockLost, NotHolder, Overloaded):
            yield from task

    def intents(self, key: RowKey) -> list[Intent]:
        world = self.world

        def value() -> bytes:
            return number(world.fresh(), 4)

        if world.ranges and world.chance("range_writes"):
            return [RangeIntent(PARTITION, world.random.choice(SLICES))]
        choice = world.random.random()
        if choice < 0.4:
            return [PutIntent(key, {world.random.choice(COLUMNS): value()})]
        if choice < 0.6:
            return [PutIntent(key, {"a": value(), "b": value()})]
        if choice < 0.8:
            return [DeleteIntent(key)]
        return [PutIntent(KEYS[0], {"a": value()}), DeleteIntent(KEYS[1]), PutIntent(key, {"b": value()})]

    def plan(self, session: Session, ask: Callable[[], Any]) -> Generator[None, None, Any]:
        """Ask for a plan until it is neither Wait nor NeedExtend."""
        for _ in range(400):
            plan = ask()
            if isinstance(plan, Wait):
                yield
            elif isinstance(plan, NeedExtend):
                result, version, cell = yield from self.change(Extend(session.ticket, session.nonce), *self.view())
                session.observe(version, cell)
                if isinstance(result, Refusal):
                    raise Ended
            else:
                return plan
        raise Ended

    def write(self, session: Session, intents: list[Intent]) -> Task:
        world = self.world
        planned = yield from self.plan(session, lambda: session.plan_batch(intents))
        user: list[tuple[int, RowKey, str, Any]] = []
        for intent, write in zip(intents, planned.writes, strict=True):
            user.extend(effects_of(intent, write.stamp))
        if not (yield from self.finish(session, planned, user)) and world.chance("retry"):
            for _ in range(world.random.choice((0, 0, 30))):
                yield
            again = session.plan_retry(planned.op)
            if again is not None:
                yield from self.finish(session, again, user, again=True)

    def finish(
        self, session: Session, planned: Planned, user: list[tuple[int, RowKey, str, Any]], *, again: bool = False
    ) -> Generator[None, None, bool]:
        """Send and wait. True: acknowledged."""
        world = self.world
        place = world.send(session, planned, [] if again else user)
        for _ in range(200):
            yield
            if len(world.reached[place]) >= MAJORITY:
                session.answered(planned.op)
                world.acknowledged(session, user)
                return True
            if world.chance("give_up"):
                break
        session.unanswered(planned.op)
        if world.chance("late"):
            world.tasks.append(self.late(session, planned, place))
        return False

    def late(self, session: Session, planned: Planned, place: tuple[int, int]) -> Task:
        """The answer comes after the write was given up."""
        for _ in range(200):
            yield
            if len(self.world.reached[place]) >= MAJORITY:
                session.answered(planned.op)
                return

    def get(self, session: Session, key: RowKey, *, settle: bool = False) -> Task:
        world = self.world
        for _ in range(TRIES_MAX):
            plan = yield from self.plan(session, lambda: session.plan_get(key, 1.0, settle=settle))
            if isinstance(plan, Answer):
                world.got(session, key, plan.row)
                return
            if isinstance(plan, Restamp):
                if (yield from self.finish(session, plan.planned, [])):
                    world.got(session, key, plan.row)
                    return
                continue
            assert isinstance(plan, ReadRow)
            merged = yield from world.read()
            yield
            row = merged.row(key)
            got = yield from self.plan(session, partial(session.got, plan, row))
            if isinstance(got, Answer):
                world.got(session, key, got.row)
                return
            if isinstance(got, Restamp):
                if (yield from self.finish(session, got.planned, [])):
                    world.got(session, key, got.row)
                    return
            elif isinstance(got, ConfirmFence):
                yield
                confirmed = session.confirm(plan, *self.newest())
                if isinstance(confirmed, Answer):
                    world.got(session, key, confirmed.row)
                    return
            elif isinstance(got, AskFirst):
                yield from self.ask_first(lambda first, client: client.get(first, key, settle=True))

    def ask_first(self, work: Callable[[Session, "Client"], Task]) -> Task:
        """The first's process settles the row for us, as it sees things."""
        world = self.world
        cell = world.cell
        first = world.sessions.get(cell.queue[0].identity) if cell.queue else None
        if first is not None:
            first.observe(world.version, cell)
            if first.standing in {"first", "exclusive"} and first._release is None:
                helper = Client(world, "exclusive")
                helper.seen = self.seen
                guarded = self.guard(work(first, helper))
                world.tasks.append(guarded)
                for _ in range(60):
                    if guarded not in world.tasks:
                        return
                    yield

    def get_range(self, session: Session) -> Task:
        world = self.world
        for _ in range(TRIES_MAX):
            plan = yield from self.plan(session, lambda: session.plan_range(PARTITION, WHOLE_PARTITION))
            if isinstance(plan, Settle):
                yield from self.settle(session, plan)
                continue
            merged = yield from world.read()
            yield
            rows = {row.key: row for row in merged.rows(PARTITION)}
            got: Any = plan
            if isinstance(plan, ReadRange):
                got = session.got_range(plan, merged.part_stamp(PARTITION))
            if isinstance(got, SettleFirst):
                if isinstance(plan, ReadRange):
                    merged = yield from world.read()
                    yield
                found = merged.rows(PARTITION)
                settle = yield from self.plan(session, partial(session.got_partition, got, found))
                yield from self.settle(session, settle)
                continue
            if isinstance(got, AskFirst):
                yield from self.ask_first(lambda first, client: client.get_range(first))
                continue
            if isinstance(got, ConfirmFence):
                yield
                got = session.confirm(plan, *self.newest())
            if isinstance(got, RangeAnswer | Answer):
                for key in KEYS:
                    world.got(session, key, rows.get(key))
                return

    def settle(self, session: Session, settle: Settle) -> Task:
        world = self.world
        ended: list[bool] = []
        waiting = [self.finish(session, planned, []) for planned in settle.batches]
        yield from self.side_by_side(waiting, ended)
        end = session.end_settle(settle)
        if isinstance(end, Planned):
            yield from self.finish(session, end, [])
            end = session.end_settle(settle)
        if isinstance(end, Settled):
            world.settled += 1
        assert isinstance(end, Settled | NotSettled)

    def side_by_side(self, tasks: list[Task], ended: list[bool]) -> Task:
        while tasks:
            for task in list(tasks):
                try:
                    next(task)
                except StopIteration:
                    tasks.remove(task)
            yield


def may_speculate(version: int, cell: LockCell, seen: int, after: LockCell) -> bool:
    """Whether an enqueue that applied makes the read beside it a first get: on the version read before, on an empty queue."""
    return seen == version + 1 and not cell.queue


def effects_of(intent: Intent, stamp: int) -> Iterator[tuple[int, RowKey, str, Any]]:
    """What a write means for every column: (stamp, row, column, value)."""
    if isinstance(intent, PutIntent):
        for name, value in intent.cells.items():
            yield stamp, intent.key, name, value
        yield stamp, intent.key, PRESENT, True
        return
    keys = [intent.key] if isinstance(intent, DeleteIntent) else [k for k in KEYS if inside(intent.slice, k.clustering)]
    for key in keys:
        for name in COLUMNS:
            yield stamp, key, name, None
        yield stamp, key, PRESENT, False


def find_holder_change(world: World, cell: LockCell, version: int) -> bool:
    """Whether `version` is the one in which the head of `cell` became head."""
    before = decode(world.history[version - 1])
    return not before.queue or before.queue[0].identity != cell.queue[0].identity


@contextmanager
def small_window(size: int) -> Iterator[None]:
    """Windows of `size` stamps."""
    with (
        mock.patch.object(stamps, "WINDOW", size),
        mock.patch.object(transitions, "WINDOW", size),
        mock.patch.object(tenure, "EXTEND_BELOW", size // 2),
    ):
        yield


def run(seed: int, *, window: int = 12, **options: Any) -> World:
    """One run; Violation (or another AssertionError) if a promise was broken."""
    with small_window(window):
        world = World(seed, **options)
        world.run()
    return world
