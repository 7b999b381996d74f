"""What an import says of each row when the site does not answer as it should.

Method: records are sent through the real client to a script; the tally is what the command tells and ends with.
"""

import pytest

from polysite.cli import exits
from polysite.cli.importing import Record, Sender, Tally
from polysite.client import AsyncFunctionTransport, connect, table_spec
from polysite.client.pacing import AsyncPace
from polysite.errors import BadRequest, Overloaded
from polysite.testing.loop import run, simulated_runtime
from tests.support.scripted import UNANSWERED, UNSENT, ScriptedSite, Step, answer, refusal

SPEC = table_spec("voting", "votes", {"name": "text", "count": "int", "total": "decimal"}, partition_key="name")
DONE = answer({"stamp": 1})


def sent(site: ScriptedSite, *passes: list[Record]) -> Tally:
    """What became of the records, sent pass by pass as the command does."""
    tally = Tally()

    async def main() -> None:
        transport = AsyncFunctionTransport(site.answer_async)
        async with connect("", transport=transport, retries=0, pace=AsyncPace(simulated_runtime(1))) as client:
            sender = Sender(client.table("voting", "votes"), SPEC, "run", None, tally)
            for records in passes:
                sender.is_away = False
                for record in records:
                    await sender.put(record)

    run(main, seed=1)
    return tally


def rows(*names: str) -> list[Record]:
    return [Record(number, {"name": name, "count": number}) for number, name in enumerate(names, start=1)]


@pytest.mark.parametrize(
    ("step", "fate", "code"),
    [
        (refusal(BadRequest()), "refused", exits.REFUSED),
        (refusal(Overloaded(), status=503), "refused", exits.TRY_AGAIN),
        (UNSENT, "refused", exits.TRY_AGAIN),
        (UNANSWERED, "unknown", exits.UNKNOWN),
    ],
)
def test_each_row_has_its_fate(step: Step, fate: str, code: int) -> None:
    """One row fails, the others do not suffer from it, and the exit code tells the worst."""
    tally = sent(ScriptedSite(DONE, step), rows("a", "b"))
    assert tally.done == [1]
    assert [(number, failure.fate) for number, failure in tally.failures.items()] == [(2, fate)]
    assert tally.code == code
    assert sent(ScriptedSite(DONE), rows("a")).code == exits.DONE


@pytest.mark.parametrize("step", [UNSENT, UNANSWERED])
def test_a_site_that_does_not_answer_is_left_alone(step: Step) -> None:
    """The rows behind are not sent one by one into the void; they can be tried again later."""
    site = ScriptedSite(DONE, step)
    tally = sent(site, rows("a", "b", "c", "d"))
    assert len(site.asked) == 2
    assert [record.number for record in tally.again] == [2, 3, 4]
    assert {number for number, failure in tally.failures.items() if failure.code == "site_unreachable"} >= {3, 4}


def test_a_later_refusal_takes_no_doubt_away() -> None:
    """The first sending may have happened, whatever the second is told; only `done` settles it. The key is the same."""
    (record,) = rows("a")
    site = ScriptedSite(UNANSWERED, refusal(BadRequest()))
    assert sent(site, [record], [record]).failures[1].fate == "unknown"
    assert len({request.headers["idempotency-key"] for request in site.asked}) == 1
    tally = sent(ScriptedSite(UNANSWERED, DONE), [record], [record])
    assert (tally.done, tally.failures) == ([1], {})


def test_flawed_rows_are_not_sent() -> None:
    """A row that cannot be read, lacks its key or has a value of the wrong type is refused here."""
    site = ScriptedSite()
    flawed = [Record(1, {}, "broken"), Record(2, {"count": 1}), Record(3, {"name": "c", "count": "x"})]
    tally = sent(site, flawed)
    assert [failure.fate for failure in tally.failures.values()] == ["refused"] * 3
    assert (tally.again, site.asked) == ([], [])
