"""From a path of this interface to its handler."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias
from urllib.parse import unquote_to_bytes

from polysite.server.auth import Right
from polysite.server.exchange import Reply, Stream
from polysite.server.v2.call import Call
from polysite.server.v2.envelope import Failure

Handler = Callable[[Call], Awaitable[Reply | Stream]]
PREFIX = "/MUSIC/rest/"
PREFIX_BYTES = PREFIX.encode()
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ANY_VERSION = re.compile(r"v[0-9]+")


class Endpoint(NamedTuple):
    """One method on one path. `keyspace_at`: which variable part names the keyspace (0 or None); `right`: what it takes there.
    `takes_json`: a body of another type is refused. `traced`: tracing headers may be required."""

    name: str
    method: str
    pattern: str
    handler: Handler
    right: Right | None = None
    takes_json: bool = False
    traced: bool = False
    begins: bool = False
    changes: bool = False


class Matched(NamedTuple):
    """The methods of a path, and its variable parts."""

    methods: Mapping[str, Endpoint]
    names: tuple[str, ...]


def decode_path(raw_path: bytes) -> list[str]:
    """The segments of a path, decoded, without a last empty one. Failure if the encoding is broken."""
    if _BAD_ESCAPE.search(raw_path):
        raise Failure("the path has a % that two hexadecimal digits do not follow")
    try:
        if b"%" not in raw_path:
            segments = raw_path.decode().split("/")
        else:
            segments = [unquote_to_bytes(part).decode() for part in raw_path.split(b"/")]
    except UnicodeDecodeError:
        raise Failure("the path is not UTF-8") from None
    return segments[:-1] if len(segments) > 1 and not segments[-1] else segments


class Paths:
    """All endpoints. A part `{name}` takes one segment; `{name...}` all up to the next literal part, slashes and all, so that
    a name with a slash in it is refused for what it is; `v{n}` any version. Longer patterns win over shorter ones."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        by_pattern: dict[str, dict[str, Endpoint]] = {}
        for endpoint in endpoints:
            methods = by_pattern.setdefault(endpoint.pattern, {})
            assert endpoint.method not in methods, f"{endpoint.method} {endpoint.pattern} is there twice"
            methods[endpoint.method] = endpoint
        patterns = [(pattern.split("/"), methods) for pattern, methods in by_pattern.items()]
        patterns.sort(key=lambda item: (-len(item[0]), sum(part.startswith("{") for part in item[0])))
        self._by_start: dict[tuple[str, ...], list[_Pattern]] = {}
        for parts, methods in patterns:
            literal = next((place for place, part in enumerate(parts) if "{" in part), len(parts))
            self._by_start.setdefault(tuple(parts[: min(literal, _START)]), []).append((parts, methods))
        self._known: dict[bytes, Matched] = {}

    def find(self, raw_path: bytes) -> Matched | None:
        """What stands at a path below the prefix; None: nothing."""
        known = self._known.get(raw_path)
        if known is not None:
            return known
        segments = decode_path(raw_path[len(PREFIX_BYTES) :])
        # First as if no name had a slash in it: there are keyspaces called tables, and tables called rows.
        for slashes in (False, True):
            for length in range(_START, -1, -1):
                for parts, methods in self._by_start.get(tuple(segments[:length]), ()):
                    names = _match(parts, segments, slashes=slashes)
                    if names is not None:
                        return self._remembered(raw_path, Matched(methods, names))
        return None

    def _remembered(self, raw_path: bytes, matched: Matched) -> Matched:
        if raw_path.startswith(_DATA) and len(raw_path) <= _KNOWN_BYTES_MAX:
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            self._known[raw_path] = matched
        return matched


_Pattern: TypeAlias = "tuple[list[str], dict[str, Endpoint]]"
_START = 3
"""Patterns are found by the literal parts that they begin with, so many at most; the more of them the earlier."""

_DATA = PREFIX_BYTES + b"v2/keyspaces/"
_KNOWN_MAX, _KNOWN_BYTES_MAX = 1_024, 256
"""Paths of rows name a table, and are the same again and again; so many are remembered. Those of locks name a lock."""


def _match(parts: list[str], segments: list[str], *, slashes: bool) -> tuple[str, ...] | None:
    if not slashes and len(parts) != len(segments):
        return None
    names: list[str] = []
    at = 0
    for place, part in enumerate(parts):
        if slashes and part.endswith("...}"):
            following = parts[place + 1] if place + 1 < len(parts) else None
            if following is None:
                names.append("/".join(segments[at:]))
                return tuple(names)
            try:
                end = segments.index(following, at)
            except ValueError:
                return None
            names.append("/".join(segments[at:end]))
            at = end
            continue
        if at >= len(segments):
            return None
        if part == "v{n}":
            if not _ANY_VERSION.fullmatch(segments[at]):
                return None
        elif part.startswith("{"):
            names.append(segments[at])
        elif part != segments[at]:
            return None
        at += 1
    return tuple(names) if at == len(segments) else None
