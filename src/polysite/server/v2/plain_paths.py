"""The paths of the oldest servers (att-music): no version, no envelope. The same handlers answer, in those servers' plain forms."""

from collections.abc import Callable

import msgspec

from polysite.errors import Forbidden, PolysiteError, Unauthenticated
from polysite.server.exchange import Reply, Stream
from polysite.server.v2.call import Call
from polysite.server.v2.envelope import Failure, failure_of
from polysite.server.v2.paths import Endpoint, Handler

TEXT = b"text/plain; charset=utf-8"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_EXISTS = "Already Exists Exception"

Form = Callable[[Reply], Reply]


def plain_endpoints(endpoints: list[Endpoint]) -> list[Endpoint]:
    """The endpoints of the plain paths, made from those with a version."""
    found = []
    for endpoint in endpoints:
        form = _FORMS.get(endpoint.name)
        if form is not None:
            pattern = endpoint.pattern.removeprefix("v2/").removeprefix("v{n}/")
            name = endpoint.name.replace("v2_", "v1_", 1)
            found.append(endpoint._replace(name=name, pattern=pattern, handler=_in_form(endpoint, form)))
    return found


def _in_form(endpoint: Endpoint, form: Form) -> Handler:
    async def handler(call: Call) -> Reply | Stream:
        call.enveloped = False
        try:
            reply = await endpoint.handler(call)
            return form(reply) if isinstance(reply, Reply) else reply
        except (Forbidden, Unauthenticated):
            raise
        except Failure as failure:
            return _refused(endpoint, failure)
        except PolysiteError as error:
            return _refused(endpoint, failure_of(error))

    return handler


def _refused(endpoint: Endpoint, failure: Failure) -> Reply:
    """A failure in the form of its kind of operation. Making what is there already is no failure here."""
    reply = failure.reply()
    told = _decode(reply.body)
    reason = told.get("error") or told.get("message") or ""
    if reason.startswith(_EXISTS):
        return _empty(reply)
    if endpoint.name == "v2_acquire" and not failure.cause:
        return _text(reply, "false", status=200)
    if endpoint.name in {"v2_enquire", "v2_lock_state"}:
        return reply
    return _text(reply, f"FAILURE | {reason}", status=200 if endpoint.name in {"v2_update", "v2_delete"} else 400)


def _text(reply: Reply, text: str, *, status: int | None = None) -> Reply:
    return Reply(status or reply.status, text.encode(), reply.round_trips, reply.headers, TEXT)


def _empty(reply: Reply) -> Reply:
    return Reply(204, b"", reply.round_trips, reply.headers, TEXT)


def _message(reply: Reply) -> Reply:
    return _text(reply, f"SUCCESS | {_decode(reply.body).get('message', '')}")


def _rows(reply: Reply) -> Reply:
    return reply._replace(body=_encode(_decode(reply.body).get("result", {})))


def _lock_id(reply: Reply) -> Reply:
    return _text(reply, _decode(reply.body)["lock"]["lock"])


def _true(reply: Reply) -> Reply:
    return _text(reply, "true")


def _enquired(reply: Reply) -> Reply:
    return reply._replace(body=_encode({"error": "", **_decode(reply.body)}))


def _version(reply: Reply) -> Reply:
    return _text(reply, _decode(reply.body)["version"])


def _same(reply: Reply) -> Reply:
    return reply


_FORMS: dict[str, Form] = {
    "v2_create_keyspace": _empty,
    "v2_drop_keyspace": _empty,
    "v2_create_table": _empty,
    "v2_drop_table": _empty,
    "v2_create_index": _empty,
    "v2_insert": _empty,
    "v2_update": _message,
    "v2_delete": _message,
    "v2_select": _rows,
    "v2_critical_get": _rows,
    "v2_create_lock": _lock_id,
    "v2_acquire": _true,
    "v2_acquire_with_lease": _true,
    "v2_enquire": _enquired,
    "v2_release": _empty,
    "v2_delete_lock": _empty,
    "v2_version": _version,
    "v2_test": _same,
}
