"""Recorded exchanges of MUSIC 3.2.40, and how an answer is compared with a recorded one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parents[1] / "conformance"


class Recorded(NamedTuple):
    """One exchange. Those of one section build on each other, and sections on earlier ones."""

    name: str
    section: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes | None
    status: int
    answer: Any
    """The JSON of the answer; its text where it was none, None where it was empty."""


class Told(NamedTuple):
    """What a server answered, as far as it is compared."""

    status: int
    answer: Any


class Difference(NamedTuple):
    """An exchange that is answered differently, on purpose. `answer`: the whole answer; or `members`, some of its members."""

    name: str
    reason: str
    status: int
    answer: Any
    members: dict[str, Any] | None


def recorded() -> Iterator[Recorded]:
    """All exchanges in their order."""
    with (FOLDER / "exchanges.jsonl").open() as lines:
        for line in lines:
            one = json.loads(line)
            body = one["request_body"]
            yield Recorded(
                one["name"],
                one["section"],
                one["method"],
                one["path"],
                one["request_headers"],
                None if body is None else body.encode(),
                one["status"],
                parsed(one["body"]),
            )


def parsed(text: str) -> Any:
    """JSON, or the text itself; None for none."""
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def differences() -> dict[str, Difference]:
    """The table of differences, by exchange."""
    table = json.loads((FOLDER / "differences.json").read_text())
    found: dict[str, Difference] = {}
    for one in table["differences"]:
        assert one["reason"] in table["reasons"], f"{one['name']} is different for no reason"
        assert one["name"] not in found, f"{one['name']} is in the table twice"
        found[one["name"]] = Difference(
            one["name"], one["reason"], one["status"], one.get("answer"), one.get("members")
        )
    return found


def same(section: Recorded, told: Told) -> bool:
    """Whether an answer is the recorded one: status, members and values. Rows of a whole table have no order across partitions."""
    if told.status != section.status:
        return False
    return bool(_normal(section.answer) == _normal(told.answer))


def _normal(answer: Any) -> Any:
    if isinstance(answer, dict) and isinstance(answer.get("result"), dict):
        rows = sorted(json.dumps(row, sort_keys=True) for row in answer["result"].values())
        return {**answer, "result": rows}
    return answer
