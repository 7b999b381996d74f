"""The commands of the lab: what they print, and what they end with. Fetching itself is replaced; it has its own tests."""

import json
from pathlib import Path
from typing import Any

import pytest

from polysite.cli import commands, exits, lab
from polysite.lab.engines.failures import CapabilityMissing, FetchFailed, WrongJars
from polysite.lab.engines.releases import release_of
from polysite.lab.engines.specs import Installation
from polysite.lab.engines.tools import Java

ZOOKEEPER = release_of("zookeeper")


def ended(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        commands.run(["lab", "fetch", *arguments])
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """Fetching succeeds with two jars; the releases that were asked for, and whether to verify."""
    calls: list[tuple[str, bool]] = []

    def fetch(release: Any, _environ: Any, *, verify: bool, progress: Any) -> Installation:
        calls.append((release.name, verify))
        progress.arrived(0, 18)
        progress.arrived(7, 18)
        progress.note("a remark")
        progress.arrived(18, 18)
        jars = tuple(Path("/cache/zookeeper-3.9.3", jar.name) for jar in release.jars)
        return Installation(jars=jars, java=Java("/java", 17, ""), archive=Path("/cache/x.jsa"))

    monkeypatch.setattr(lab, "fetch_release", fetch)
    return calls


def test_for_people(asked: list[tuple[str, bool]], capsys: pytest.CaptureFixture[str]) -> None:
    """Goal: one line of what is there, and beside it, on the error stream, how it went. Method: no terminal, so the count comes as lines, first and last."""
    assert ended("zookeeper", "--verify") == exits.DONE
    assert asked == [("zookeeper-3.9.3", True)]
    said = capsys.readouterr()
    assert said.out == (
        "ZooKeeper 3.9.3: 18 jars, 8 MB, in /cache/zookeeper-3.9.3, for Java 17, with an archive of loaded classes\n"
    )
    assert said.err.splitlines() == ["jars: 0 of 18", "a remark", "jars: 18 of 18"]


def test_for_programs(asked: list[tuple[str, bool]], capsys: pytest.CaptureFixture[str]) -> None:
    """Goal: one JSON text, and nothing else anywhere."""
    assert ended("zookeeper", "--json") == exits.DONE
    assert asked == [("zookeeper-3.9.3", False)]
    said = capsys.readouterr()
    assert json.loads(said.out) == {
        "engine": "zookeeper", "version": "3.9.3", "jars": 18, "bytes": 8_029_610, "folder": "/cache/zookeeper-3.9.3", "java": 17, "archive": True,
    }  # fmt: skip
    assert said.err == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CapabilityMissing("maven", "install it"), exits.REFUSED),
        (WrongJars("a.jar is missing"), exits.REFUSED),
        (FetchFailed("no way there"), exits.TRY_AGAIN),
    ],
)
def test_what_it_ends_with(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    """Goal: a script tells what a retry may mend from what it cannot, and people read why."""

    def fetch(*_: Any, **__: Any) -> Installation:
        raise error

    monkeypatch.setattr(lab, "fetch_release", fetch)
    assert ended("cassandra") == code
    assert str(error) in capsys.readouterr().err


def test_an_unknown_engine(capsys: pytest.CaptureFixture[str]) -> None:
    """Goal: a wrong name is a usage error that shows the right ones."""
    assert ended("mysql") == exits.USAGE
    assert "'cassandra', 'accord', 'zookeeper'" in capsys.readouterr().err
