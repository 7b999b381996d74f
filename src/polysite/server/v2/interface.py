"""All endpoints, and how a request is led to one and its failures are told."""

from collections.abc import Awaitable, Callable
from functools import cache

from polysite.errors import BadRequest, Forbidden, PolysiteError, Unauthenticated
from polysite.server.exchange import Exchange, Headers, Reply
from polysite.server.problems import HttpRefusal
from polysite.server.routing import Route
from polysite.server.service import Service
from polysite.server.v2 import admin, conditional, keyspaces, locks, queues, rows, service_info, tables
from polysite.server.v2.call import Call
from polysite.server.v2.envelope import FAILURE, Failure, bare, failure_of, outcome_headers, told
from polysite.server.v2.paths import PREFIX_BYTES, Endpoint, Paths
from polysite.server.v2.swagger import describe

_KEYSPACE = "v2/keyspaces/{keyspace}"
_TABLE = "v2/keyspaces/{keyspace...}/tables/{table...}"
_ROWS = f"{_TABLE}/rows"
_QUEUES = ("v2/priorityq/keyspaces/{keyspace}/{queue}", "priorityq/keyspaces/{keyspace}/{queue}")
_CONDITIONAL = "v2/conditional/{}/keyspaces/{{keyspace}}/tables/{{table}}"


def _of_queues(pattern: str, prefix: str) -> list[Endpoint]:
    data = {"takes_json": True, "traced": True, "changes": True}
    rows_of = f"{pattern}/rows"
    return [
        Endpoint(f"{prefix}create_queue", "POST", pattern, queues.create, "admin", **data),
        Endpoint(f"{prefix}drop_queue", "DELETE", pattern, tables.drop, "admin", traced=True, changes=True),
        Endpoint(f"{prefix}enqueue", "POST", rows_of, queues.enqueue, "write", begins=True, **data),
        Endpoint(f"{prefix}update_queue", "PUT", rows_of, queues.update, "write", begins=True, **data),
        Endpoint(f"{prefix}remove_from_queue", "DELETE", rows_of, queues.remove, "write", begins=True, **data),
        Endpoint(f"{prefix}peek", "GET", f"{pattern}/peek", queues.peek, "read", traced=True),
        Endpoint(f"{prefix}filter", "GET", f"{pattern}/filter", queues.find, "read", traced=True),
    ]


def _of_locks() -> list[Endpoint]:
    at = "v2/locks"
    lock = {"right": "lock", "traced": True}
    return [
        Endpoint("v2_create_lock", "POST", f"{at}/create/{{name}}", locks.create, takes_json=True, begins=True, changes=True, **lock),
        Endpoint("v2_acquire", "GET", f"{at}/acquire/{{id}}", locks.acquire, **lock),
        Endpoint("v2_acquire_with_lease", "POST", f"{at}/acquire-with-lease/{{id}}", locks.acquire_with_lease, takes_json=True, **lock),
        Endpoint("v2_enquire", "GET", f"{at}/enquire/{{name}}", locks.enquire, "read", traced=True),
        Endpoint("v2_holders", "GET", f"{at}/holders/{{name}}", locks.holders, "read", traced=True),
        Endpoint("v2_lock_state", "GET", f"{at}/{{name}}", locks.enquire, "read", traced=True),
        Endpoint("v2_release", "DELETE", f"{at}/release/{{id}}", locks.release, changes=True, **lock),
        Endpoint("v2_delete_lock", "DELETE", f"{at}/delete/{{id}}", locks.delete, changes=True, **lock),
        Endpoint("v2_promote", "POST", f"{at}/promote/{{id}}", locks.promote, changes=True, **lock),
    ]  # fmt: skip


ENDPOINTS: list[Endpoint] = [
    Endpoint("v2_create_keyspace", "POST", _KEYSPACE, keyspaces.create, "admin", takes_json=True, traced=True, changes=True),
    Endpoint("v2_drop_keyspace", "DELETE", _KEYSPACE, keyspaces.drop, "admin", traced=True, changes=True),
    Endpoint("v2_create_table", "POST", _TABLE, tables.create, "admin", takes_json=True, traced=True, changes=True),
    Endpoint("v2_drop_table", "DELETE", _TABLE, tables.drop, "admin", traced=True, changes=True),
    Endpoint("v2_create_index", "POST", f"{_TABLE}/index/{{field...}}", tables.create_index, "admin", traced=True, changes=True),
    Endpoint("v2_insert", "POST", _ROWS, rows.insert, "write", takes_json=True, traced=True, begins=True, changes=True),
    Endpoint("v2_update", "PUT", _ROWS, rows.update, "write", takes_json=True, traced=True, changes=True),
    Endpoint("v2_delete", "DELETE", _ROWS, rows.delete, "write", takes_json=True, traced=True, changes=True),
    Endpoint("v2_select", "GET", _ROWS, rows.select, "read", takes_json=True, traced=True),
    Endpoint("v2_critical_get", "PUT", f"{_ROWS}/criticalget", rows.critical_get, "read", takes_json=True, traced=True),
    *_of_locks(),
    *_of_queues(_QUEUES[0], "v2_"),
    *_of_queues(_QUEUES[1], "v2_old_"),
    Endpoint("v2_conditional_insert", "POST", _CONDITIONAL.format("insert"), conditional.insert, "write", takes_json=True, begins=True, changes=True),
    Endpoint("v2_conditional_update", "PUT", _CONDITIONAL.format("update"), conditional.update, "write", takes_json=True, begins=True, changes=True),
    Endpoint("v2_version", "GET", "v{n}/version", service_info.version),
    Endpoint("v2_build", "GET", "v{n}/version/build", service_info.build),
    Endpoint("v2_test", "GET", "v{n}/test", service_info.test),
    Endpoint("v2_ping", "GET", "v2/service/pingCassandra/{level}", service_info.ping),
    Endpoint("v2_health", "GET", "v2/service/musicHealthCheck", service_info.health),
    Endpoint("v2_old_ping_rows", "GET", "v{n}/service/cs", service_info.old_ping),
    Endpoint("v2_old_ping_locks", "GET", "v{n}/service/zk", service_info.old_ping),
    Endpoint("v2_onboard", "POST", "v2/admin/onboardAppWithMusic", admin.onboard, takes_json=True),
    Endpoint("v2_search", "POST", "v2/admin/search", admin.search, takes_json=True),
]  # fmt: skip


async def _swagger(call: Call) -> Reply:
    return Reply(200, _described(call.settings.version))


@cache
def _described(version: str) -> bytes:
    return describe(ENDPOINTS, version)


ENDPOINTS.append(Endpoint("v2_swagger", "GET", "swagger.json", _swagger))


class V2Interface:
    """The paths below `/MUSIC/rest/`, for the application."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._paths = Paths(ENDPOINTS)
        self._routes = {endpoint.name: self._route(endpoint) for endpoint in ENDPOINTS}
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
            raise HttpRefusal(404, _refused("HTTP 404 Not Found"))
        exchange.names = matched.names
        method = exchange.method
        endpoint = matched.methods.get("GET" if method == "HEAD" else method)
        if endpoint is None:
            allow = (b"allow", ", ".join(sorted({*matched.methods, "OPTIONS"})).encode())
            if method == "OPTIONS":
                exchange.names = (allow[1].decode(),)
                return self._options
            raise HttpRefusal(405, _refused("HTTP 405 Method Not Allowed"), (allow,))
        if endpoint.takes_json:
            _check_content_type(exchange)
        _check_accept(exchange)
        return self._routes[endpoint.name]

    def identify(self, exchange: Exchange, route: Route) -> None:  # noqa: ARG002
        """Who asks. Unauthenticated, or Forbidden to a page of another origin."""
        exchange.principal = self._service.access.identify(exchange.headers)

    def tell(self, error: PolysiteError, status: int, exchange: Exchange, headers: Headers) -> Reply:  # noqa: ARG002
        """An error that no handler told: in the envelope, whatever it is."""
        if isinstance(error, Unauthenticated | Forbidden):
            body = {"responseCode": 401, "responseMessage": f"Unauthorized Access - {error.message}"}
            return bare(body, status=401)._replace(headers=(*headers, *outcome_headers(error)))
        reply = bare({"status": FAILURE, "error": told(error)}, status=status)
        return reply._replace(headers=(*headers, *outcome_headers(error)))

    def _route(self, endpoint: Endpoint) -> Route:
        handler = _options if endpoint.name == "v2_options" else _carry_out(endpoint)
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


def _carry_out(endpoint: Endpoint) -> Callable[[Service, Exchange], Awaitable[Reply]]:
    """The endpoint's handler as the application calls it."""

    async def handler(service: Service, exchange: Exchange) -> Reply:
        call = Call(service, exchange, exchange.names)
        headers = _headers(call)
        try:
            if endpoint.right is not None:
                exchange.principal.require(endpoint.right, _keyspace_of(endpoint, exchange.names))
            reply = await endpoint.handler(call)
        except Failure as failure:
            reply = failure.reply()
        except (HttpRefusal, Forbidden, Unauthenticated):
            raise
        except PolysiteError as error:
            reply = failure_of(error).reply()
        return reply._replace(headers=(*reply.headers, *headers))

    return handler


def _keyspace_of(endpoint: Endpoint, names: tuple[str, ...]) -> str:
    """The keyspace that the path names; of a lock, in its name or id."""
    named = names[0] if names else ""
    if endpoint.pattern.startswith("v2/locks"):
        named = named.removeprefix("$").partition(".")[0]
    return named.lower()


def _headers(call: Call) -> Headers:
    """The version headers: what the request says of them is answered again."""
    _, minor, patch = call.settings.version.split(".")
    said = call.exchange.headers
    return (
        (b"x-latestversion", call.settings.version.encode()),
        (b"x-minorversion", said.get(b"x-minorversion", minor.encode())),
        (b"x-patchversion", said.get(b"x-patchversion", patch.encode())),
    )


def _check_content_type(exchange: Exchange) -> None:
    content_type = exchange.headers.get(b"content-type")
    if content_type is not None and content_type.partition(b";")[0].strip().lower() != b"application/json":
        raise HttpRefusal(415, _refused("HTTP 415 Unsupported Media Type"))


def _check_accept(exchange: Exchange) -> None:
    accept = exchange.headers.get(b"accept")
    if accept is None:
        return
    for part in accept.split(b","):
        if part.partition(b";")[0].strip().lower() in {b"", b"*/*", b"application/*", b"application/json"}:
            return
    raise HttpRefusal(406, _refused("HTTP 406 Not Acceptable"))


async def _options(service: Service, exchange: Exchange) -> Reply:  # noqa: ARG001
    return Reply(200, b"", headers=((b"allow", exchange.names[0].encode()),))


async def _not_found(call: Call) -> Reply:  # noqa: ARG001
    raise Failure("HTTP 404 Not Found")
