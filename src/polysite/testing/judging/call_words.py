"""A call in a few words, for a picture of a history: what was asked, and what came of it."""

from collections.abc import Iterable
from typing import Any

import msgspec

from polysite.testing.history import Call

UNKNOWN = "?"
"""Marks what may have happened, or may yet."""


def asked(call: Call) -> str:
    """What was asked: `write #7 r1 {a: x}`."""
    return " ".join(filter(None, (call.verb, _ticket(call), _argument(call))))


def answered(call: Call) -> str:
    """What came of it: `done {a: x}`, `refused lock_lost`, `? unknown`."""
    if not call.ended:
        return f"{UNKNOWN} never answered"
    if call.outcome != "done":
        mark = f"{UNKNOWN} " if call.outcome == "unknown" else ""
        return f"{mark}{call.outcome} {call.code or ''}".strip()
    granted = f"#{call.references[0].ticket}" if call.verb == "acquire" and call.references else ""
    return " ".join(filter(None, ("done", granted, _value(call))))


def _ticket(call: Call) -> str:
    """The ticket that a call was made under; an acquire has it only in the end."""
    return f"#{call.references[0].ticket}" if call.references and call.verb != "acquire" else ""


def _argument(call: Call) -> str:
    argument = call.argument
    match argument:
        case None:
            return ""
        case {"writes": writes}:
            return ", ".join(_write(write) for write in writes) or "nothing"
        case {"low": low, "high": high}:
            return _between(low, high)
        case {"row": row, **more} if not more:
            return str(row)
        case {"kind": kind} if call.verb == "acquire":
            return "" if kind == "exclusive" else str(kind)
        case {"value": value, **more} if not more:
            return _plain(value)
    return _plain(argument)


def _write(write: Any) -> str:
    match write:
        case ["put", row, columns]:
            return f"{row} {_plain(columns)}".strip()
        case ["delete", row]:
            return f"delete {row or 'the row'}"
        case ["range", low, high]:
            return f"delete {_between(low, high)}"
    return _plain(write)


def _value(call: Call) -> str:
    value = call.value
    match value:
        case {"ticket": ticket, **told} if len(told) == 1:
            return f"#{ticket} had {_row(next(iter(told.values())))}"
        case {"read": row, **more} if not more:
            return _row(row)
        case [*rows] if call.verb == "range":
            return ", ".join(f"{row} {_row(columns)}" for row, columns in rows) or "no row"
    if value is None:
        return "no row" if call.verb in ("read", "get") else ""
    return _plain(value)


def _row(columns: Any) -> str:
    return "no row" if columns is None else _plain(columns)


def _between(low: Any, high: Any) -> str:
    if low is None and high is None:
        return "all rows"
    return f"{'' if low is None else low}..{'' if high is None else high}"


def _plain(value: Any) -> str:
    """JSON with little around it."""
    match value:
        case dict():
            return "{" + ", ".join(f"{name}: {_plain(member)}" for name, member in value.items()) + "}"
        case list():
            return "[" + _joined(_plain(member) for member in value) + "]"
        case str():
            return value or "''"
    return msgspec.json.encode(value).decode()


def _joined(texts: Iterable[str]) -> str:
    return ", ".join(texts)


__all__ = ["UNKNOWN", "answered", "asked"]
