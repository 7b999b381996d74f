"""The pinned lists: what they hold, what is refused as a list, and that they are shipped."""

import re
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from polysite.errors import BadRequest
from polysite.lab.engines.fetching import GOAL
from polysite.lab.engines.releases import RELEASES, Jar, parse_list, release_of
from tests.support.source import ROOT

HASH = "0" * 64


@pytest.mark.parametrize(
    ("engine", "count", "size_bytes", "main"),
    [
        ("cassandra", 100, 69_227_498, "cassandra-all-5.0.9.jar"),
        ("accord", 107, 72_086_531, "cassandra-all-6.0-alpha2.jar"),
        ("zookeeper", 18, 8_029_610, "zookeeper-3.9.3.jar"),
    ],
)
def test_what_is_pinned(engine: str, count: int, size_bytes: int, main: str) -> None:
    """Goal: changing what is installed is a decision. Method: numbers and sizes, as measured when the list was made, and the jar that gives the
    engine its version."""
    release = release_of(engine)
    assert len(release.jars) == count
    assert sum(jar.size_bytes for jar in release.jars) == size_bytes
    assert main in {jar.name for jar in release.jars}
    assert main.endswith(f"-{release.version}.jar")


@pytest.mark.parametrize("engine", list(RELEASES))
def test_the_pom_brings_the_version_of_the_list(engine: str) -> None:
    """Goal: pom and list cannot drift apart. Method: the pom names the release's version, and the plugin in the version that is run."""
    release = release_of(engine)
    assert f"<version>{release.version}</version>" in release.pom
    plugin = re.search(r"<artifactId>(maven-dependency-plugin)</artifactId><version>([\d.]+)</version>", release.pom)
    assert plugin is not None and GOAL.endswith(f":{plugin[1]}:{plugin[2]}:copy-dependencies")


def test_an_engine_that_there_is_not() -> None:
    """Goal: a wrong name is answered by the right ones."""
    with pytest.raises(BadRequest, match="no engine 'mysql'; there are cassandra, accord, zookeeper"):
        release_of("mysql")


def test_a_list_is_read() -> None:
    """Goal: the form of a list. Method: one line each with a path of any depth."""
    assert parse_list(f"{HASH} 7 a/b/c-1.jar\n{HASH} 8 d.jar\n") == (Jar("c-1.jar", 7, HASH), Jar("d.jar", 8, HASH))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (f"{HASH} 7 a.jar\n{HASH} b.jar", "line 2 is not"),
        (f"{HASH} seven a.jar", "line 1 is not"),
        (f"{HASH[1:]} 7 a.jar", "line 1 is not"),
        (f"{HASH} 7 a/x.jar\n{HASH} 7 b/x.jar", "line 2 has x.jar a second time"),
        ("\n", "line 1 is not"),
    ],
)
def test_a_malformed_list_is_refused(text: str, complaint: str) -> None:
    """Goal: a list that was edited badly is an error with its line, never a shorter list."""
    with pytest.raises(ValueError, match=complaint):
        parse_list(text)


def test_the_lists_are_in_the_wheel(tmp_path: Path) -> None:
    """Goal: whoever installs polysite from a wheel can fetch engines. Method: build one and look for each list and pom."""
    builder = WheelBuilder(str(ROOT))
    wheel = next(iter(builder.build(directory=str(tmp_path), versions=["standard"])))
    names = set(zipfile.ZipFile(wheel).namelist())
    for release in RELEASES.values():
        assert {f"polysite/lab/engines/lists/{release.name}{ending}" for ending in (".jars", ".pom.xml")} <= names
