"""Bodies as this interface takes them: any unknown member is ignored, scalars of another kind are converted."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from polysite.errors import BadRequest
from polysite.server.v2.envelope import INCOMPLETE, Failure
from polysite.server.v2.java_text import java_text

NESTED_MAX = 64
"""Objects and arrays within each other. Values of tables are nested less; texts that hold JSON are not looked into."""

_WHOLE = re.compile(r"\s*[+-]?[0-9]{1,19}\s*", re.ASCII)
_decode = msgspec.json.Decoder().decode


class Body:
    """A JSON object; a member that is null is not there."""

    def __init__(self, members: Mapping[str, Any]) -> None:
        self._members = members

    def __contains__(self, name: str) -> bool:
        return self._members.get(name) is not None

    def raw(self, name: str) -> Any:
        """The member as it came, None without it."""
        return self._members.get(name)

    def text(self, name: str) -> str | None:
        """A text; numbers and booleans are converted."""
        value = self._members.get(name)
        if value is None:
            return None
        if isinstance(value, dict | list):
            raise BadRequest(f"{name} is a text, not an {'object' if isinstance(value, dict) else 'array'}")
        return java_text(value)

    def mapping(self, name: str) -> dict[str, Any] | None:
        """An object."""
        value = self._members.get(name)
        if value is not None and not isinstance(value, dict):
            raise BadRequest(f"{name} is an object")
        return value

    def texts(self, name: str) -> list[str] | None:
        """An array of texts."""
        value = self._members.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or any(isinstance(item, dict | list) or item is None for item in value):
            raise BadRequest(f"{name} is an array of texts")
        return [java_text(item) for item in value]

    def whole_number(self, name: str) -> int | None:
        """A whole number; a fraction is cut off, a text of digits is taken."""
        value = self._members.get(name)
        if value is None:
            return None
        if isinstance(value, float) and abs(value) < 2**63:
            return int(value)
        if isinstance(value, str) and _WHOLE.fullmatch(value):
            return int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise BadRequest(f"{name} is a whole number")


def parse_body(raw: bytes) -> Body | None:
    """The body; None if there is none, or it is null. BadRequest if it is no JSON object."""
    if not raw.strip():
        return None
    try:
        value = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequest("the body is not JSON in UTF-8") from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None
    if value is None:
        return None
    if not isinstance(value, dict):
        raise BadRequest("the body is a JSON object")
    if raw.count(b"{") + raw.count(b"[") > NESTED_MAX:
        _check_nesting(value)
    return Body(value)


def _check_nesting(value: Any) -> None:
    """BadRequest if the value is nested too deeply to be written as a text."""
    level: list[Any] = [value]
    for _ in range(NESTED_MAX):
        level = [inner for outer in level for inner in _within(outer) if isinstance(inner, dict | list)]
        if not level:
            return
    raise BadRequest(f"the body is nested too deeply: more than {NESTED_MAX} objects and arrays within each other")


def _within(outer: Any) -> Iterable[Any]:
    return outer.values() if isinstance(outer, dict) else outer


def needed(body: Body | None, *, more: str = "") -> Body:
    """The body, which must be there."""
    if body is None:
        raise Failure(INCOMPLETE + more)
    return body
