"""Where the sites are and how far apart.

Method: plan topologies by plain calls and look at the numbers; whatever cannot be planned is refused with what would be right.
"""

import ipaddress

import pytest

from polysite.errors import BadRequest
from polysite.lab.topology import PROFILES, SITES_DEFAULT, draw_network, plan


def test_uniform_distances() -> None:
    """Goal: a packet takes half a round trip each way, and none to its own site. Method: all pairs of three sites."""
    topology = plan(lab="a", rtt_ms=50)
    assert topology.names == SITES_DEFAULT
    assert topology.delays_s() == [[0, 0.025, 0.025], [0.025, 0, 0.025], [0.025, 0.025, 0]]
    assert topology.delay_s("ams", "irv") == 0.025


def test_a_profile_is_symmetric_and_by_name() -> None:
    """Goal: the cities' distances do not depend on the order in which sites are named. Method: another order, two of three."""
    topology = plan(lab="a", sites=("irv", "ams"), profile="beijing-amsterdam-irvine")
    assert topology.delays_s() == [[0, 0.075], [0.075, 0]]
    whole = plan(lab="a", profile="beijing-amsterdam-irvine")
    assert whole.delay_s("bei", "ams") == 0.1
    assert whole.delay_s("irv", "bei") == 0.09
    for table in PROFILES.values():
        assert all(len(pair) == 2 for pair in table)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"sites": ("ams", "ams")}, "its own name"),
        ({"sites": ("Amsterdam",)}, "lower-case"),
        ({"sites": ()}, "one to 9"),
        ({"sites": tuple(f"s{i}" for i in range(10))}, "one to 9"),
        ({"rtt_ms": -1.0}, "0 to 10000 ms"),
        ({"profile": "moon"}, "beijing-amsterdam-irvine"),
        ({"profile": "beijing-amsterdam-irvine", "rtt_ms": 5.0}, "either"),
        ({"profile": "beijing-amsterdam-irvine", "sites": ("ams", "nyc")}, "ams and nyc"),
    ],
)
def test_what_cannot_be_planned_is_refused(asked: dict[str, object], said: str) -> None:
    """Goal: a wrong wish is told with what would be right, before anything is started."""
    with pytest.raises(BadRequest, match=said):
        plan(lab="a", **asked)  # type: ignore[arg-type]


def test_addresses_are_the_labs_own() -> None:
    """Goal: two labs draw different networks, one lab always the same; sites are numbered from 1. Method: names that differ."""
    assert plan(lab="a").address("bei") == str(draw_network("a", loopback=False)[2])
    assert draw_network("a", loopback=False) != draw_network("b", loopback=False)
    assert draw_network("a", loopback=False).subnet_of(ipaddress.IPv4Network("10.0.0.0/8"))
    assert draw_network("a", loopback=True).is_loopback
    assert plan(lab="a", loopback=True).delays_s()[0] == [0, 0, 0]
    with pytest.raises(BadRequest, match="ams, bei, irv"):
        plan(lab="a").address("nyc")
