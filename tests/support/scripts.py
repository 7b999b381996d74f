"""Histories written by hand: calls on one key, one after the other, in the words of `polysite.testing.judging.sequential`."""

import itertools
from typing import Any

from polysite.testing.history import Call, History, ReferenceMark

FULL = {"a": "1", "b": "1"}


class Script:
    """Calls one after the other, each half a second."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._at = itertools.count(1)

    def call(self, verb: str, ticket: int | None = None, **told: Any) -> "Script":
        at = float(next(self._at))
        marks = () if ticket is None else (ReferenceMark("ks", "t", ("YQ==",), ticket),)
        told = {"outcome": "done", "start_s": at, "end_s": at + 0.5, "site": "s", "key": ["t"], **told}
        self.calls.append(Call(call_id=f"c{at:g}", process="p", client="c", verb=verb, references=marks, **told))
        return self

    def acquire(self, ticket: int, **told: Any) -> "Script":
        return self.call("acquire", ticket, argument={"kind": "exclusive"}, **told)

    def put(self, ticket: int, columns: dict[str, Any], *, row: str = "", **told: Any) -> "Script":
        return self.write(ticket, ["put", row, columns], **told)

    def write(self, ticket: int, *writes: list[Any], **told: Any) -> "Script":
        return self.call("write", ticket, argument={"writes": list(writes)}, **told)

    def read(self, ticket: int, value: Any, *, row: str = "", **told: Any) -> "Script":
        return self.call("read", ticket, argument={"row": row}, value=value, **told)

    def range(self, ticket: int, value: list[Any], low: str | None = None, high: str | None = None) -> "Script":
        return self.call("range", ticket, argument={"low": low, "high": high}, value=value)

    def section(self, ticket: int | None, columns: dict[str, Any], read: Any = None, **told: Any) -> "Script":
        value = {"row": read, "ticket": ticket}
        if ticket is None:
            told, value = {"outcome": "unknown", **told}, None  # type: ignore[assignment]
        return self.call("section", argument={"row": "", "writes": [["put", "", columns]]}, value=value, **told)

    def promote(self, ticket: int) -> "Script":
        return self.call("promote", ticket)

    @property
    def history(self) -> History:
        return History(self.calls)


def locked(*tickets: int) -> Script:
    """A script that begins with these acquires."""
    script = Script()
    for ticket in tickets:
        script.acquire(ticket)
    return script
