"""A hypothesis state machine over the lock cell alone: any wishes in any order, legal or not, on any mix of sessions."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from polysite.core.combine import AskedWish, build_change
from polysite.core.lock_cell import (
    NO_REQUEST,
    LockCell,
    decode,
    departed_ticket,
    empty,
    encode,
    entry_by_ticket,
    find_change,
    holders,
    is_head,
    role,
)
from polysite.core.stamps import STAMP_BASE, WINDOW, window_end
from polysite.core.wishes import (
    Cancel,
    Compact,
    Enqueued,
    Extend,
    Identity,
    Leave,
    Observed,
    Preempt,
    Promote,
    Refusal,
    ReleaseClean,
    ReleaseDirty,
    Renew,
    TakeOver,
    Wish,
    Withdraw,
)
from tests.unit.core.factories import AUTHOR, enqueue, number

index = st.integers(min_value=0, max_value=7)
clocks = st.sampled_from((0, 1, 5, 2**20, 2**22, 2**51))


class CellMachine(RuleBasedStateMachine):
    """Keeps who got which ticket, and the stamps that every session could have used as head."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = empty()
        self.version = 0
        self.counter = 0
        self.identities: list[Identity] = []
        self.secrets: dict[int, bytes] = {}
        self.tickets: set[int] = set()
        self.windows: dict[Identity, tuple[int, int]] = {}
        self.tenures: list[Identity] = []
        self.lasts: dict[Identity, int] = {}

    def fresh(self) -> int:
        self.counter += 1
        return self.counter

    def ask(self, wish: Wish, clock: int) -> Any:
        """Carry out a wish as a change, and compare the states around it."""
        before = self.cell
        wish_id = number(self.fresh())
        change = build_change(
            before,
            self.version,
            [AskedWish(wish_id, self.version, wish)],
            change_id=None,
            author=AUTHOR,
            now=STAMP_BASE + clock,
        )
        result = change.results[wish_id]
        after = decode(change.content)
        assert after == change.cell
        record = find_change(after, wish_id, self.version + 1)
        assert record is not None
        assert record.results == ((wish_id, result),)
        assert (after.issued, after.floor, after.fence) >= (before.issued, before.floor, before.fence)
        assert after.floor >= before.floor
        assert after.fence >= before.fence
        if isinstance(result, Refusal):
            assert (after.issued, after.floor, after.fence, after.queue) == (
                before.issued,
                before.floor,
                before.fence,
                before.queue,
            )
        if not isinstance(wish, Compact):
            self.note_gone(before, after)
        self.cell, self.version = after, self.version + 1
        self.note_head()
        return result

    def note_gone(self, before: LockCell, after: LockCell) -> None:
        """Of the entries that went, those with a request id are remembered, and nothing is of the others."""
        gone = [entry for entry in before.queue if entry_by_ticket(after, entry.ticket) is None]
        keyed = [entry for entry in gone if entry.request_id]
        assert [departed_ticket(after, entry.request_id) for entry in keyed] == [entry.ticket for entry in keyed]
        assert keyed or after.departed == before.departed

    def note_head(self) -> None:
        """The head's window; a tenure's windows lie above everything that earlier tenures could have used."""
        if not self.cell.queue:
            return
        identity = self.cell.queue[0].identity
        window = (self.cell.floor, window_end(self.cell.floor))
        if identity not in self.windows:
            assert all(self.used(earlier) < window[0] for earlier in self.tenures)
            self.tenures.append(identity)
            self.windows[identity] = window
        else:
            assert identity == self.tenures[-1], "an earlier tenure came back"
            assert window[0] >= self.windows[identity][0]
            self.windows[identity] = (self.windows[identity][0], window[1])

    def used(self, identity: Identity) -> int:
        """The highest stamp that the session did use, or still may if it does not know that it has ended."""
        return self.lasts.get(identity, self.windows[identity][1] - 1)

    def pick(self, which: int) -> Identity:
        return self.identities[-1 - which % len(self.identities)] if self.identities else Identity(1, number(0))

    @rule(kind=st.sampled_from(("exclusive", "shared")), clock=clocks, keyed=st.booleans())
    def enqueue(self, kind: str, clock: int, keyed: bool) -> None:
        value = self.fresh()
        wish = enqueue(value, kind=kind) if keyed else enqueue(value, kind=kind, request_id=NO_REQUEST)
        result = self.ask(wish, clock)
        assert isinstance(result, Enqueued)
        assert result.ticket not in self.tickets
        assert not self.tickets or result.ticket > max(self.tickets)
        self.tickets.add(result.ticket)
        self.secrets[result.ticket] = wish.secret
        self.identities.append(Identity(result.ticket, wish.nonce))
        if keyed:
            assert self.ask(wish, clock) == Enqueued(result.ticket, repeated=True)

    @rule(which=index, clock=clocks, dirty=st.booleans(), used=st.integers(0, WINDOW - 1) | st.none())
    def release(self, which: int, clock: int, dirty: bool, used: int | None) -> None:
        ticket, nonce = self.pick(which)
        was_head = is_head(self.cell, ticket, nonce)
        floor = self.cell.floor
        last = None if used is None else floor + used
        wish = ReleaseDirty(ticket, nonce, last) if dirty else ReleaseClean(ticket, nonce, last)
        if was_head:
            self.lasts[Identity(ticket, nonce)] = floor - 1 if last is None else last
        result = self.ask(wish, clock)
        assert isinstance(result, Refusal) != was_head
        if was_head and dirty:
            assert self.cell.fence == self.cell.floor

    @rule(which=index, clock=clocks)
    def leave_or_cancel(self, which: int, clock: int) -> None:
        identity = self.pick(which)
        if role(self.cell, *identity) in {"first", "exclusive"}:
            # A promise of the wish: it has written nothing.
            self.lasts[identity] = self.cell.floor - 1
            self.ask(Cancel(*identity), clock)
        elif role(self.cell, *identity) == "shared":
            self.ask(Leave(*identity), clock)
        else:
            self.ask(Cancel(*identity), clock)

    @rule(which=index, clock=clocks, order=st.booleans(), stale=st.booleans())
    def preempt(self, which: int, clock: int, order: bool, stale: bool) -> None:
        ticket, nonce = self.pick(which)
        beats = {entry.ticket: entry.beat for entry in self.cell.queue}
        if order:
            wish = Preempt(forced=Identity(ticket, nonce), ordered_by="ana")
        else:
            wish = Preempt((Observed(ticket, nonce, beats.get(ticket, 0) - stale),))
        was_head, there = is_head(self.cell, ticket, nonce), role(self.cell, ticket, nonce) is not None
        result = self.ask(wish, clock)
        assert isinstance(result, Refusal) == (not there or (stale and not order))
        if was_head and not isinstance(result, Refusal):
            assert self.cell.fence == self.cell.floor

    @rule(which=index, clock=clocks)
    def take_over(self, which: int, clock: int) -> None:
        old = self.pick(which)
        there, was_head = role(self.cell, *old) is not None, is_head(self.cell, *old)
        new = Identity(old.ticket, number(self.fresh()))
        secret = self.secrets.get(old.ticket, number(0))
        wish = TakeOver(old.ticket, secret, old.nonce, 0, "handed_over", new.nonce, "s1", "p2", "i2")
        result = self.ask(wish, clock)
        assert isinstance(result, Refusal) != there
        if there:
            self.identities.append(new)
            assert role(self.cell, *old) is None
            assert not was_head or self.cell.fence == self.cell.floor

    @rule(which=index, clock=clocks)
    def extend(self, which: int, clock: int) -> None:
        identity = self.pick(which)
        assert isinstance(self.ask(Extend(*identity), clock), Refusal) != is_head(self.cell, *identity)

    @rule(which=index, clock=clocks)
    def others(self, which: int, clock: int) -> None:
        identity = self.pick(which)
        for wish in (Renew((identity,)), Promote(*identity), Withdraw(*identity), Promote(*identity), Compact()):
            self.ask(wish, clock)

    @invariant()
    def holders_are_in_front(self) -> None:
        held = holders(self.cell)
        assert bool(held) == bool(self.cell.queue)
        assert held == self.cell.queue[: len(held)]
        exclusive = [entry for entry in self.cell.queue if role(self.cell, *entry.identity) == "exclusive"]
        assert not exclusive or list(held) == exclusive == list(self.cell.queue[:1])
        assert sum(role(self.cell, *entry.identity) in {"first", "exclusive"} for entry in self.cell.queue) <= 1

    @invariant()
    def encoding_holds(self) -> None:
        assert decode(encode(self.cell)) == self.cell


CellMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
TestCellMachine = CellMachine.TestCase
