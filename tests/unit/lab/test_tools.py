"""Java and Maven: found, chosen by version, or missing in words that help. The commands are small scripts that answer as the real ones do."""

import pickle
from pathlib import Path

import pytest

from polysite.lab.engines.failures import CapabilityMissing
from polysite.lab.engines.releases import release_of
from polysite.lab.engines.tools import find_java, find_maven, parse_java_major

NOWHERE = "/nonexistent"
CASSANDRA = release_of("cassandra")


def command(path: Path, script: str) -> Path:
    """An executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def java(path: Path, version: str) -> Path:
    return command(path, f"echo 'openjdk version \"{version}\" 2025-04-15' >&2")


@pytest.mark.parametrize(
    ("answer", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_392"', 8),
        ('openjdk version "21-ea" 2023-09-19', 21),
        ('Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version "11.0.2"', 11),
        ("The operation couldn’t be completed. Unable to locate a Java Runtime.", None),
    ],
)
def test_versions(answer: str, major: int | None) -> None:
    """Goal: the number that counts, from the answers that Javas give."""
    assert parse_java_major(answer) == major


def test_java_home_wins_over_the_path(tmp_path: Path) -> None:
    """Goal: whoever points JAVA_HOME at a Java gets that one."""
    home, path = java(tmp_path / "home" / "bin" / "java", "17.0.1"), java(tmp_path / "path" / "java", "11.0.1")
    environ = {"JAVA_HOME": str(tmp_path / "home"), "PATH": str(path.parent)}
    assert find_java(CASSANDRA, environ, side_by_side=NOWHERE).command == str(home)
    del environ["JAVA_HOME"]
    assert find_java(CASSANDRA, environ, side_by_side=NOWHERE).command == str(path)


def test_an_unfit_java_is_passed_over(tmp_path: Path) -> None:
    """Goal: a newer default does not hide the fitting Java beside it. Method: 21 on the path, 17 and a broken one side by side."""
    unfit = java(tmp_path / "path" / "java", "21.0.1")
    command(tmp_path / "jvm" / "broken" / "bin" / "java", "exit 1")
    fit = java(tmp_path / "jvm" / "seventeen" / "bin" / "java", "17.0.9")
    environ = {"PATH": str(unfit.parent)}
    assert find_java(CASSANDRA, environ, side_by_side=str(tmp_path / "jvm")).command == str(fit)
    assert find_java(release_of("zookeeper"), environ, side_by_side=NOWHERE).command == str(unfit)


def test_no_java(tmp_path: Path) -> None:
    """Goal: the words say what is missing and what would help."""
    with pytest.raises(CapabilityMissing) as caught:
        find_java(CASSANDRA, {"PATH": str(tmp_path), "JAVA_HOME": str(tmp_path)}, side_by_side=NOWHERE)
    assert caught.value.capability == "java 11 to 17"
    assert caught.value.message.startswith("capability missing: java 11 to 17; ")
    assert "no `java` was found" in caught.value.message and "JAVA_HOME" in caught.value.message
    assert pickle.loads(pickle.dumps(caught.value)).message == caught.value.message


def test_only_unfit_javas(tmp_path: Path) -> None:
    """Goal: the words say which Javas are there, so that nobody looks for a reason elsewhere."""
    for version in ("8", "21"):
        java(tmp_path / version / "bin" / "java", f"{version}.0.1" if version != "8" else "1.8.0_1")
    with pytest.raises(CapabilityMissing, match="only Java 8, 21 was found"):
        find_java(CASSANDRA, {"PATH": NOWHERE}, side_by_side=str(tmp_path))


def test_maven(tmp_path: Path) -> None:
    """Goal: Maven is found on the path, and missed in words."""
    mvn = command(tmp_path / "mvn", "exit 0")
    assert find_maven({"PATH": str(tmp_path)}) == str(mvn)
    with pytest.raises(CapabilityMissing, match=r"^capability missing: maven; .*no `mvn` on the path"):
        find_maven({"PATH": NOWHERE})
