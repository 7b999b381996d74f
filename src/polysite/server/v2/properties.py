"""`music.properties`, as MUSIC 3.x reads it: each property is turned into settings of ours, or has no effect for a reason that is told."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from polysite.errors import BadRequest

Members = dict[str, Any]
"""Dotted names of settings to values."""

_KEY_ENDS = re.compile(r"(?<!\\)(?:\\\\)*[=:\s]")
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_UNICODE_DIGITS = 4


class Told(NamedTuple):
    """What became of one property: the settings it became, or why it has no effect."""

    name: str
    settings: Members
    reason: str = ""


def _text(setting: str) -> Callable[[str], Members]:
    return lambda value: {setting: value}


def _number(setting: str) -> Callable[[str], Members]:
    def convert(value: str) -> Members:
        if not (value.isascii() and value.isdigit()):
            raise BadRequest("it is a whole number of 0 or more")
        return {setting: int(value)}

    return convert


def _flag(setting: str) -> Callable[[str], Members]:
    def convert(value: str) -> Members:
        if value.lower() not in {"true", "false"}:
            raise BadRequest("it is true or false")
        return {setting: value.lower() == "true"}

    return convert


def _hosts(value: str) -> Members:
    points = [point.strip() for point in value.split(",") if point.strip()]
    if not points:
        raise BadRequest("it names at least one address")
    return {"cassandra.contact_points": points, "store.engine": "cassandra"}


def _prefix(header: str) -> Callable[[str], Members]:
    # The code's default, read from the file, is the text "false".
    return lambda value: {f"v2.{header}.prefix": "" if value == "false" else value.removesuffix("-")}


MAPPED: Mapping[str, Callable[[str], Members]] = {
    "cassandra.host": _hosts,
    "cassandra.port": _number("cassandra.port"),
    "cassandra.connecttimeoutms": _number("cassandra.connect_ms"),
    "cassandra.readtimeoutms": _number("cassandra.request_ms"),
    "keyspace.active": _flag("v2.keyspace_active"),
    "lock.lease.period": _number("v2.atomic_lease_ms"),
    "music.aaf.ns": _text("v2.permission_type"),
    "version": _text("v2.version"),
    "server.port": _number("server.port"),
    "transId.header.required": _flag("v2.transaction_id.required"),
    "transId.header.prefix": _prefix("transaction_id"),
    "conversation.header.required": _flag("v2.conversation_id.required"),
    "conversation.header.prefix": _prefix("conversation_id"),
    "messageId.header.required": _flag("v2.message_id.required"),
    "messageId.header.prefix": _prefix("message_id"),
    "clientId.header.required": _flag("v2.client_id.required"),
    "clientId.header.prefix": _prefix("client_id"),
}
"""Properties that become settings."""

_CREDENTIALS = "credentials are no settings: put it into an environment variable and name that in cassandra."
_CLEANER = (
    "entries of dead clients are dropped when their lease is over, by whoever waits: there is no cleaner to be set up"
)
NO_EFFECT: Mapping[str, str] = {
    "cassandra.user": f"{_CREDENTIALS}user_variable",
    "cassandra.password": f"{_CREDENTIALS}password_variable",
    "cassandra.password.isencrypted": "passwords are not in files",
    "cipher.enc.key": "passwords are not in files, so none is encrypted there",
    "retry.count": "what was not answered is looked at and sent again by rule, as often as it takes within the time limit",
    "lock.daemon.sleeptime.ms": _CLEANER,
    "keyspaces.for.lock.cleanup": _CLEANER,
    "create.lock.wait.period.ms": "the original read it and did not use it",
    "create.lock.wait.increment.ms": "the original read it and did not use it",
    "cadi": "accounts are in [[auth.accounts]]; with one of them there every path that leads to data asks for credentials",
    "debug": "the original read it and did not use it; see telemetry.log_level",
    "build": "the build that is told is polysite's own",
    "music.properties": "it says where this file is",
    "lock.using": "see cells.engine",
    "my.id": "see site.name",
    "all.ids": "see site.peers",
    "my.public.ip": "see site.advertise",
    "public.ip": "see site.advertise",
    "all.public.ips": "see site.peers",
    "music.ip": "see server.host",
    "music.rest.ip": "see server.host",
    "zookeeper.host": "see zookeeper.servers",
    "aaf.endpoint.url": "accounts are in [[auth.accounts]]; no other service is asked",
    "server.servlet.context-path": "it is /MUSIC/rest",
    "security.require-ssl": "see server.tls_certificate",
}
"""Properties that are known and have no effect, and why."""


def read_properties(path: Path) -> list[Told]:
    """What became of each property of a file, in its order. BadRequest names a property whose value does not do, never the value."""
    try:
        text = path.read_bytes().decode("latin-1")
    except OSError as error:
        raise BadRequest(f"settings: the property file cannot be read: {error.strerror}") from None
    told: list[Told] = []
    for name, value in parse_properties(text).items():
        convert = MAPPED.get(name)
        if convert is not None:
            try:
                told.append(Told(name, convert(value)))
            except BadRequest as error:
                raise BadRequest(f"settings: {name} in the property file: {error.message}") from None
        elif name.startswith("server.ssl."):
            told.append(Told(name, {}, "see server.tls_certificate and server.tls_key, which are in PEM"))
        else:
            told.append(Told(name, {}, NO_EFFECT.get(name, "it is no property of MUSIC")))
    return told


def parse_properties(text: str) -> dict[str, str]:
    """Names and values of a Java property file; of a name that is there twice the last counts."""
    found: dict[str, str] = {}
    for line in _logical_lines(text):
        ends = _KEY_ENDS.search(line)
        if ends is None:
            found[_unescaped(line)] = ""
            continue
        at = ends.end() - 1
        rest = line[at:].lstrip(" \t\f")
        if rest[:1] in {"=", ":"}:
            rest = rest[1:].lstrip(" \t\f")
        found[_unescaped(line[:at])] = _unescaped(rest).strip()
    return found


def _logical_lines(text: str) -> list[str]:
    """Lines without comments and blanks; one that ends with a backslash goes on in the next."""
    lines: list[str] = []
    begun = ""
    for line in re.split(r"\r\n|\r|\n", text):
        stripped = line.lstrip(" \t\f")
        if not begun and (not stripped or stripped[0] in "#!"):
            continue
        begun += stripped
        if (len(begun) - len(begun.rstrip("\\"))) % 2:
            begun = begun[:-1]
            continue
        lines.append(begun)
        begun = ""
    return [*lines, *([begun] if begun else [])]


def _unescaped(text: str) -> str:
    out: list[str] = []
    at = 0
    while at < len(text):
        sign = text[at]
        if sign != "\\" or at + 1 == len(text):
            out.append(sign)
            at += 1
            continue
        escape = text[at + 1]
        digits = text[at + 2 : at + 2 + _UNICODE_DIGITS]
        if escape == "u" and re.fullmatch(r"[0-9A-Fa-f]{4}", digits):
            out.append(chr(int(digits, 16)))
            at += 2 + _UNICODE_DIGITS
            continue
        out.append(_ESCAPES.get(escape, escape))
        at += 2
    return "".join(out)
