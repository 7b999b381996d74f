"""Reads that are asked again."""

from collections.abc import Sequence
from typing import Any

import pytest

from polysite.engines.cassandra.asking import AskingPort
from polysite.engines.cassandra.outcomes import Failure, Kind, certain, judged
from polysite.engines.cassandra.port import NOTHING, Consistency, Page, Statement, Value
from polysite.errors import PolysiteError, QuorumUnavailable

FIND = Statement("SELECT v FROM t WHERE k = ?")


class FailingPort(AskingPort):
    """Fails its first reads as it is told, then answers."""

    driver = "none"

    def __init__(self, *kinds: Kind) -> None:
        self.failures = [certain(judged(Failure(kind), "read")) for kind in kinds]
        self.asked = 0

    async def read_once(self, statement: Statement, values: Sequence[Value] = (), **options: Any) -> Page:
        self.asked += 1
        assert (statement, values, options["page_rows"]) == (FIND, [b"k"], 7)
        if self.failures:
            raise self.failures.pop(0)
        return NOTHING

    connect = close = write = write_batch = write_if = define = transact = None  # type: ignore[assignment]


async def ask(port: FailingPort) -> Page | PolysiteError:
    try:
        return await port.read(FIND, [b"k"], consistency=Consistency.QUORUM, page_rows=7)
    except PolysiteError as error:
        return error


async def test_a_read_under_which_a_replica_died() -> None:
    """Goal: it is asked once more, for the other replicas live; never twice more. Method: it fails once, and twice."""
    once, twice = FailingPort("read_failure"), FailingPort("read_failure", "read_failure")
    assert (await ask(once), once.asked) == (NOTHING, 2)
    assert isinstance(await ask(twice), QuorumUnavailable)
    assert twice.asked == 2


@pytest.mark.parametrize("kind", ["read_timeout", "too_few_replicas", "client_timeout"])
async def test_what_took_its_time_is_not_asked_again(kind: Kind) -> None:
    """Goal: a call does not take twice its limit. Method: failures that are told late, or that would be the same again."""
    port = FailingPort(kind)
    assert isinstance(await ask(port), PolysiteError)
    assert port.asked == 1
