"""Long legal histories, as a run of many clients would write them."""

import random

from polysite.testing.history import Call, History, ReferenceMark


def legal_history(operations: int, *, keys: int = 1, seed: int = 0) -> History:
    """So many operations under locks on so many keys: tenures of a few reads and writes each, some of the writes without an answer,
    some that happened and some that did not; sections, peeks, releases, looks at the queue."""
    made: list[Call] = []
    for key in range(keys):
        made += _of_key(operations // keys, f"k{key}", random.Random(f"{seed}/{key}"))
    return History(made)


def _of_key(operations: int, key: str, chance: random.Random) -> list[Call]:
    calls: list[Call] = []
    held: str | None = None
    now_s, ticket = 0.0, 0

    def call(verb: str, under: int | None = None, outcome: str = "done", **told: object) -> None:
        nonlocal now_s
        now_s += 0.01
        marks = () if under is None else (ReferenceMark("ks", "locked", (key,), under),)
        named = {"site": "s", "process": "p", "client": "c", "key": ["locked", key], "references": marks}
        calls.append(
            Call(
                call_id=f"{key}-{len(calls)}",
                verb=verb,
                start_s=now_s,
                end_s=now_s + 0.005,
                outcome=outcome,  # type: ignore[arg-type]
                **named,  # type: ignore[arg-type]
                **told,  # type: ignore[arg-type]
            )
        )

    while len(calls) < operations:
        ticket += 1
        if chance.random() < 0.1:
            value = f"s{len(calls)}"
            if chance.random() < 0.2:
                call("section", outcome="unknown", argument=_puts(value))
                held = value if chance.random() < 0.5 else held
            else:
                call("section", argument=_puts(value), value={"row": _row(held), "ticket": ticket})
                held = value
            continue
        call("acquire", ticket, argument={"kind": "exclusive"})
        for _ in range(chance.randrange(6)):
            drawn = chance.random()
            if drawn < 0.5:
                call("read", ticket, argument={"row": ""}, value=_row(held))
            elif drawn < 0.6:
                call("peek", argument={"row": ""}, value=_row(held))
            else:
                value = f"v{len(calls)}"
                outcome = "unknown" if drawn > 0.95 else "done"
                call("write", ticket, outcome, argument=_puts(value))
                if outcome == "done" or chance.random() < 0.5:
                    held = value
                if outcome == "unknown":
                    call("read", ticket, argument={"row": ""}, value=_row(held))
        call("release", ticket)
        if chance.random() < 0.2:
            call("queue", value=[ticket + 1])
    return calls


def _row(held: str | None) -> dict[str, str] | None:
    return None if held is None else {"value": held}


def _puts(value: str) -> dict[str, object]:
    return {"row": "", "writes": [["put", "", _row(value)]]}
