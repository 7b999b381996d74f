"""The coordinator of a site, over its HTTP API: the same protocol as the one in process.

Column values are turned into JSON and back by the table's spec, which is asked for once and again whenever the
server's answers say that its schema has changed.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from polysite.api import (
    LEASE_MS_DEFAULT,
    SELECT_LIMIT_DEFAULT,
    WAIT_MS_DEFAULT,
    Columns,
    Condition,
    Event,
    Health,
    HeldKey,
    KeyName,
    Kind,
    Level,
    LockAnswer,
    PageAnswer,
    QueueAnswer,
    QueueEntry,
    ReleaseAnswer,
    RowAnswer,
    RowExpectation,
    RowWrite,
    SectionAnswer,
    Step,
    WriteAnswer,
)
from polysite.client import wire
from polysite.client._async.carrier import Carrier, Effect
from polysite.client.transport import Response
from polysite.errors import BadRequest, CompareFailed, PolysiteError, UnknownKey
from polysite.values.tables import IndexSpec, KeyspaceSpec, TableSpec

TABLES_KNOWN_MAX = 1_000
LOCK = "/v3/locks/-"
"""The lock that the header names. References go there and never into a path: paths are logged on the way."""


class Call(NamedTuple):
    """One request, ready but for what the carrier adds."""

    method: str
    target: str
    effect: Effect
    body: object = None
    headers: dict[str, str] | None = None
    wait_ms: int = 0


class Known(NamedTuple):
    """A table's spec and the digest by which the server names it."""

    spec: TableSpec
    schema: str | None


class HttpCoordinator:
    """The `Coordinator` protocol over `/v3`. Writes are sent again by themselves only under an idempotency key:
    the caller's, or one made here if `idempotent_writes` is true."""

    def __init__(self, carrier: Carrier, *, idempotent_writes: bool = False) -> None:
        self._carrier = carrier
        self._idempotent_writes = idempotent_writes
        self._known: dict[tuple[str, str], Known] = {}

    async def create_keyspace(self, spec: KeyspaceSpec) -> bool:
        target = f"/v3/keyspaces/{wire.segment(spec.name)}"
        return (await self._send(Call("PUT", target, "same", {"replicas": spec.replicas}))).status == 201

    async def drop_keyspace(self, keyspace: str) -> bool:
        return await self._drop(f"/v3/keyspaces/{wire.segment(keyspace)}")

    async def keyspaces(self) -> list[KeyspaceSpec]:
        found = wire.decode(await self._send(Call("GET", "/v3/keyspaces", "none")))
        return msgspec.convert(found["keyspaces"], list[KeyspaceSpec])

    async def create_table(self, spec: TableSpec) -> bool:
        target = wire.table_target(spec.keyspace, spec.name)
        return (await self._send(Call("PUT", target, "same", wire.table_to_json(spec)))).status == 201

    async def drop_table(self, keyspace: str, table: str) -> bool:
        self._known.pop((keyspace, table), None)
        return await self._drop(wire.table_target(keyspace, table))

    async def tables(self, keyspace: str) -> list[TableSpec]:
        found = wire.decode(await self._send(Call("GET", f"/v3/keyspaces/{wire.segment(keyspace)}/tables", "none")))
        return msgspec.convert(found["tables"], list[TableSpec])

    async def table(self, keyspace: str, table: str) -> TableSpec:
        """As the protocol says; answered from memory until an answer of the server tells another schema of the table."""
        known = self._known.get((keyspace, table))
        if known is None:
            response = await self._send(Call("GET", wire.table_target(keyspace, table), "none"))
            spec = msgspec.convert(wire.decode(response), TableSpec)
            known = Known(spec, response.headers.get(wire.SCHEMA_HEADER))
            if len(self._known) >= TABLES_KNOWN_MAX:
                self._known.clear()
            self._known[keyspace, table] = known
        return known.spec

    async def create_index(self, keyspace: str, table: str, index: IndexSpec) -> bool:
        target = f"{wire.table_target(keyspace, table)}/indexes/{wire.segment(index.name)}"
        return (await self._send(Call("PUT", target, "same", {"column": index.column}))).status == 201

    async def drop_index(self, keyspace: str, table: str, index_name: str) -> bool:
        return await self._drop(f"{wire.table_target(keyspace, table)}/indexes/{wire.segment(index_name)}")

    async def get(
        self, row: KeyName, *, level: Level = "eventual", reference: str | None = None, stamps: bool = False
    ) -> RowAnswer:
        headers = _lock_headers(reference)

        def call(spec: TableSpec) -> Call:
            base = wire.table_target(row.keyspace, row.table)
            path = wire.key_path(spec, row.key)
            if path is None:
                body = {"key": wire.columns_to_json(spec, row.key)}
                asked = wire.query(level=level, stamps=stamps)
                return Call("POST", f"{base}/rows/get{asked}", "none", body, headers)
            asked = wire.query(level=level, stamps=stamps)
            return Call("GET", f"{base}/rows/{path}{asked}", "none", None, headers)

        spec, response = await self._about(row.keyspace, row.table, call)
        found = wire.decode(response)
        return RowAnswer(
            row=wire.row_from_json(spec, found.get("row")),
            stamps=found.get("stamps"),
            round_trips=_round_trips(response, found),
        )

    async def put(
        self,
        row: KeyName,
        columns: Columns,
        *,
        level: Level = "eventual",
        reference: str | None = None,
        expires_ms: int | None = None,
        idempotency_key: str | None = None,
    ) -> WriteAnswer:
        effect, headers = self._write_headers(reference, idempotency_key)

        def call(spec: TableSpec) -> Call:
            base = wire.table_target(row.keyspace, row.table)
            body: dict[str, Any] = {"columns": wire.columns_to_json(spec, columns)}
            if expires_ms is not None:
                body["expires_ms"] = expires_ms
            path = wire.key_path(spec, row.key)
            asked = wire.query(level=level)
            if path is None:
                body["key"] = wire.columns_to_json(spec, row.key)
                return Call("POST", f"{base}/rows/put{asked}", effect, body, headers)
            return Call("PUT", f"{base}/rows/{path}{asked}", effect, body, headers)

        _, response = await self._about(row.keyspace, row.table, call)
        return _write_answer(response)

    async def delete(
        self,
        row: KeyName,
        *,
        level: Level = "eventual",
        reference: str | None = None,
        idempotency_key: str | None = None,
    ) -> WriteAnswer:
        effect, headers = self._write_headers(reference, idempotency_key)

        def call(spec: TableSpec) -> Call:
            base = wire.table_target(row.keyspace, row.table)
            path = wire.key_path(spec, row.key)
            asked = wire.query(level=level)
            if path is None:
                body = {"key": wire.columns_to_json(spec, row.key)}
                return Call("POST", f"{base}/rows/delete{asked}", effect, body, headers)
            return Call("DELETE", f"{base}/rows/{path}{asked}", effect, None, headers)

        _, response = await self._about(row.keyspace, row.table, call)
        return _write_answer(response)

    async def select(
        self,
        keyspace: str,
        table: str,
        *,
        where: Sequence[Condition] = (),
        level: Level = "eventual",
        reference: str | None = None,
        limit: int = SELECT_LIMIT_DEFAULT,
        cursor: str | None = None,
    ) -> PageAnswer:
        def call(spec: TableSpec) -> Call:
            base = f"{wire.table_target(keyspace, table)}/rows"
            conditions = [wire.condition_to_json(spec, condition) for condition in where]
            asked = wire.query(
                where=wire.encode(conditions).decode() if conditions else None, level=level, limit=limit, cursor=cursor
            )
            headers = _lock_headers(reference)
            if len(asked) <= wire.PATH_BYTES_MAX:
                return Call("GET", f"{base}{asked}", "none", None, headers)
            body = {"where": conditions, "limit": limit, "cursor": cursor}
            return Call("POST", f"{base}/select{wire.query(level=level)}", "none", body, headers)

        spec, response = await self._about(keyspace, table, call)
        found = wire.decode(response)
        rows = [row for row in wire.rows_from_json(spec, found["rows"]) if row is not None]
        return PageAnswer(rows=rows, cursor=found.get("cursor"), round_trips=_round_trips(response, found))

    async def batch(
        self,
        keyspace: str,
        table: str,
        writes: Sequence[RowWrite],
        *,
        level: Level = "eventual",
        reference: str | None = None,
        expect: Sequence[RowExpectation] = (),
        idempotency_key: str | None = None,
    ) -> WriteAnswer:
        effect, headers = self._write_headers(reference, idempotency_key)

        def call(spec: TableSpec) -> Call:
            body: dict[str, Any] = {
                "level": level,
                "writes": [wire.write_to_json(spec, write) for write in writes],
            }
            if expect:
                body["expect"] = [wire.expectation_to_json(spec, expectation) for expectation in expect]
            return Call("POST", f"{wire.table_target(keyspace, table)}/batch", effect, body, headers)

        _, response = await self._about(keyspace, table, call)
        return _write_answer(response)

    async def acquire(
        self,
        keys: Sequence[KeyName],
        *,
        kind: Kind = "exclusive",
        lease_ms: int = LEASE_MS_DEFAULT,
        wait_ms: int = WAIT_MS_DEFAULT,
        owner: str | None = None,
        read: bool = False,
        idempotency_key: str | None = None,
    ) -> LockAnswer:
        """As the protocol says. Sent again by itself: the idempotency key, made here if there is none, is the request's
        identity in the queue, so a second sending finds the entry of the first. By it a wish that was cancelled while
        it was under way is found and withdrawn."""
        body: dict[str, Any] = {
            "keys": [await self._key_json(key) for key in keys],
            "kind": kind,
            "lease_ms": lease_ms,
            "wait_ms": wait_ms,
            "read": read,
        }
        if owner is not None:
            body["owner"] = owner
        headers = {wire.IDEMPOTENCY_HEADER: idempotency_key or self._carrier.pace.new_key()}
        call = Call("POST", "/v3/locks", "same", body, headers, wait_ms)
        return await self._carrier.pace.undone_if_cancelled(
            lambda: self._lock(call), lambda: self._withdraw(call, body)
        )

    async def _withdraw(self, call: Call, body: dict[str, Any]) -> None:
        """Find the entry that a cancelled acquire may have made, by sending the same wish without a wait; release it. How long it
        waits is the one thing in which a request may differ that is sent again."""
        found = await self._lock(call._replace(body={**body, "wait_ms": 0}, wait_ms=0))
        await self.release(found.reference, validate=False)

    async def wait(self, reference: str, *, wait_ms: int = WAIT_MS_DEFAULT, read: bool = False) -> LockAnswer:
        body = {"wait_ms": wait_ms, "read": read}
        return await self._lock(Call("POST", f"{LOCK}/wait", "same", body, _lock_headers(reference), wait_ms))

    async def renew(self, reference: str) -> LockAnswer:
        return await self._lock(Call("POST", f"{LOCK}/renew", "same", None, _lock_headers(reference)))

    async def promote(self, reference: str, *, wait_ms: int = WAIT_MS_DEFAULT) -> LockAnswer:
        body = {"wait_ms": wait_ms}
        return await self._lock(Call("POST", f"{LOCK}/promote", "once", body, _lock_headers(reference), wait_ms))

    async def release(self, reference: str, *, validate: bool = True) -> ReleaseAnswer:
        asked = "" if validate else "?wait=0"
        response = await self._send(Call("DELETE", f"{LOCK}{asked}", "once", None, _lock_headers(reference)))
        found = wire.decode(response)
        return ReleaseAnswer(
            validated=bool(found.get("validated", response.status == 200)), round_trips=_round_trips(response, found)
        )

    async def queue(self, key: KeyName) -> QueueAnswer:
        body = {"key": await self._key_json(key)}
        return _queue_answer(await self._send(Call("POST", "/v3/locks/queue", "none", body)))

    async def preempt(
        self, key: KeyName, *, fencing_token: int | None = None, ordered_by: str | None = None
    ) -> QueueAnswer:
        body: dict[str, Any] = {"key": await self._key_json(key)}
        effect: Effect = "once"
        if fencing_token is not None:
            body["fencing_token"] = fencing_token
            effect = "same"
        if ordered_by is not None:
            body["ordered_by"] = ordered_by
        return _queue_answer(await self._send(Call("POST", "/v3/locks/preempt", effect, body)))

    async def section(
        self,
        key: KeyName,
        steps: Sequence[Step],
        *,
        wait_ms: int = WAIT_MS_DEFAULT,
        lease_ms: int = LEASE_MS_DEFAULT,
        validate: bool = False,
        owner: str | None = None,
        idempotency_key: str | None = None,
    ) -> SectionAnswer:
        effect, headers = self._write_headers(None, idempotency_key)

        def call(spec: TableSpec) -> Call:
            body: dict[str, Any] = {
                "key": _name_json(spec, key),
                "steps": [wire.step_to_json(spec, step) for step in steps],
                "wait_ms": wait_ms,
                "lease_ms": lease_ms,
                "validate": validate,
            }
            if owner is not None:
                body["owner"] = owner
            return Call("POST", "/v3/sections", effect, body, headers, wait_ms)

        spec, response = await self._about(key.keyspace, key.table, call)
        found = wire.decode(response)
        return SectionAnswer(
            results=wire.rows_from_json(spec, found["results"]),
            fencing_token=found["fencing_token"],
            validated=found["validated"],
            round_trips=_round_trips(response, found),
        )

    async def events(self, *, keyspace: str | None = None, table: str | None = None) -> AsyncIterator[Event]:
        data: list[bytes] = []
        async for line in self._carrier.stream(f"/v3/events{wire.query(keyspace=keyspace, table=table)}"):
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif not line and data:
                members = wire.parse(b"\n".join(data))
                data = []
                yield msgspec.convert(await self._event_key(members), Event)

    async def health(self) -> Health:
        """As the protocol says; a process that is not ready says so in the answer, not by an error."""
        call = Call("GET", "/v3/health/ready", "none")
        response = await self._carrier.send(call.method, call.target, effect=call.effect, fine=frozenset({503}))
        found = wire.decode(response)
        if "ready" not in found:
            raise wire.problem(response)
        return msgspec.convert(found, Health)

    async def close(self) -> None:
        await self._carrier.close()

    async def _send(self, call: Call) -> Response:
        return await self._carrier.send(
            call.method, call.target, effect=call.effect, body=call.body, headers=call.headers, wait_ms=call.wait_ms
        )

    async def _about(self, keyspace: str, table: str, build: Callable[[TableSpec], Call]) -> tuple[TableSpec, Response]:
        """Send what `build` makes of the table's spec. A refusal that may come from a spec that is no longer true (the
        table was made anew) is answered by asking for the spec once more: nothing has happened yet."""
        spec = await self.table(keyspace, table)
        try:
            response = await self._send(build(spec))
        except (BadRequest, UnknownKey):
            self._known.pop((keyspace, table), None)
            fresh = await self.table(keyspace, table)
            if fresh == spec:
                raise
            spec = fresh
            response = await self._send(build(spec))
        except CompareFailed as error:
            _decode_found(spec, error)
            raise
        told = response.headers.get(wire.SCHEMA_HEADER)
        known = self._known.get((keyspace, table))
        if told is not None and known is not None and told != known.schema:
            self._known.pop((keyspace, table), None)
            spec = await self.table(keyspace, table)
        return spec, response

    async def _lock(self, call: Call) -> LockAnswer:
        response = await self._send(call)
        found = wire.decode(response)
        rows: list[dict[str, Any] | None] | None = found.get("rows")
        keys: list[HeldKey] = []
        for position, held in enumerate(found["keys"]):
            spec = await self.table(held["keyspace"], held["table"])
            keys.append(msgspec.convert({**held, "key": wire.row_from_json(spec, held["key"])}, HeldKey))
            if rows is not None:
                rows[position] = wire.row_from_json(spec, rows[position])
        return LockAnswer(
            reference=found["reference"],
            held=found["held"],
            kind=found["kind"],
            lease_ms=found["lease_ms"],
            keys=keys,
            rows=rows,
            round_trips=_round_trips(response, found),
        )

    async def _drop(self, target: str) -> bool:
        return bool(wire.decode(await self._send(Call("DELETE", target, "same"))).get("dropped"))

    async def _key_json(self, key: KeyName) -> dict[str, Any]:
        return _name_json(await self.table(key.keyspace, key.table), key)

    async def _event_key(self, members: dict[str, Any]) -> dict[str, Any]:
        """The event with its key as Python values, where the table is still known."""
        if members.get("key") and members.get("keyspace") and members.get("table"):
            try:
                spec = await self.table(members["keyspace"], members["table"])
            except PolysiteError:
                return members
            return {**members, "key": wire.row_from_json(spec, members["key"])}
        return members

    def _write_headers(
        self, reference: str | None, idempotency_key: str | None
    ) -> tuple[Effect, dict[str, str] | None]:
        headers = _lock_headers(reference) or {}
        if idempotency_key is None and self._idempotent_writes:
            idempotency_key = self._carrier.pace.new_key()
        if idempotency_key is None:
            return "once", headers or None
        headers[wire.IDEMPOTENCY_HEADER] = idempotency_key
        return "same", headers


def _lock_headers(reference: str | None) -> dict[str, str] | None:
    return None if reference is None else {wire.LOCK_HEADER: reference}


def _name_json(spec: TableSpec, key: KeyName) -> dict[str, Any]:
    return {"keyspace": key.keyspace, "table": key.table, "key": wire.columns_to_json(spec, key.key)}


def _round_trips(response: Response, found: dict[str, Any]) -> float:
    told = found.get("round_trips", response.headers.get(wire.ROUND_TRIPS_HEADER, 0))
    return float(told)


def _write_answer(response: Response) -> WriteAnswer:
    found = wire.decode(response)
    return WriteAnswer(stamp=found.get("stamp"), round_trips=_round_trips(response, found))


def _queue_answer(response: Response) -> QueueAnswer:
    found = wire.decode(response)
    return QueueAnswer(
        entries=msgspec.convert(found["entries"], list[QueueEntry]),
        issued=found["issued"],
        dropped=found.get("dropped", []),
        round_trips=_round_trips(response, found),
    )


def _decode_found(spec: TableSpec, error: PolysiteError) -> None:
    """The rows that a failed comparison carries, as Python values."""
    rows = error.attributes.get("rows")
    if isinstance(rows, list):
        error.attributes["rows"] = wire.rows_from_json(spec, rows)
