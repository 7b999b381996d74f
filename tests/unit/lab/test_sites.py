"""What runs at the sites, as the keeper handles it: which services are meant, in which order they start, and what is started again.

Method: services whose processes are played by the test.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from polysite.errors import BadRequest, Unavailable
from polysite.lab.keeper.sites import STARTS_MAX, Sites, last_words
from polysite.lab.services.service import Command, HttpProbe, Service


class PlayedChild:
    def __init__(self, exit_code: int | None) -> None:
        self.exit_code = exit_code

    def thaw(self) -> None: ...


class PlayedService:
    """Ends before it is ready with each of `ends`, then is ready."""

    def __init__(self, site: str, name: str, stage: int, log: list[str], ends: list[int]) -> None:
        command = Command(argv=[name], folder=Path("/"), log=Path("/none"))
        probe = HttpProbe("", 0, "")
        self.service = Service(
            site, name, command, {}, probe, stage=stage, passing_code=11 if name == "polysite" else None
        )
        self.child: Any = None
        self._log = log
        self._ends = ends

    def start(self) -> None:
        self._log.append(f"{self.service.site} {self.service.name} starts")

    async def wait_ready(self, wait_s: float) -> None:
        await asyncio.sleep(0)
        if self._ends:
            self.child = PlayedChild(self._ends.pop(0))
            raise Unavailable(f"{self.service.name} ended")
        self.child = PlayedChild(None)
        self._log.append(f"{self.service.site} {self.service.name} ready")


def played(log: list[str], *, ends: tuple[int, ...] = (), failing: str = "polysite") -> Sites:
    kinds = (("cassandra", 0), ("zookeeper", 0), ("polysite", 1))
    services: list[Any] = [
        PlayedService(site, name, stage, log, [*ends] if name == failing and site == "ams" else [])
        for name, stage in kinds
        for site in ("ams", "bei")
    ]
    for service in services:
        service.child = PlayedChild(None)
    return Sites(services, lambda event, **_: log.append(event))


def names(sites: Sites, site: str, *services: str) -> list[str]:
    return [running.service.name for running in sites.at(site, services)]


def test_which_services_are_meant() -> None:
    """Goal: no name means all, `engine` all but ours, a name itself; at that site alone. Method: three services at two sites."""
    sites = played([])
    assert names(sites, "ams") == ["cassandra", "zookeeper", "polysite"]
    assert names(sites, "bei", "engine") == ["cassandra", "zookeeper"]
    assert names(sites, "bei", "engine", "polysite") == ["cassandra", "zookeeper", "polysite"]
    assert names(sites, "ams", "zookeeper") == ["zookeeper"]
    assert {running.service.site for running in sites.at("bei")} == {"bei"}
    with pytest.raises(BadRequest, match="cassandra, zookeeper, polysite runs there"):
        sites.at("ams", ["etcd"])
    lone = Sites([running for running in sites.at("ams") if running.service.name == "polysite"], lambda *_, **__: None)
    with pytest.raises(BadRequest, match="no engine runs at ams"):
        lone.at("ams", ["engine"])


async def test_stages_follow_each_other() -> None:
    """Goal: nothing starts before what it needs is ready at every site, and what needs nothing starts side by side."""
    log: list[str] = []
    sites = played(log)
    await sites.start([*sites.at("ams"), *sites.at("bei")])
    told = [line for line in log if line != "ready"]
    first_ready = min(told.index(line) for line in told if line.endswith("ready"))
    assert set(told[:first_ready]) == {
        "ams cassandra starts", "ams zookeeper starts", "bei cassandra starts", "bei zookeeper starts",
    }  # fmt: skip
    last_engine = max(told.index(line) for line in told if "polysite" not in line)
    assert all(told.index(line) > last_engine for line in told if "polysite" in line)


async def test_what_ends_for_a_passing_reason_is_started_again() -> None:
    """Goal: a process that could not start for a passing reason is given another try, not for ever; any other end is final, and
    so is that of a service that has no passing reasons. Method: exit codes before it is ready."""
    log: list[str] = []
    sites = played(log, ends=(11, 11))
    await sites.start(sites.at("ams"))
    assert log.count("ams polysite starts") == 3
    assert log.count("again") == 2
    for ends, failing, starts in (
        ((10,), "polysite", 1),
        ((11,) * STARTS_MAX, "polysite", STARTS_MAX),
        ((11,), "cassandra", 1),
    ):
        log = []
        sites = played(log, ends=ends, failing=failing)
        with pytest.raises(ExceptionGroup) as failed:
            await sites.start(sites.at("ams"))
        assert isinstance(failed.value.exceptions[0], Unavailable)
        assert log.count(f"ams {failing} starts") == starts


def test_last_words(tmp_path: Path) -> None:
    """Goal: an error quotes what a log ends with, on one line, without frames of stack traces; no log says nothing."""
    log = tmp_path / "log"
    assert last_words(log) == ""
    log.write_text("first\nsecond\nERROR it broke\n\tat a.b.C(D.java:1)\n\t... 3 more\ncaused by\n\n")
    assert last_words(log) == "second | ERROR it broke | caused by"
