"""A client whose every call is in a history, in the words of the judge, and whose refusals are values: for drills."""

from typing import Any

from polysite.api import Coordinator, KeyName, Level, LockAnswer, RowGet, RowPut
from polysite.errors import AcquireTimeout, OutcomeUnknown, PolysiteError
from polysite.testing.history import Call, OpenCall, Recorder

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

    async def acquire(
        self, name: str, *, lease_ms: int, wait_ms: int, read: bool = False
    ) -> LockAnswer | PolysiteError:
        """The granted lock; with `read` the row came with it, into the history."""
        with self._begin("acquire", LOCKED, name, argument={"kind": "exclusive", "lease_ms": lease_ms}) as call:
            try:
                answer = await self.coordinator.acquire(
                    [row_name(LOCKED, name)], lease_ms=lease_ms, wait_ms=wait_ms, read=read
                )
                if not answer.held:
                    await self.coordinator.release(answer.reference, validate=False)
                    raise AcquireTimeout
            except PolysiteError as error:
                return _ended(call, error)
            told = None if answer.rows is None else {"read": _shown(answer.rows[0])}
            call.answer(told, reference=answer.reference, round_trips=_whole(answer.round_trips))
        return answer

    async def put(self, name: str, reference: str | None = None, *, table: str = PLAIN) -> PolysiteError | None:
        """Write a value that nobody else writes; `table`: without a reference."""
        table = table if reference is None else LOCKED
        level: Level = "eventual" if reference is None else "critical"
        columns = _columns(self._new_value())
        argument = {"writes": [["put", "", columns]]}
        with self._begin("write", table, name, reference, argument=argument) as call:
            try:
                await self.coordinator.put(row_name(table, name), columns, level=level, reference=reference)
            except PolysiteError as error:
                return _ended(call, error)
        return None

    async def get(
        self, name: str, reference: str | None = None, *, table: str = LOCKED, level: Level = "eventual"
    ) -> PolysiteError | None:
        """Read the row; what was found is in the history."""
        if reference is not None:
            level = "critical"
        verb = "peek" if reference is None and table == LOCKED else "read"
        with self._begin(verb, table, name, reference, argument={"row": ""}) as call:
            try:
                answer = await self.coordinator.get(row_name(table, name), level=level, reference=reference)
            except PolysiteError as error:
                return _ended(call, error)
            call.answer(_shown(answer.row))
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
        columns = _columns(self._new_value())
        argument = {"row": "", "writes": [["put", "", columns]]}
        with self._begin("section", LOCKED, name, argument=argument) as call:
            try:
                answer = await self.coordinator.section(
                    row_name(LOCKED, name),
                    [RowGet(), RowPut(columns=columns)],
                    lease_ms=lease_ms,
                    wait_ms=wait_ms,
                )
            except PolysiteError as error:
                return _ended(call, error)
            call.answer({"row": _shown(answer.results[0]), "ticket": answer.fencing_token})
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
        self, verb: str, table: str, name: str, reference: str | None = None, *, argument: object = None
    ) -> OpenCall:
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


def written_value(call: Call) -> str:
    """The value that a `write` of this client wrote."""
    return str(call.argument["writes"][0][2]["value"])


def _shown(row: dict[str, Any] | None) -> dict[str, Any] | None:
    """A row as a history has it: its columns that have a value, without the key's."""
    return None if row is None else {name: row[name] for name in ("value", "twin") if row[name] is not None}


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
