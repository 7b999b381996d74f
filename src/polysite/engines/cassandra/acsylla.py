"""The port on acsylla: two fifths of the CPU, about, under load, with errors that say less.

Its errors carry class and text only, so a time-out of a commit cannot be told from one of the agreement and is unknown. What it
cannot carry exactly (`acsylla_values`), and schema statements, go through cassandra-driver, connected when first needed.
"""

import asyncio
import logging
import re
import socket
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import acsylla
from acsylla import errors as acsylla_errors

from polysite.engines.cassandra.acsylla_ready import Ready, page_of
from polysite.engines.cassandra.acsylla_values import is_exact
from polysite.engines.cassandra.answers import applied_of
from polysite.engines.cassandra.asking import AskingPort
from polysite.engines.cassandra.bridge import beside_the_loop
from polysite.engines.cassandra.driver import CassandraDriverPort
from polysite.engines.cassandra.driver_failures import NOT_OPEN, refusal
from polysite.engines.cassandra.outcomes import Failure, Kind, Work, certain, judged
from polysite.engines.cassandra.port import Bound, Conditional, Consistency, Page, Statement, Value
from polysite.engines.cassandra.settings import CassandraSettings, Credentials, TlsSettings
from polysite.errors import BadRequest, PolysiteError, Unavailable

PREPARED_MAX = 4_096
"""Statements kept prepared; the one prepared longest ago goes first."""
HEARTBEAT_S = 5
TICK_US = 5_000
"""How often its thread looks for requests while it has some (`coalesce_delay_us`). A request wakes the thread, which then sends 64 at most; what
is queued beyond those waits for the next request or tick. A tick costs several system calls: at the default of 200 µs 64 busy tasks cost 1.8
times as much processor time, at 100 ms they cost as much, too, and took two to three times as long."""

KINDS: dict[str, Kind] = {
    "CassErrorServerUnavailable": "too_few_replicas",
    "CassErrorServerReadTimeout": "read_timeout",
    "CassErrorServerReadFailure": "read_failure",
    "CassErrorServerWriteTimeout": "write_timeout",
    "CassErrorServerWriteFailure": "write_failure",
    "CassErrorServerOverloaded": "server_overloaded",
    "CassErrorServerIsBootstrapping": "server_starting",
    "CassErrorServerServerError": "server_error",
    "CassErrorServerTruncateError": "server_error",
    "CassErrorServerAlreadyExists": "exists",
    "CassErrorServerBadCredentials": "unauthenticated",
    "CassErrorServerUnauthorized": "forbidden",
    "CassErrorLibRequestQueueFull": "too_many",
    "CassErrorLibNoStreams": "too_many",
    "CassErrorLibRequestTimedOut": "client_timeout",
    "CassErrorLibWriteError": "connection_lost",
}
"""Class name → kind. `RequestTimedOut` is also what a request gets whose connection ends before the answer."""

VERIFY_PEER, VERIFY_ADDRESS = 1, 2
"""Of cassandra.h. acsylla's own names for them are wrong: its PEER_IDENTITY is but another name of PEER_CERT, and looks at no name."""

SHARDING = "Could not retrieve sharding info"
"""What it says at every connection to a Cassandra, as an error: that it is no Scylla."""

ANSWERED = re.compile(r"received (?:only )?(\d+) ")
"""How many replicas answered in time: acsylla tells it in the server's words only, and nothing of the level or of how many were needed."""

INVALID = ("CassErrorServerInvalidQuery", "CassErrorServerSyntaxError", "CassErrorServerConfigError")


class AcsyllaPort(AskingPort):
    """One session of acsylla, and of cassandra-driver where that one is needed."""

    driver = "acsylla"

    def __init__(self, settings: CassandraSettings, *, credentials: Credentials | None = None) -> None:
        self._settings = settings
        self._credentials = credentials
        self._session: Any = None
        self._under_way = 0
        self._up: set[str] = set()
        self._ready: OrderedDict[str, Ready] = OrderedDict()
        self._other = CassandraDriverPort(settings, credentials=credentials)
        self._connecting = asyncio.Lock()

    async def connect(self) -> None:
        logging.getLogger("acsylla").addFilter(_is_news)
        async with self._connecting:
            if self._session is None:
                # Its whitelist knows addresses only.
                addresses = await beside_the_loop(self._addresses, name="cassandra-resolve")
                arguments = _arguments(self._settings, self._credentials, addresses, self._heard)
                cluster = acsylla.create_cluster(**arguments)
                if self._settings.tls is not None:
                    cluster.set_ssl(*_tls(self._settings.tls))
                try:
                    self._session = await cluster.create_session()
                except acsylla_errors.CassException as error:
                    raise _of_connecting(error) from error

    def _addresses(self) -> list[str]:
        try:
            found = [
                socket.getaddrinfo(point, None, type=socket.SOCK_STREAM) for point in self._settings.contact_points
            ]
        except OSError as error:
            raise Unavailable(
                "a contact point has no address: check contact_points, and that names can be resolved"
            ) from error
        return [str(entry[4][0]) for entries in found for entry in entries]

    async def close(self) -> None:
        session, self._session = self._session, None
        self._ready.clear()
        await self._other.close()
        if session is not None:
            await session.close()

    async def _heard(self, event: Any, host: str) -> None:
        """A host went up or down: only while none is up, `NoHostsAvailable` proves that a request was not sent."""
        if event == acsylla.HostListenerEvent.UP:
            self._up.add(host)
        elif event in (acsylla.HostListenerEvent.DOWN, acsylla.HostListenerEvent.REMOVE):
            self._up.discard(host)

    async def read_once(
        self,
        statement: Statement,
        values: Sequence[Value] = (),
        *,
        consistency: Consistency,
        page_rows: int = 0,
        paging_state: bytes | None = None,
    ) -> Page:
        for attempt in range(2):
            ready = self._ready.get(statement.text) or await self._prepare(statement)
            if ready is None:
                other = await self._exact()
                return await other.read(
                    statement, values, consistency=consistency, page_rows=page_rows, paging_state=paging_state
                )
            request = ready.bind(values)
            request.set_consistency(consistency)
            if page_rows:
                request.set_page_size(page_rows)
            if paging_state is not None:
                request.set_page_state(paging_state)
            try:
                return ready.page(await self._answer(request, "read"), statement.gives)
            except Unavailable as error:
                # A statement that the server refuses to prepare again (its table is gone) is told as "no hosts available":
                # preparing it here says what is wrong. Reads alone are asked a second time.
                if attempt or not isinstance(error.__cause__, acsylla_errors.CassErrorLibNoHostsAvailable):
                    raise
                self._ready.pop(statement.text, None)
        raise AssertionError("the second attempt returns or raises")

    async def write(self, statement: Statement, values: Sequence[Value] = (), *, consistency: Consistency) -> None:
        ready = self._ready.get(statement.text) or await self._prepare(statement)
        if ready is None:
            await (await self._exact()).write(statement, values, consistency=consistency)
            return
        request = ready.bind(values)
        request.set_consistency(consistency)
        await self._answer(request, "write")

    async def write_batch(self, writes: Sequence[Bound], *, consistency: Consistency, logged: bool = False) -> None:
        requests = await self._bind_all(writes)
        if requests is None:
            await (await self._exact()).write_batch(writes, consistency=consistency, logged=logged)
            return
        batch = acsylla.create_batch_logged() if logged else acsylla.create_batch_unlogged()
        for request in requests:
            batch.add_statement(request)
        batch.set_consistency(consistency)
        await self._answer(batch, "write", batch=True)

    async def write_if(self, writes: Sequence[Bound], *, commit: Consistency, serial: Consistency) -> Conditional:
        requests = await self._bind_all(writes)
        if requests is None:
            return await (await self._exact()).write_if(writes, commit=commit, serial=serial)
        request, gives = requests[0], writes[0][0].gives
        if len(requests) > 1:
            request = acsylla.create_batch_unlogged()
            for each in requests:
                request.add_statement(each)
            gives = {name: kind for statement, _ in writes for name, kind in statement.gives.items()}
        request.set_consistency(commit)
        request.set_serial_consistency(serial)
        result = await self._answer(request, "conditional", batch=len(requests) > 1)
        if result.column_count() == 1:
            return Conditional(result.first().column_value_by_index(0))
        return applied_of(page_of(result, gives))

    async def transact(self, statement: Statement, values: Sequence[Value] = ()) -> Page:
        ready = self._ready.get(statement.text) or await self._prepare(statement)
        if ready is None:
            return await (await self._exact()).transact(statement, values)
        request = ready.bind(values)
        request.set_consistency(Consistency.ANY)
        return page_of(await self._answer(request, "conditional"), statement.gives)

    async def define(self, text: str) -> None:
        await (await self._exact()).define(text)

    async def _exact(self) -> CassandraDriverPort:
        if self._session is None:
            raise Unavailable("the connection to Cassandra is closed")
        async with self._connecting:
            await self._other.connect()
        return self._other

    async def _bind_all(self, writes: Sequence[Bound]) -> list[Any] | None:
        """Requests with their values; None: one of them is for the other driver."""
        requests = []
        for statement, values in writes:
            ready = self._ready.get(statement.text) or await self._prepare(statement)
            if ready is None:
                return None
            requests.append(ready.bind(values))
        return requests

    async def _prepare(self, statement: Statement) -> Ready | None:
        """The prepared statement of this text; None: it is for the other driver."""
        if not is_exact(statement):
            return None
        if self._session is None:
            raise Unavailable("the connection to Cassandra is closed")
        try:
            prepared = await self._session.create_prepared(statement.text)
        except acsylla_errors.CassException as error:
            # Nothing of the work was sent yet, so whatever fails here is told as of a read.
            raise certain(judged(failure_of(error, was_down=True), "read")) from error
        found = self._ready[statement.text] = Ready(prepared, statement)
        if len(self._ready) > PREPARED_MAX:
            self._ready.popitem(last=False)
        return found

    async def _answer(self, request: Any, work: Work, *, batch: bool = False) -> Any:
        session = self._session
        if session is None:
            raise Unavailable("the connection to Cassandra is closed")
        if self._under_way >= self._settings.requests_max:
            raise certain(judged(Failure("too_many"), work))
        was_down = not self._up
        self._under_way += 1
        try:
            return await (session.execute_batch(request) if batch else session.execute(request))
        except acsylla_errors.CassException as error:
            raise certain(judged(failure_of(error, was_down=was_down and not self._up), work)) from error
        finally:
            self._under_way -= 1


def failure_of(error: BaseException, *, was_down: bool = False) -> Failure:
    """What acsylla's error says. `was_down`: no host was up from before the request until its answer.

    "No hosts available" also follows a write to a socket that failed half-way; it proves nothing while a host was up.
    """
    name = type(error).__name__
    if name in INVALID:
        return refusal(str(error).partition(": ")[2])
    if name == "CassErrorServerServerError" and NOT_OPEN in str(error):
        return Failure("not_open")
    if name == "CassErrorLibNoHostsAvailable":
        return Failure("not_sent" if was_down else "connection_lost")
    answered = ANSWERED.search(str(error)) if name == "CassErrorServerWriteTimeout" else None
    return Failure(KINDS.get(name, "unclear"), received=None if answered is None else int(answered[1]))


def _is_news(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(SHARDING)


def _arguments(
    settings: CassandraSettings, credentials: Credentials | None, addresses: list[str], heard: Any
) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "contact_points": addresses,
        "port": settings.port,
        "whitelist_hosts": ",".join(addresses),
        "load_balance_round_robin": True,
        "token_aware_routing": False,
        "use_schema": False,
        "retry_policy": "fallthrough",
        "coalesce_delay_us": TICK_US,
        "constant_reconnect_delay_ms": settings.reconnect_ms,
        "connect_timeout": settings.connect_ms / 1000,
        "request_timeout": settings.request_ms / 1000,
        "heartbeat_interval_sec": HEARTBEAT_S,
        "idle_timeout_sec": 2 * HEARTBEAT_S,
        "log_level": "error",
        "host_listener_callback": heard,
        "application_name": "polysite",
    }
    if credentials is not None:
        arguments |= {"username": credentials.user, "password": credentials.password}
    return arguments


def _tls(tls: TlsSettings) -> tuple[bool, str | None, str | None, str, str, int]:
    """What `Cluster.set_ssl` takes: enabled, certificate, key, password of the key, authority, what is verified."""
    try:
        certificate = Path(tls.certificate).read_text() if tls.certificate else None
        key = Path(tls.key).read_text() if tls.key else None
        authority = Path(tls.authority).read_text()
    except OSError as error:
        raise BadRequest("the files of the Cassandra TLS settings cannot be read as PEM") from error
    verified = VERIFY_PEER | VERIFY_ADDRESS if tls.check_names else VERIFY_PEER
    return True, certificate, key, "", authority, verified


def _of_connecting(error: BaseException) -> PolysiteError:
    if failure_of(error).kind in ("unauthenticated", "forbidden"):
        return certain(judged(failure_of(error), "read"))
    return Unavailable(
        "no Cassandra node of this site can be reached: check contact_points, port and TLS, and that it is up"
    )
