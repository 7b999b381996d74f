"""What the cassandra-driver adapter does without a server: its bounds, a driver that fails, a port that is closed, raw answers."""

import asyncio
import struct
from typing import Any

import pytest

from polysite.engines.cassandra import NOTHING, Conditional, Consistency, Page, Statement
from polysite.engines.cassandra.answers import applied_of
from polysite.engines.cassandra.bridge import Bridge
from polysite.engines.cassandra.driver import CassandraDriverPort
from polysite.engines.cassandra.raw_results import read_rows
from polysite.engines.cassandra.settings import cassandra_settings_from
from polysite.errors import OutcomeUnknown, Overloaded, Unavailable

pytestmark = pytest.mark.anyio

GET = Statement("SELECT v FROM k.t")


def port_on(session: Any, **others: Any) -> tuple[CassandraDriverPort, Bridge[Any]]:
    """A port as if it were connected, on whatever stands for a session."""
    port = CassandraDriverPort(
        cassandra_settings_from({"contact_points": ["10.0.0.1"], "data_center": "ams", **others})
    )
    bridge: Bridge[Any] = Bridge(asyncio.get_running_loop())
    port._session, port._bridge = session, bridge
    return port, bridge


async def test_a_driver_that_fails_while_it_sends() -> None:
    """Its error is judged as any other, unknown where something may have gone out, and nothing stays counted as under way."""
    port, bridge = port_on(object())  # no session at all: the driver trips over it
    with pytest.raises(OutcomeUnknown) as unknown:
        await port.define("CREATE TABLE k.t (k int PRIMARY KEY)")
    assert unknown.value.reason == "unclear"
    with pytest.raises(Unavailable):
        await port.read(GET, consistency=Consistency.ONE)
    assert len(bridge) == 0


async def test_more_than_may_be_under_way() -> None:
    """At the bound a request is refused before it is sent, until an answer makes room."""
    port, bridge = port_on(object(), requests_max=1)
    under_way = bridge.expect()
    with pytest.raises(Overloaded):
        await port.read(GET, consistency=Consistency.ONE)
    bridge.answered(None, under_way)
    await under_way
    with pytest.raises(Unavailable):
        await port.read(GET, consistency=Consistency.ONE)


async def test_a_port_that_is_not_connected() -> None:
    """Before `connect` and after `close` nothing is sent, and both may be called whenever."""
    port = CassandraDriverPort(cassandra_settings_from({"contact_points": ["10.0.0.1"], "data_center": "ams"}))
    for _ in range(2):
        with pytest.raises(Unavailable, match="closed"):
            await port.write(GET, consistency=Consistency.ONE)
        await port.close()


def test_rows_as_they_came() -> None:
    """Empty is not null, and every value is its own bytes; no rows are none."""
    value = struct.pack(">i", 3) + b"abc"
    body = struct.pack(">i", 2) + value + struct.pack(">i", 0) + struct.pack(">i", -1) + value
    assert read_rows(body, 2) == [[b"abc", b""], [None, b"abc"]]
    assert read_rows(struct.pack(">i", 0), 2) == []


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (None, Conditional(True)),
        (Page(["[applied]"], [[b"\1"]]), Conditional(True)),
        (Page(["[applied]"], [[b"\0"]]), Conditional(False, NOTHING)),
        (Page(["[applied]", "v"], [[b"\0", b"x"]]), Conditional(False, Page(["v"], [[b"x"]]))),
        (Page(["k", "[applied]", "v"], [[b"k", b"\0", b"x"]]), Conditional(False, Page(["k", "v"], [[b"k", b"x"]]))),
        (
            Page(["[applied]", "v"], [[b"\0", b"x"], [b"\0", None]]),
            Conditional(False, Page(["v"], [[b"x"], [None]])),
        ),
    ],
)
def test_what_a_conditional_answer_says(page: Page | None, expected: Conditional) -> None:
    """`[applied]` decides and is taken out, wherever it stands; None was agreed, as its failure proved."""
    assert applied_of(page) == expected
