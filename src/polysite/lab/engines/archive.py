"""An archive of loaded classes (AppCDS), made once per release and build of Java: it takes a third off the start.

A Java machine that finds an archive unfit starts without it, so nothing depends on it but time.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from polysite.errors import PolysiteError
from polysite.lab.engines.accord import AccordSpec
from polysite.lab.engines.cassandra import CassandraSpec
from polysite.lab.engines.loopback import free_address
from polysite.lab.engines.releases import Release
from polysite.lab.engines.running import start
from polysite.lab.engines.specs import EngineSpec, Installation
from polysite.lab.engines.zookeeper import ZooKeeperSpec

TRAINING_READY_S = 90.0
TRAINING_STOP_S = 60.0
JAVA_WITH_ARCHIVES = 13
"""The first that makes them (JEP 350)."""


class Archive(NamedTuple):
    """Where the archive is, or where it is remembered that it could not be made."""

    path: Path
    failed: Path

    @property
    def settled(self) -> bool:
        """It was made, or tried in vain."""
        return self.path.exists() or self.failed.exists()

    @property
    def usable(self) -> Path | None:
        return self.path if self.path.exists() else None


def archive_of(cache: Path, release: Release, installation: Installation) -> Archive:
    """The archive that goes with this classpath and this build of Java."""
    identity = f"{installation.java.build}\n{installation.classpath}"
    name = f"{release.name}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
    return Archive(cache / f"{name}.jsa", cache / f"{name}.no-jsa")


def ensure_archive(
    archive: Archive, release: Release, installation: Installation, note: Callable[[str], None], *, again: bool = False
) -> None:
    """Make it if that was not tried yet, and say so if it cannot be; the caller holds the cache's lock. `again`: also if it failed before."""
    if again:
        archive.failed.unlink(missing_ok=True)
    if archive.settled:
        return
    if installation.java.major < JAVA_WITH_ARCHIVES:
        _remember(archive, note, f"Java {installation.java.major} makes none")
        return
    note(f"making the archive of loaded classes of {release.about}, once")
    folder = Path(tempfile.mkdtemp(prefix="staging-", dir=archive.path.parent))
    try:
        _train(release, installation, folder)
        os.replace(folder / "made.jsa", archive.path)
    except (PolysiteError, OSError) as error:
        _remember(archive, note, str(error))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _train(release: Release, installation: Installation, folder: Path) -> None:
    """Start the engine once with nothing in it, and let its Java machine write down at its end what it loaded."""
    spec = _training_spec(release, str(folder))
    engine = start(spec, installation, jvm=[f"-XX:ArchiveClassesAtExit={folder / 'made.jsa'}"])
    try:
        engine.wait_ready(wait_s=TRAINING_READY_S)
        engine.stop(wait_s=TRAINING_STOP_S)
    finally:
        engine.kill()


def _training_spec(release: Release, folder: str) -> EngineSpec:
    if release.engine == "cassandra":
        return CassandraSpec(folder=folder, address=free_address((7000, 9042)))
    if release.engine == "accord":
        return AccordSpec(folder=folder, address=free_address((7000, 9042)))
    return ZooKeeperSpec(folder=folder, address=free_address((2181,)))


def _remember(archive: Archive, note: Callable[[str], None], why: str) -> None:
    """So that not every start tries again; removing the file lets the next one try."""
    with contextlib.suppress(OSError):
        archive.failed.write_text(why + "\n", encoding="utf-8")
    note(f"there will be no archive of loaded classes, so starts take longer: {why}")
