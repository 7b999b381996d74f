"""Java and Maven on this machine: found, told apart by version, or missing in words that say what would help."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from polysite.lab.engines.failures import CapabilityMissing
from polysite.lab.engines.releases import Release

ANSWER_S = 30
JAVA_FOLDERS = "/usr/lib/jvm"
"""Where Linux distributions keep one Java beside another."""


class Java(NamedTuple):
    """A Java that answers; `build` is its whole answer to `-version`, which tells any two of them apart."""

    command: str
    major: int
    build: str


def find_java(release: Release, environ: Mapping[str, str], *, side_by_side: str = JAVA_FOLDERS) -> Java:
    """The first Java that suits the release: `$JAVA_HOME`, the path's, those installed side by side. CapabilityMissing without one."""
    found: list[Java] = []
    for command in _candidates(environ, side_by_side):
        java = _asked(command)
        if java is None:
            continue
        if release.java_min <= java.major and (release.java_max is None or java.major <= release.java_max):
            return java
        found.append(java)
    bounds = f"{release.java_min} to {release.java_max}" if release.java_max else f"{release.java_min} or later"
    there = ", ".join(sorted({str(java.major) for java in found}, key=int))
    raise CapabilityMissing(
        f"java {bounds}",
        f"{release.about} runs on Java {bounds}, and "
        + (f"only Java {there} was found" if there else "no `java` was found in JAVA_HOME or on the path")
        + "; install a JRE of that version (Debian: openjdk-17-jre-headless) or point JAVA_HOME at one",
    )


def find_maven(environ: Mapping[str, str]) -> str:
    """The command `mvn`; CapabilityMissing without it."""
    command = shutil.which("mvn", path=environ.get("PATH"))
    if command is None:
        raise CapabilityMissing(
            "maven",
            "engines are fetched with Maven, so that your mirrors, proxies and certificates hold, and there is no `mvn` on the path; "
            "install it (Debian: maven)",
        )
    return command


def parse_java_major(answer: str) -> int | None:
    """17 from the answer of `java -version`; Java 8 and older called themselves 1.8. None: it is no such answer."""
    found = re.search(r'version "(?:1\.)?(\d+)', answer)
    return int(found[1]) if found else None


def _candidates(environ: Mapping[str, str], side_by_side: str) -> Iterator[str]:
    if environ.get("JAVA_HOME"):
        yield str(Path(environ["JAVA_HOME"]) / "bin" / "java")
    on_path = shutil.which("java", path=environ.get("PATH"))
    if on_path is not None:
        yield on_path
    yield from sorted(str(path) for path in Path(side_by_side).glob("*/bin/java"))


def _asked(command: str) -> Java | None:
    """None: it does not run, or it is no Java."""
    try:
        done = subprocess.run(
            [command, "-version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ANSWER_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    answer = done.stderr + done.stdout
    major = parse_java_major(answer) if done.returncode == 0 else None
    return Java(command, major, answer) if major is not None else None
