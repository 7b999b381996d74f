"""A client whose every call is in a history, and whose refusals are values: for drills."""

from typing import Any

from polysite.api import Coordinator, KeyName, Level, LockAnswer, RowGet, RowPut
from polysite.errors import AcquireTimeout, OutcomeUnknown, PolysiteError
from polysite.testing.history import OpenCall, Recorder

KEYSPACE = "drill"
LOCKED = "locked"
"""Rows that are written in critical sections."""
PLAIN = "plain"
"""Rows that are written without locks."""
MIXED = "mixed"
"""Rows that may be written either way, and here are written without locks: their keys are never locked."""
UNLOCKED = (PLAIN, MIXED)
HEALTH = "health"
"""What a site says of itself is recorded under this name."""
TORN = "torn"
"""What is read where the two columns of a row, always written together, differ."""


async def make_tables(coordinator: Coordinator) -> None:
    """The tables of a drill."""
    from polysite.client._async.site import table_spec
    from polysite.values.tables import KeyspaceSpec

    await coordinator.create_keyspace(KeyspaceSpec(name=KEYSPACE))
    columns = {"name": "text", "value": "text", "twin": "text"}
    await coordinator.create_table(table_spec(KEYSPACE, LOCKED, columns, partition_key="name"))
    await coordinator.create_table(table_spec(KEYSPACE, PLAIN, columns, partition_key="name", writes="eventual"))
    await coordinator.create_table(table_spec(KEYSPACE, MIXED, columns, partition_key="name", writes="mixed"))


class RecordedClient:
    """One thread of control: it makes its calls one after the other. A call that is not done answers its error."""

    def __init__(self, recorder: Recorder, coordinator: Coordinator, name: str) -> None:
        self.recorder = recorder
        self.coordinator = coordinator
        self.name = name
        self._values = 0

    async def acquire(self, name: str, *, lease_ms: int, wait_ms: int) -> LockAnswer | PolysiteError:
        """The granted lock."""
        with self._begin("acquire", LOCKED, name) as call:
            return await self._acquire(call, name, lease_ms=lease_ms, wait_ms=wait_ms, read=False)

    async def acquire_and_get(self, name: str, *, lease_ms: int, wait_ms: int) -> LockAnswer | PolysiteError:
        """The granted lock, the row read with it; in the history, where the two calls begin and end together."""
        with self._begin("acquire", LOCKED, name) as call, self._begin("get", LOCKED, name) as reading:
            answer = await self._acquire(call, name, lease_ms=lease_ms, wait_ms=wait_ms, read=True)
            if isinstance(answer, PolysiteError):
                _ended(reading, answer)
                return answer
            assert answer.rows is not None
            reading.answer(value_of(answer.rows[0]), reference=answer.reference)
        return answer

    async def _acquire(
        self, call: OpenCall, name: str, *, lease_ms: int, wait_ms: int, read: bool
    ) -> LockAnswer | PolysiteError:
        try:
            answer = await self.coordinator.acquire(
                [row_name(LOCKED, name)], lease_ms=lease_ms, wait_ms=wait_ms, read=read
            )
            if not answer.held:
                await self.coordinator.release(answer.reference, validate=False)
                raise AcquireTimeout
        except PolysiteError as error:
            return _ended(call, error)
        call.answer(reference=answer.reference, round_trips=_whole(answer.round_trips))
        return answer

    async def put(self, name: str, reference: str | None = None, *, table: str = PLAIN) -> PolysiteError | None:
        """Write a value that nobody else writes; `table`: without a reference."""
        table = table if reference is None else LOCKED
        level: Level = "eventual" if reference is None else "critical"
        value = self._new_value()
        with self._begin("put", table, name, reference, value=value) as call:
            try:
                await self.coordinator.put(row_name(table, name), _columns(value), level=level, reference=reference)
            except PolysiteError as error:
                return _ended(call, error)
        return None

    async def get(
        self, name: str, reference: str | None = None, *, table: str = LOCKED, level: Level = "eventual"
    ) -> PolysiteError | None:
        """Read the row; what was found is in the history."""
        if reference is not None:
            level = "critical"
        with self._begin("get", table, name, reference) as call:
            try:
                answer = await self.coordinator.get(row_name(table, name), level=level, reference=reference)
            except PolysiteError as error:
                return _ended(call, error)
            call.answer(value_of(answer.row))
        return None

    async def release(self, name: str, reference: str) -> PolysiteError | None:
        """Release, and wait for the proof."""
        with self._begin("release", LOCKED, name, reference) as call:
            try:
                await self.coordinator.release(reference, validate=True)
            except PolysiteError as error:
                return _ended(call, error)
        return None

    async def section(self, name: str, *, lease_ms: int, wait_ms: int) -> PolysiteError | None:
        """A whole section in one call: read, then write a new value."""
        value = self._new_value()
        with self._begin("section", LOCKED, name, value=value) as call:
            try:
                answer = await self.coordinator.section(
                    row_name(LOCKED, name),
                    [RowGet(), RowPut(columns=_columns(value))],
                    lease_ms=lease_ms,
                    wait_ms=wait_ms,
                )
            except PolysiteError as error:
                return _ended(call, error)
            call.answer({"read": value_of(answer.results[0]), "ticket": answer.fencing_token})
        return None

    async def health(self) -> PolysiteError | None:
        """Whether the site says that it is ready, and the reasons if not."""
        with self.recorder.begin(client=self.name, verb="health", key=[HEALTH, self.recorder.site]) as call:
            try:
                answer = await self.coordinator.health()
            except PolysiteError as error:
                return _ended(call, error)
            call.answer({"ready": answer.ready, "reasons": answer.reasons})
        return None

    async def queue(self, name: str) -> PolysiteError | None:
        """Who is in the queue."""
        with self._begin("queue", LOCKED, name) as call:
            try:
                answer = await self.coordinator.queue(row_name(LOCKED, name))
            except PolysiteError as error:
                return _ended(call, error)
            call.answer([entry.fencing_token for entry in answer.entries])
        return None

    def _begin(
        self, verb: str, table: str, name: str, reference: str | None = None, *, value: str | None = None
    ) -> OpenCall:
        argument = None if value is None else {"value": value}
        return self.recorder.begin(
            client=self.name, verb=verb, key=[table, name], argument=argument, reference=reference
        )

    def _new_value(self) -> str:
        self._values += 1
        return f"{self.name}/{self._values}"


def row_name(table: str, name: str) -> KeyName:
    return KeyName(keyspace=KEYSPACE, table=table, key={"name": name})


def value_of(row: dict[str, Any] | None) -> str | None:
    """The value of a row, None if there is none."""
    if row is None:
        return None
    return str(row["value"]) if row["value"] == row["twin"] else f"{TORN}: {row['value']} / {row['twin']}"


def _columns(value: str) -> dict[str, str]:
    return {"value": value, "twin": value}


def _whole(round_trips: float) -> int | None:
    """Round trips as a history keeps them: None unless it is a whole number."""
    return int(round_trips) if round_trips == int(round_trips) else None


def _ended(call: OpenCall, error: PolysiteError) -> PolysiteError:
    told = {"message": error.message, **({"reason": reason} if (reason := error.attributes.get("reason")) else {})}
    # A passing failure of a call that began nothing is a refusal; only an unknown outcome leaves open what happened.
    outcome = "unknown" if isinstance(error, OutcomeUnknown) else error.outcome
    call.end(outcome, code=error.code, value=told)
    return error
