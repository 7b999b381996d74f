"""All endpoints, and how a request is led to one and its failures are told."""

from collections.abc import Awaitable, Callable, Sequence
from functools import cache

from polysite.errors import BadRequest, Forbidden, PolysiteError, Unauthenticated
from polysite.server.exchange import Exchange, Headers, Reply, Stream
from polysite.server.problems import HttpRefusal
from polysite.server.routing import Route
from polysite.server.service import Service
from polysite.server.v2 import admin, conditional, keyspaces, locks, queues, rows, service_info, tables
from polysite.server.v2.accounts import Accounts, require
from polysite.server.v2.call import Call
from polysite.server.v2.envelope import FAILURE, Failure, bare, failure_of, outcome_headers, told
from polysite.server.v2.paths import PREFIX_BYTES, Endpoint, Handler, Paths
from polysite.server.v2.plain_paths import plain_endpoints
from polysite.server.v2.swagger import describe
from polysite.server.v2.tracing import Traced, check_tracing, echoed, tracing_headers

_KEYSPACE = "v2/keyspaces/{keyspace}"
_TABLE = "v2/keyspaces/{keyspace...}/tables/{table...}"
_ROWS = f"{_TABLE}/rows"
_QUEUES = ("v2/priorityq/keyspaces/{keyspace}/{queue}", "priorityq/keyspaces/{keyspace}/{queue}")
_CONDITIONAL = "v2/conditional/{}/keyspaces/{{keyspace}}/tables/{{table}}"


def _schema(name: str, method: str, pattern: str, handler: Handler, *, takes_json: bool = False) -> Endpoint:
    return Endpoint(name, method, pattern, handler, right="admin", takes_json=takes_json, traced=True, changes=True)


def _write(name: str, method: str, pattern: str, handler: Handler, *, traced: bool = True) -> Endpoint:
    return Endpoint(name, method, pattern, handler, right="write", takes_json=True, traced=traced, changes=True)


def _read(name: str, method: str, pattern: str, handler: Handler, *, takes_json: bool = False) -> Endpoint:
    return Endpoint(name, method, pattern, handler, right="read", takes_json=takes_json, traced=True)


def _lock(name: str, method: str, pattern: str, handler: Handler, *, begins: bool = False) -> Endpoint:
    return Endpoint(
        name,
        method,
        pattern,
        handler,
        right="lock",
        takes_json=method == "POST",
        traced=True,
        begins=begins,
        changes=True,
    )


def _of_queues(pattern: str, prefix: str) -> list[Endpoint]:
    return [
        _schema(f"{prefix}create_queue", "POST", pattern, queues.create, takes_json=True),
        _schema(f"{prefix}drop_queue", "DELETE", pattern, tables.drop),
        _write(f"{prefix}enqueue", "POST", f"{pattern}/rows", queues.enqueue),
        _write(f"{prefix}update_queue", "PUT", f"{pattern}/rows", queues.update),
        _write(f"{prefix}remove_from_queue", "DELETE", f"{pattern}/rows", queues.remove),
        _read(f"{prefix}peek", "GET", f"{pattern}/peek", queues.peek),
        _read(f"{prefix}filter", "GET", f"{pattern}/filter", queues.find),
    ]


ENDPOINTS: list[Endpoint] = [
    _schema("v2_create_keyspace", "POST", _KEYSPACE, keyspaces.create, takes_json=True),
    _schema("v2_drop_keyspace", "DELETE", _KEYSPACE, keyspaces.drop),
    _schema("v2_create_table", "POST", _TABLE, tables.create, takes_json=True),
    _schema("v2_drop_table", "DELETE", _TABLE, tables.drop),
    _schema("v2_create_index", "POST", f"{_TABLE}/index/{{field...}}", tables.create_index),
    _write("v2_insert", "POST", _ROWS, rows.insert),
    _write("v2_update", "PUT", _ROWS, rows.update),
    _write("v2_delete", "DELETE", _ROWS, rows.delete),
    _read("v2_select", "GET", _ROWS, rows.select, takes_json=True),
    _read("v2_critical_get", "PUT", f"{_ROWS}/criticalget", rows.critical_get, takes_json=True),
    _lock("v2_create_lock", "POST", "v2/locks/create/{name}", locks.create, begins=True),
    _lock("v2_acquire", "GET", "v2/locks/acquire/{id}", locks.acquire),
    _lock("v2_acquire_with_lease", "POST", "v2/locks/acquire-with-lease/{id}", locks.acquire_with_lease),
    _read("v2_enquire", "GET", "v2/locks/enquire/{name}", locks.enquire),
    _read("v2_holders", "GET", "v2/locks/holders/{name}", locks.holders),
    _read("v2_lock_state", "GET", "v2/locks/{name}", locks.enquire),
    _lock("v2_release", "DELETE", "v2/locks/release/{id}", locks.release),
    # Whoever may lock may not drop the locks of others: it is the right that preempting takes elsewhere.
    _lock("v2_delete_lock", "DELETE", "v2/locks/delete/{id}", locks.delete)._replace(right="admin"),
    _lock("v2_promote", "POST", "v2/locks/promote/{id}", locks.promote),
    *_of_queues(_QUEUES[0], "v2_"),
    *_of_queues(_QUEUES[1], "v2_old_"),
    _write("v2_conditional_insert", "POST", _CONDITIONAL.format("insert"), conditional.insert, traced=False),
    _write("v2_conditional_update", "PUT", _CONDITIONAL.format("update"), conditional.update, traced=False),
    Endpoint("v2_version", "GET", "v{n}/version", service_info.version),
    Endpoint("v2_build", "GET", "v{n}/version/build", service_info.build),
    Endpoint("v2_test", "GET", "v{n}/test", service_info.test),
    Endpoint("v2_ping", "GET", "v2/service/pingCassandra/{level}", service_info.ping),
    Endpoint("v2_health", "GET", "v2/service/musicHealthCheck", service_info.health),
    Endpoint("v2_old_ping_rows", "GET", "v{n}/service/cs", service_info.old_ping),
    Endpoint("v2_old_ping_locks", "GET", "v{n}/service/zk", service_info.old_ping),
    Endpoint("v2_onboard", "POST", "v2/admin/onboardAppWithMusic", admin.onboard, takes_json=True),
    Endpoint("v2_search", "POST", "v2/admin/search", admin.search, takes_json=True),
]


async def _swagger(call: Call) -> Reply:
    return Reply(200, _described(call.settings.version))


@cache
def _described(version: str) -> bytes:
    return describe(ENDPOINTS, version)


ENDPOINTS.append(Endpoint("v2_swagger", "GET", "swagger.json", _swagger))


class V2Interface:
    """The paths below `/MUSIC/rest/`, for the application."""

    def __init__(self, service: Service) -> None:
        self._accounts = Accounts(service)
        self._tracing = tracing_headers(service.settings.v2)
        endpoints = [*ENDPOINTS, *(plain_endpoints(ENDPOINTS) if service.settings.v2.plain_paths else ())]
        self._paths = Paths(endpoints)
        self._routes = {endpoint.name: self._route(endpoint) for endpoint in endpoints}
        self._unrouted = self._route(Endpoint("v2_unrouted", "GET", "", _not_found))
        self._options = self._route(Endpoint("v2_options", "OPTIONS", "", _not_found))

    @property
    def routes(self) -> list[Route]:
        return [*self._routes.values(), self._unrouted, self._options]

    @staticmethod
    def claims(raw_path: bytes) -> bool:
        """Whether a path is of this interface."""
        return raw_path.startswith(PREFIX_BYTES)

    def find(self, exchange: Exchange) -> Route:
        """The route of a request. HttpRefusal: no such path or method, or a body or an answer of a type that is not to be had."""
        raw_path: bytes = exchange.scope["raw_path"]
        try:
            matched = self._paths.find(raw_path)
        except Failure as failure:
            raise HttpRefusal(400, _refused(failure.error or "")) from None
        if matched is None:
            raise HttpRefusal(400, _refused("HTTP 404 Not Found"))
        exchange.names = matched.names
        method = exchange.method
        endpoint = matched.methods.get("GET" if method == "HEAD" else method)
        if endpoint is None:
            allow = (b"allow", ", ".join(sorted({*matched.methods, "OPTIONS"})).encode())
            if method == "OPTIONS":
                exchange.names = (allow[1].decode(),)
                return self._options
            raise HttpRefusal(400, _refused("HTTP 405 Method Not Allowed"), (allow,))
        if endpoint.takes_json:
            _check_content_type(exchange)
        _check_accept(exchange)
        return self._routes[endpoint.name]

    async def identify(self, exchange: Exchange) -> None:
        """Who asks. HttpRefusal (401), or Forbidden to a page of another origin."""
        exchange.principal = await self._accounts.identify(exchange)

    def tell(self, error: PolysiteError, status: int, exchange: Exchange, headers: Headers) -> Reply:  # noqa: ARG002
        """An error that no handler told: in the envelope, whatever it is."""
        if isinstance(error, Unauthenticated | Forbidden):
            body = {"responseCode": 401, "responseMessage": f"Unauthorized Access - {error.message}"}
            return bare(body, status=401)._replace(headers=(*headers, *outcome_headers(error)))
        reply = bare({"status": FAILURE, "error": told(error)}, status=status)
        return reply._replace(headers=(*headers, *outcome_headers(error)))

    def _route(self, endpoint: Endpoint) -> Route:
        handler = _options if endpoint.name == "v2_options" else _carry_out(endpoint, self._tracing)
        return Route(
            method=endpoint.method,
            pattern=f"/MUSIC/rest/{endpoint.pattern}",
            name=endpoint.name,
            about="",
            handler=handler,
            open_to_all=endpoint.right is None,
            begins=endpoint.begins,
            changes=endpoint.changes,
            answers={},
        )


def _refused(text: str) -> PolysiteError:
    return BadRequest(text)


def _carry_out(
    endpoint: Endpoint, tracing: Sequence[Traced]
) -> Callable[[Service, Exchange], Awaitable[Reply | Stream]]:
    """The endpoint's handler as the application calls it."""
    of_lock = endpoint.pattern.removeprefix("v2/").startswith("locks")

    async def handler(service: Service, exchange: Exchange) -> Reply | Stream:
        call = Call(service, exchange, exchange.names)
        headers = _headers(call)
        try:
            if endpoint.traced and tracing:
                headers += check_tracing(exchange, tracing)
            if endpoint.right is not None:
                require(endpoint, exchange.principal, _keyspace_of(exchange.names, of_lock=of_lock))
            reply: Reply | Stream = await endpoint.handler(call)
        except Failure as failure:
            reply = failure.reply()
        except (HttpRefusal, Forbidden, Unauthenticated):
            raise
        except PolysiteError as error:
            reply = failure_of(error).reply()
        if isinstance(reply, Stream):
            return reply._replace(headers=(*reply.headers, *headers))
        status, body, round_trips, of_reply, media_type = reply
        return Reply(status, body, round_trips, (*of_reply, *headers), media_type)

    return handler


def _keyspace_of(names: tuple[str, ...], *, of_lock: bool) -> str:
    """The keyspace that the path names; of a lock, in its name or id."""
    named = names[0] if names else ""
    if of_lock:
        named = named.removeprefix("$").partition(".")[0]
    return named.lower()


def _headers(call: Call) -> Headers:
    """The version headers: what the request says of them is answered again."""
    latest, minor, patch = _version_headers(call.settings.version)
    said = call.exchange.headers
    if b"x-minorversion" in said:
        minor = (b"x-minorversion", echoed(said[b"x-minorversion"]))
    if b"x-patchversion" in said:
        patch = (b"x-patchversion", echoed(said[b"x-patchversion"]))
    return latest, minor, patch


@cache
def _version_headers(version: str) -> Headers:
    _, minor, patch = version.split(".")
    return (
        (b"x-latestversion", version.encode()),
        (b"x-minorversion", minor.encode()),
        (b"x-patchversion", patch.encode()),
    )


def _check_content_type(exchange: Exchange) -> None:
    content_type = exchange.headers.get(b"content-type")
    if content_type is not None and content_type.partition(b";")[0].strip().lower() != b"application/json":
        raise HttpRefusal(400, _refused("HTTP 415 Unsupported Media Type"))


def _check_accept(exchange: Exchange) -> None:
    accept = exchange.headers.get(b"accept")
    if accept is None:
        return
    for part in accept.split(b","):
        if part.partition(b";")[0].strip().lower() in {b"", b"*/*", b"application/*", b"application/json"}:
            return
    raise HttpRefusal(400, _refused("HTTP 406 Not Acceptable"))


async def _options(service: Service, exchange: Exchange) -> Reply:  # noqa: ARG001
    return Reply(200, b"", headers=((b"allow", exchange.names[0].encode()),))


async def _not_found(call: Call) -> Reply:  # noqa: ARG001
    raise Failure("HTTP 404 Not Found")
