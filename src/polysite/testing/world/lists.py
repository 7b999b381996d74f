"""Clients of a simulated world that append to lists under locks on one key or several, and with sections that expect what they have read.

A client takes its keys in any order, so that two who want the same would wait for each other if the order were not made one; what is asked without an answer is
asked again with its request id, of whichever process. Judged by `polysite.testing.judging.lists`.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from polysite.api import KeyName, RowExpectation, RowPut, Step
from polysite.errors import OutcomeUnknown, PolysiteError, Unavailable
from polysite.site import SiteCoordinator
from polysite.testing.history import OpenCall, Recorder
from polysite.testing.world.asking import PAUSE_S, WAIT_MS, Asker
from polysite.testing.world.traffic import KEYSPACE
from polysite.testing.world.world import World
from polysite.values.tables import ColumnSpec, TableSpec

LISTS = "lists"
TABLE = TableSpec(
    keyspace=KEYSPACE,
    name=LISTS,
    columns=(ColumnSpec("id", "text"), ColumnSpec("members", "frozen<list<text>>")),
    partition_key=("id",),
    writes="sections",
)
KEYS = ("p", "q", "s")
CALM_S = 15.0
"""After the faults: by then every lock that was forgotten is free."""


class ListClient(Asker):
    """One such client of a site."""

    def __init__(self, world: World, site: str, recorder: Recorder) -> None:
        super().__init__(world, site, LISTS, recorder)

    async def run(self) -> None:
        while not self.ended:
            try:
                if self.happens(0.3):
                    await self._extend(self.pick(KEYS))
                else:
                    await self._tenure(self._some_keys())
            except PolysiteError:
                await self.pause(1.0)
            await self.pause(PAUSE_S)

    async def settle(self) -> None:
        """All keys at once; and again, when nobody else holds any: every client wants them, each in another order, and none waits long."""
        calm_s = self.now_s() + CALM_S
        await self.surely(lambda: self._read_all(self._some_keys(len(KEYS))), "no lock of all lists")
        await self.until(calm_s)
        for _ in range(2):
            try:
                await self._read_all(self._some_keys(len(KEYS)))
            except PolysiteError as error:
                raise AssertionError(
                    f"{self.name}: {error.code}, as if clients waited for each other in a ring"
                ) from error

    async def _read_all(self, keys: list[str]) -> None:
        reference = await self._hold(keys)
        for key in keys:
            await self._list(key, reference)
        await self.ask(lambda site: site.release(reference, validate=True))

    async def _tenure(self, keys: list[str]) -> None:
        reference = await self._hold(keys)
        for _ in range(1 + self.chance.below(3)):
            key = self.pick(tuple(keys))
            members = await self._list(key, reference)
            if self.happens(0.6):
                await self._append(key, members, reference)
            if self.happens(0.05):
                await self.pause(3.0)
        if not self.happens(0.1):
            await self.ask(lambda site: site.release(reference, validate=True))

    async def _hold(self, keys: list[str]) -> str:
        """The reference of all of them. AcquireTimeout: not all were had, and none is held."""
        lease_ms = self.pick((1_000, 2_000, 5_000))
        request = self.value() if self.happens(0.3) else None
        told = {"keys": keys, "lease_ms": lease_ms} | ({"request": request} if request else {})
        with self.begin("hold", [LISTS, "+".join(sorted(keys))], told) as call:
            answer = await self._again(
                lambda site: site.acquire(
                    [_name(key) for key in keys], lease_ms=lease_ms, wait_ms=WAIT_MS, idempotency_key=request
                ),
                request,
                WAIT_MS / 1000 + 10,
            )
            if answer.held:
                call.answer(None, reference=answer.reference)
                return str(answer.reference)
            call.end("refused", code="waiting")
        await self.ask(lambda site: site.release(answer.reference, validate=False))
        raise Unavailable("the lock was not had within the wait")

    async def _list(self, key: str, reference: str) -> list[str]:
        with self.begin("list", [LISTS, key], None, reference) as call:
            answer = await self.ask(lambda site: site.get(_name(key), level="critical", reference=reference))
            call.answer(None if answer.row is None else answer.row["members"])
        return [] if answer.row is None else answer.row["members"] or []

    async def _append(self, key: str, members: list[str], reference: str) -> None:
        element = self.value()
        await self._requested(
            lambda told: self.begin("append", [LISTS, key], {"element": element, **told}, reference),
            lambda request: (
                lambda site: site.put(
                    _name(key),
                    {"members": [*members, element]},
                    level="critical",
                    reference=reference,
                    idempotency_key=request,
                )
            ),
            lambda _: None,
        )

    async def _extend(self, key: str) -> None:
        """Append in one call, if the list is still what was read."""
        row = (await self.ask(lambda site: site.get(_name(key), level="quorum"))).row
        members = None if row is None else row["members"]
        element = self.value()
        expected = RowExpectation(exists=False) if row is None else RowExpectation(equals={"members": members})
        steps: list[Step] = [expected, RowPut(columns={"members": [*(members or []), element]})]
        await self._requested(
            lambda told: self.begin("extend", [LISTS, key], {"element": element, "after": members, **told}),
            lambda request: (
                lambda site: site.section(_name(key), steps, wait_ms=WAIT_MS, lease_ms=2_000, idempotency_key=request)
            ),
            lambda answer: {"ticket": answer.fencing_token},
        )

    async def _requested(
        self,
        begin: Callable[[dict[str, Any]], OpenCall],
        work: Callable[[str | None], Callable[[SiteCoordinator], Coroutine[Any, Any, Any]]],
        told: Callable[[Any], object],
    ) -> None:
        """A write, each attempt a call of its own; with a request id asked again, whether or not there was an answer."""
        request = self.value() if self.happens(0.5) else None
        while True:
            failure: PolysiteError | None = None
            with begin({"request": request} if request else {}) as call:
                try:
                    answer = await self.ask(work(request), limit_s=WAIT_MS / 1000 + 10)
                except PolysiteError as error:
                    failure = error
                    call.end(error.outcome, code=error.code)
                else:
                    call.answer(told(answer))
            again = 0.2 if failure is None else 0.8 if isinstance(failure, OutcomeUnknown | Unavailable) else 0.0
            if request is None or self.ended or not self.happens(again):
                break
            await self.pause(1.0)
        if failure is not None:
            raise failure

    async def _again(
        self, work: Callable[[SiteCoordinator], Coroutine[Any, Any, Any]], request: str | None, limit_s: float
    ) -> Any:
        """The answer; with a request id it is asked for once more if there was none."""
        try:
            return await self.ask(work, limit_s=limit_s)
        except OutcomeUnknown:
            if request is None:
                raise
            return await self.ask(work, limit_s=limit_s)

    def _some_keys(self, count: int | None = None) -> list[str]:
        """So many of the keys, in any order."""
        left = list(KEYS)
        chosen = [left.pop(self.chance.below(len(left))) for _ in range(len(KEYS))]
        return chosen[: count or self.pick((1, 2, 2, 3))]


def _name(key: str) -> KeyName:
    return KeyName(keyspace=KEYSPACE, table=LISTS, key={"id": key})
