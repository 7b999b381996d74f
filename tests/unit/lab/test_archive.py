"""The archive of loaded classes: made once, remembered when it cannot be, and never in the way."""

from collections.abc import Callable
from pathlib import Path

import pytest

from polysite.lab.engines import archive as archives
from polysite.lab.engines.archive import archive_of, ensure_archive
from polysite.lab.engines.failures import EngineEnded
from polysite.lab.engines.releases import Release, release_of
from polysite.lab.engines.specs import Installation
from polysite.lab.engines.tools import Java

RELEASE = release_of("zookeeper")
INSTALLATION = Installation(jars=(Path("/jars/a.jar"),), java=Java("/java", 17, "17.0.1"))


def trained(monkeypatch: pytest.MonkeyPatch, outcome: Callable[[Path], object]) -> list[Path]:
    """Let `outcome` stand for the training run; where each of them took place."""
    runs: list[Path] = []

    def train(release: Release, installation: Installation, folder: Path) -> None:
        runs.append(folder)
        outcome(folder)

    monkeypatch.setattr(archives, "_train", train)
    return runs


def fails(_: Path) -> None:
    raise EngineEnded("it died")


def test_one_per_build_and_classpath(tmp_path: Path) -> None:
    """Goal: another Java, or other jars, never meet an archive that is not theirs."""
    others = [
        INSTALLATION,
        INSTALLATION._replace(java=Java("/java", 17, "17.0.2")),
        INSTALLATION._replace(jars=(Path("/jars/b.jar"),)),
    ]
    assert len({archive_of(tmp_path, RELEASE, other).path for other in others}) == 3


def test_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: one training run, its result beside the jars, nothing else left."""
    runs = trained(monkeypatch, lambda folder: (folder / "made.jsa").write_bytes(b"archive"))
    archive = archive_of(tmp_path, RELEASE, INSTALLATION)
    for _ in range(2):
        ensure_archive(archive, RELEASE, INSTALLATION, lambda _: None)
    assert archive.usable is not None and archive.usable.read_bytes() == b"archive"
    assert len(runs) == 1
    assert list(tmp_path.iterdir()) == [archive.path]


@pytest.mark.parametrize("outcome", [fails, lambda _: None], ids=["the engine died", "nothing was written"])
def test_what_cannot_be_made_is_said_and_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: Callable[[Path], object]
) -> None:
    """Goal: without an archive engines start all the same, and not every start tries again; asked to, it does. Method: a training run that fails, twice,
    then `again`, then one that succeeds."""
    notes: list[str] = []
    runs = trained(monkeypatch, outcome)
    archive = archive_of(tmp_path, RELEASE, INSTALLATION)
    for _ in range(2):
        ensure_archive(archive, RELEASE, INSTALLATION, notes.append)
    assert len(runs) == 1
    assert archive.settled and archive.usable is None
    assert "so starts take longer" in notes[-1]
    runs = trained(monkeypatch, lambda folder: (folder / "made.jsa").write_bytes(b"archive"))
    ensure_archive(archive, RELEASE, INSTALLATION, notes.append, again=True)
    assert len(runs) == 1 and archive.usable == archive.path


def test_an_old_java_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: Java 11 cannot make one (JEP 350 came with 13), so no run is wasted on it."""
    runs = trained(monkeypatch, fails)
    old = INSTALLATION._replace(java=Java("/java", 11, "11"))
    ensure_archive(archive_of(tmp_path, RELEASE, old), RELEASE, old, lambda _: None)
    assert runs == []
