"""What runs at a site, as it would be started.

Method: services of plans, looked at as data; settings files are read back by the code that will read them.
"""

from pathlib import Path

import pytest

from polysite.engines.cassandra.settings import checked
from polysite.errors import BadRequest
from polysite.lab.engines import Installation
from polysite.lab.engines.tools import Java
from polysite.lab.services.planning import engines_of, services_of
from polysite.lab.services.polysite import settings_text
from polysite.lab.services.service import CommandProbe, Service
from polysite.lab.state import LabFolder, Plan
from polysite.lab.topology import plan as plan_topology
from polysite.server.settings import check_exposure, load_settings

FOLDER = LabFolder(Path("/lab"))
INSTALLATION = Installation(jars=(Path("/cache/a.jar"),), java=Java("java", 17, "build"))


def a_plan(**more: object) -> Plan:
    return Plan(**{"lab": "abc", "mode": "network", "topology": plan_topology(lab="abc"), **more})  # type: ignore[arg-type]


def services(plan: Plan) -> list[Service]:
    return services_of(plan, FOLDER, dict.fromkeys(engines_of(plan), INSTALLATION))


def test_settings_are_what_a_site_reads(tmp_path: Path) -> None:
    """Goal: the file is taken by the server as it stands, with the site's own name and address. Method: load it."""
    plan = a_plan()
    path = tmp_path / "settings.toml"
    path.write_text(settings_text(plan, "bei", FOLDER))
    settings = check_exposure(load_settings(path=path).settings)
    assert settings.site.name == "bei"
    assert settings.server.host == plan.topology.address("bei")
    assert settings.site.advertise == f"http://{plan.topology.address('bei')}:8390"
    assert settings.store.data == "/lab/sites/bei/data"
    assert settings.site.peers == {}, "a site on the embedded engine stands alone"


@pytest.mark.parametrize(("asked", "found"), [("", "cassandra-driver"), ("acsylla", "acsylla")])
def test_the_driver_that_was_asked_for(tmp_path: Path, asked: str, found: str) -> None:
    """Goal: sites reach Cassandra with the driver the lab was told, else with their own. Method: settings of both, read back."""
    path = tmp_path / "settings.toml"
    path.write_text(settings_text(a_plan(store="cassandra", cells="cassandra", driver=asked), "ams", FOLDER))
    settings = load_settings(path=path).settings
    assert settings.cassandra is not None
    assert settings.cassandra.driver == found


def test_sites_on_a_common_engine_know_each_other(tmp_path: Path) -> None:
    """Goal: with engines that replicate, each site knows the others, shares their secret, and speaks to its own engines."""
    plan = a_plan(store="cassandra", cells="zookeeper")
    path = tmp_path / "settings.toml"
    path.write_text(settings_text(plan, "ams", FOLDER))
    found = load_settings(path=path).settings
    assert sorted(found.site.peers) == ["bei", "irv"]
    assert found.site.peers["irv"] == f"http://{plan.topology.address('irv')}:8390"
    assert found.site.secret_file == "/lab/peer.secret"
    assert (found.store.engine, found.cells.engine) == ("cassandra", "zookeeper")
    assert found.cassandra is not None
    assert found.cassandra.contact_points == [plan.topology.address("ams")]
    assert checked(found.cassandra).replication == {"ams": 1, "bei": 1, "irv": 1}
    assert found.zookeeper.checked().servers == (f"{plan.topology.address('ams')}:2181",)
    path.write_text(settings_text(a_plan(store="cassandra", cells="cassandra"), "bei", FOLDER))
    found = load_settings(path=path).settings
    assert found.cassandra is not None and found.cassandra.data_center == "bei"


def test_engines_come_before_what_needs_them() -> None:
    """Goal: engines of all sites start side by side, and polysite processes after them. Method: the stages."""
    found = services(a_plan(store="cassandra", cells="zookeeper"))
    assert {(service.name, service.stage) for service in found if service.name != "polysite"} == {
        ("cassandra", 0),
        ("zookeeper", 0),
    }
    assert [service.stage for service in found if service.name == "polysite"] == [1, 2, 2], "the first makes the tables"
    assert len(found) == 9
    assert {service.stage for service in services(a_plan())} == {1}, (
        "sites that stand alone need not wait for each other"
    )
    assert {service.name for service in services(a_plan(store="cassandra", cells="cassandra", run="engines"))} == {
        "cassandra"
    }
    assert services(a_plan(run="nothing")) == []


def test_accord_is_started_site_by_site() -> None:
    """Goal: Cassandra nodes with Accord join one after the other, each when it lists those before it, and hold rows as well as cells. Method: the
    stages, and the peers that each is asked for."""
    plan = a_plan(store="cassandra", cells="accord")
    found = services(plan)
    nodes = [service for service in found if service.name == "accord"]
    assert [(service.site, service.stage) for service in nodes] == [("ams", 0), ("bei", 1), ("irv", 2)]
    assert [service.stage for service in found if service.name == "polysite"] == [3, 4, 4]
    assert {service.name for service in found} == {"accord", "polysite"}
    addresses = [place.address for place in plan.topology.sites]
    probes = [service.probe for service in nodes]
    assert [
        probe.argv[-place:] if place else () for place, probe in enumerate(probes) if isinstance(probe, CommandProbe)
    ] == [
        (),
        addresses[:1],
        addresses[:2],
    ]


def test_one_cassandra_node_per_site() -> None:
    """Goal: each site is a data center, all are seeds, tokens differ, and one is ready when it lists the others."""
    found = [
        service for service in services(a_plan(store="cassandra", cells="cassandra")) if service.name == "cassandra"
    ]
    texts = {service.site: "".join(service.files.values()) for service in found}
    addresses = [place.address for place in a_plan().topology.sites]
    assert all(",".join(addresses) in text for text in texts.values())
    assert "dc=irv" in texts["irv"]
    assert len({line for text in texts.values() for line in text.splitlines() if line.startswith("initial_token")}) == 3
    probe = found[0].probe
    assert isinstance(probe, CommandProbe)
    assert [*probe.argv[-2:]] == addresses[1:]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"store": "oracle", "cells": "oracle"}, "--store.*embedded, cassandra"),
        ({"store": "zookeeper", "cells": "zookeeper"}, "--store"),
        ({"store": "cassandra", "cells": "etcd"}, "--cells.*zookeeper"),
        ({"store": "cassandra", "cells": "embedded"}, "both embedded"),
    ],
)
def test_engines_that_do_not_go_together(asked: dict[str, str], said: str) -> None:
    """Goal: a pair of engines that no site could run is refused before anything is started."""
    with pytest.raises(BadRequest, match=said):
        engines_of(a_plan(**asked))
