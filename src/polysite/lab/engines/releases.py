"""Which engines there are, and exactly which files make one: pinned lists with sizes and hashes, shipped with the package.

A list has one jar a line: SHA-256, bytes, and the path that Maven repositories keep it under. The small pom beside it tells Maven
what to bring; the list tells whether it was that.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import NamedTuple

from polysite.errors import BadRequest


class Jar(NamedTuple):
    """One file of an engine; `name` is its file name, which no other file of the engine has."""

    name: str
    size_bytes: int
    sha256: str


class Release(NamedTuple):
    """An engine in the one version that is pinned, and the Java it runs on (`java_max` None: no upper bound is known)."""

    engine: str
    version: str
    shown: str
    java_min: int
    java_max: int | None

    @property
    def name(self) -> str:
        """`cassandra-5.0.9`: its folder in the cache, and its files in this package."""
        return f"{self.engine}-{self.version}"

    @property
    def about(self) -> str:
        """`Cassandra 5.0.9`, as people say it."""
        return f"{self.shown} {self.version}"

    @property
    def jars(self) -> tuple[Jar, ...]:
        """Its files, in the order of the list, which is the order of the classpath."""
        return parse_list(_text(f"{self.name}.jars"))

    @property
    def pom(self) -> str:
        """What Maven is told to bring."""
        return _text(f"{self.name}.pom.xml")


RELEASES: Mapping[str, Release] = MappingProxyType(
    {
        # Cassandra 5.0's documentation names Java 11 and 17; 18 took the security manager away, which it installs at start.
        "cassandra": Release("cassandra", "5.0.9", "Cassandra", java_min=11, java_max=17),
        # An alpha release, fetched by those who ask for it; it was tried on Java 17 alone.
        "accord": Release("accord", "6.0-alpha2", "Cassandra", java_min=17, java_max=17),
        "zookeeper": Release("zookeeper", "3.9.3", "ZooKeeper", java_min=11, java_max=None),
    }
)
"""By the engine's name."""


def release_of(engine: str) -> Release:
    """The pinned release of an engine; BadRequest, naming those there are, for any other."""
    release = RELEASES.get(engine)
    if release is None:
        raise BadRequest(f"there is no engine {engine!r}; there are {', '.join(RELEASES)}")
    return release


def parse_list(text: str) -> tuple[Jar, ...]:
    """The jars of a list. ValueError with the line's number: a line is malformed, or two jars have one name."""
    jars: dict[str, Jar] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        parts = line.split()
        if len(parts) != 3 or len(parts[0]) != 64 or not parts[1].isdigit():
            raise ValueError(f"line {number} is not `SHA256 BYTES PATH`")
        name = parts[2].rpartition("/")[2]
        if name in jars:
            raise ValueError(f"line {number} has {name} a second time")
        jars[name] = Jar(name, int(parts[1]), parts[0])
    return tuple(jars.values())


@cache
def _text(name: str) -> str:
    return (files("polysite.lab.engines") / "lists" / name).read_text(encoding="utf-8")
