"""Where engines are kept, outside any checkout: one folder per release, either whole or not there.

CACHE/cassandra-5.0.9/*.jar          what the pinned list names, and nothing else
CACHE/cassandra-5.0.9-….jsa          archives of loaded classes, one per build of Java
CACHE/engines.lock                   held while one process fetches or makes an archive
CACHE/staging-…                      a fetch under way, or what an interrupted one left; never used, removed by the next
"""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from polysite.client.pacing import Pace
from polysite.errors import Unavailable
from polysite.lab.engines.failures import CapabilityMissing
from polysite.lab.engines.releases import Jar, Release
from polysite.lab.engines.running import BlockingTime

VARIABLE = "POLYSITE_CACHE"
LOCK_S = 1200.0
LOCK_LOOK_S = 0.2
READ_BYTES = 1 << 20


def cache_folder(environ: Mapping[str, str]) -> Path:
    """`$POLYSITE_CACHE`, else `$XDG_CACHE_HOME/polysite`, else `~/.cache/polysite`."""
    if environ.get(VARIABLE):
        return Path(environ[VARIABLE]).absolute()
    # The XDG base directory specification has relative paths ignored.
    xdg = Path(environ.get("XDG_CACHE_HOME", ""))
    if xdg.is_absolute():
        return xdg / "polysite"
    return Path(environ.get("HOME") or Path.home()) / ".cache" / "polysite"


def flaws(jars: Sequence[Jar], folder: Path, *, thorough: bool) -> list[str]:
    """What is wrong with a folder of jars, a sentence each; empty if it is exactly the list.

    Names and sizes are compared; contents too if `thorough`, which reads every byte.
    """
    if not folder.is_dir():
        return ["it is not there"]
    there = {path.name: path for path in folder.iterdir()}
    found = [f"{name} is not on the list" for name in sorted(set(there) - {jar.name for jar in jars})]
    for jar in jars:
        path = there.get(jar.name)
        if path is None:
            found.append(f"{jar.name} is missing")
        elif not path.is_file() or path.stat().st_size != jar.size_bytes:
            found.append(f"{jar.name} has not {jar.size_bytes} bytes")
        elif thorough and sha256_of(path) != jar.sha256:
            found.append(f"{jar.name} has another content than the list's")
    return found


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def release_folder(cache: Path, release: Release) -> Path:
    """Where the jars of a release are once they are whole."""
    return cache / release.name


@contextlib.contextmanager
def cache_lock(
    cache: Path, *, waiting: Callable[[], None], wait_s: float = LOCK_S, pace: BlockingTime | None = None
) -> Iterator[None]:
    """Be the only one that changes the cache; the operating system frees it when its holder dies.

    `waiting` is called once if somebody else has it. Unavailable after `wait_s`; CapabilityMissing if the folder cannot be written.
    """
    time = pace if pace is not None else Pace()
    descriptor = _opened(cache)
    try:
        end = time.monotonic_s() + wait_s
        told = False
        while not _locked(descriptor):
            if not told:
                waiting()
                told = True
            if time.monotonic_s() >= end:
                raise Unavailable(f"another process has been fetching engines for {wait_s:g} s")
            time.sleep_s(LOCK_LOOK_S)
        yield
    finally:
        os.close(descriptor)


def _opened(cache: Path) -> int:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return os.open(cache / "engines.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise CapabilityMissing(
            "a folder to keep engines in",
            f"{cache} cannot be written ({error.strerror}); set {VARIABLE} to one that can",
        ) from None


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
