"""Bring an engine's jars with the user's own Maven, and let them count only when they are exactly those of the pinned list."""

import os
import re
import select
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from polysite.lab.engines.archive import archive_of, ensure_archive
from polysite.lab.engines.cache import cache_folder, cache_lock, flaws, release_folder
from polysite.lab.engines.failures import FetchFailed, WrongJars
from polysite.lab.engines.releases import Release
from polysite.lab.engines.specs import Installation
from polysite.lab.engines.tools import find_java, find_maven

STAGING = "staging-"
FLAWS_TOLD_MAX = 5
GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
"""In full, so that Maven need not look up what `dependency` stands for; the poms name the same version."""

SILENCE_S = 300.0
"""Maven is given up when it says nothing for so long; by itself it waits much longer on a mirror that takes connections and never answers."""

READ_BYTES = 1 << 16
DOWNLOADED = re.compile(r"Downloaded from \S+: \S*/([^/\s]+\.jar)\b")


class Progress(Protocol):
    """Who is told how a fetch goes."""

    def arrived(self, count: int, total: int) -> None:
        """So many of the jars have arrived."""
        ...

    def note(self, text: str) -> None:
        """A remark, one sentence."""
        ...


class Silent:
    """Tells nobody."""

    def arrived(self, count: int, total: int) -> None: ...

    def note(self, text: str) -> None: ...


def fetch(
    release: Release,
    environ: Mapping[str, str],
    *,
    verify: bool = False,
    progress: Progress | None = None,
    silence_s: float = SILENCE_S,
) -> Installation:
    """The installed release; fetched if it is not there whole, or, with `verify`, if a byte of it is not what the list says.

    CapabilityMissing: Java or Maven is not there. FetchFailed: Maven could not bring it, or was silent for `silence_s`. WrongJars: what Maven brought is not what the list
    says. After an error, and after an interruption, nothing new counts as installed. The archive of loaded classes is made on the
    way; without it the engine only starts more slowly. `verify` also tries again what failed of it.
    """
    telling: Progress = progress if progress is not None else Silent()
    java = find_java(release, environ)
    cache = cache_folder(environ)
    folder = release_folder(cache, release)
    jars = release.jars
    bare = Installation(jars=tuple(folder / jar.name for jar in jars), java=java)
    archive = archive_of(cache, release, bare)
    if verify or flaws(jars, folder, thorough=False) or not archive.settled:
        with cache_lock(cache, waiting=lambda: telling.note("another process is fetching; waiting for it")):
            _ensure_jars(release, cache, environ, verify=verify, telling=telling, silence_s=silence_s)
            ensure_archive(archive, release, bare, telling.note, again=verify)
    return bare._replace(archive=archive.usable)


def installed(release: Release, environ: Mapping[str, str]) -> bool:
    """Whether the jars are there, by names and sizes; nothing is fetched."""
    return not flaws(release.jars, release_folder(cache_folder(environ), release), thorough=False)


def _ensure_jars(
    release: Release, cache: Path, environ: Mapping[str, str], *, verify: bool, telling: Progress, silence_s: float
) -> None:
    """The folder of the release is whole afterwards; the caller holds the cache's lock."""
    folder = release_folder(cache, release)
    found = flaws(release.jars, folder, thorough=verify)
    _remove_staging(cache)
    if not found:
        telling.arrived(len(release.jars), len(release.jars))
        return
    if folder.exists():
        telling.note(f"{release.about} as it is kept is not what the list says: {told(found)}; it is fetched anew")
    staging = Path(tempfile.mkdtemp(prefix=STAGING, dir=cache))
    try:
        _run_maven(release, staging, environ, telling, silence_s)
        found = flaws(release.jars, staging / "jars", thorough=True)
        if found:
            raise WrongJars(
                f"what Maven brought is not {release.about} as it is pinned: {told(found)}; nothing was installed"
            )
        if folder.exists():
            folder.rename(staging / "replaced")
        (staging / "jars").rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def told(found: list[str]) -> str:
    """The first few flaws in one sentence."""
    more = f" and {len(found) - FLAWS_TOLD_MAX} more" if len(found) > FLAWS_TOLD_MAX else ""
    return ", ".join(found[:FLAWS_TOLD_MAX]) + more


def _run_maven(
    release: Release, staging: Path, environ: Mapping[str, str], telling: Progress, silence_s: float
) -> None:
    """Let Maven copy the jars into `staging/jars`; it asks nothing, and uses the user's settings."""
    pom = staging / "pom.xml"
    pom.write_text(release.pom, encoding="utf-8")
    output = f"-DoutputDirectory={staging / 'jars'}"
    process = subprocess.Popen(
        [find_maven(environ), "-B", "-f", str(pom), GOAL, output, "-DincludeScope=runtime"],
        env=dict(environ),
        cwd=staging,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    with process.stdout as pipe:
        try:
            errors = follow(_lines(pipe.fileno(), silence_s), {jar.name for jar in release.jars}, telling.arrived)
            code = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
    if code != 0:
        raise FetchFailed(
            f"Maven could not bring {release.about} (it ended with {code}): {errors[0] if errors else 'it did not say why'}. "
            "Nothing was installed; `mvn` itself must be able to download here"
        )


def _lines(descriptor: int, silence_s: float) -> Iterator[str]:
    """What comes out of a pipe, line by line, until it is closed. FetchFailed if nothing comes for too long."""
    rest = b""
    while True:
        if not select.select([descriptor], [], [], silence_s)[0]:
            raise FetchFailed(
                f"Maven said nothing for {silence_s:g} s and was ended; is the mirror that it uses reachable? Nothing was installed"
            )
        piece = os.read(descriptor, READ_BYTES)
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in whole)
        if not piece:
            if rest:
                yield rest.decode("utf-8", "replace")
            return


def follow(lines: Iterable[str], names: set[str], arrived: Callable[[int, int], None]) -> list[str]:
    """Tell the progress that Maven's output shows; its errors, without what addresses may carry of credentials.

    Jars that Maven has from earlier are not told one by one; they all have arrived at the end.
    """
    seen: set[str] = set()
    errors: list[str] = []
    arrived(0, len(names))
    for line in lines:
        found = DOWNLOADED.search(line)
        if found and found[1] in names:
            seen.add(found[1])
            arrived(len(seen), len(names))
        elif line.startswith("[ERROR]") and line.strip() != "[ERROR]":
            errors.append(without_credentials(line.removeprefix("[ERROR]").partition(" -> [Help")[0].strip()))
    if not errors:
        arrived(len(names), len(names))
    return errors


def without_credentials(text: str) -> str:
    """The text with user, password and query taken out of every address in it."""
    return re.sub(r"(\w+://)(?:[^/@\s]*@)?([^\s?]*)(?:\?[^\s)]*)?", r"\1\2", text)


def _remove_staging(cache: Path) -> None:
    """What an interrupted fetch left; the caller holds the lock, so nobody is at it."""
    for path in cache.glob(f"{STAGING}*"):
        shutil.rmtree(path, ignore_errors=True)
