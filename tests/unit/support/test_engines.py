"""The rule for tests that need a real engine: what is skipped, with which words, and what is not skipped."""

import subprocess
import sys
from pathlib import Path

import pytest

from polysite.errors import PolysiteError
from polysite.lab.engines import CapabilityMissing, FetchFailed, WrongJars
from tests.support import engines
from tests.support.source import ROOT

MISSING = CapabilityMissing("java 11 to 17", "install one")


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (MISSING, "capability missing: java 11 to 17; install one"),
        (FetchFailed("Maven could not bring it"), "capability missing: cassandra; Maven could not bring it"),
    ],
)
def test_what_is_missing_is_skipped(monkeypatch: pytest.MonkeyPatch, found: PolysiteError, reason: str) -> None:
    """Goal: a machine that cannot have the engine skips, with a reason that names what it lacks; it is tried once a run."""
    tried: list[str] = []

    def fetch(*_: object, **__: object) -> None:
        tried.append("")
        raise found

    monkeypatch.setattr(engines, "_found", {})
    monkeypatch.setattr(engines, "fetch", fetch)
    for _ in range(2):
        with pytest.raises(pytest.skip.Exception) as skipped:
            engines.require("cassandra")
        assert str(skipped.value) == reason
    assert len(tried) == 1


def test_what_is_wrong_is_not_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: jars that are not the pinned ones fail the test; a skip would hide it."""
    monkeypatch.setattr(engines, "_found", {"cassandra": WrongJars("b.jar is missing")})
    with pytest.raises(WrongJars):
        engines.require("cassandra")


def test_a_run_without_maven(tmp_path: Path) -> None:
    """Goal: the rule holds in a real run: marked tests and those that only ask for a fixture are skipped, others are not, and `-m` knows them. Method: a file of
    three tests under this project's conftest, where no Maven and an empty cache are."""
    (tmp_path / "test_three.py").write_text(
        "import pytest\n"
        "@pytest.mark.engine('zookeeper')\ndef test_marked(): raise RuntimeError\n"
        "def test_by_fixture(zookeeper_server): raise RuntimeError\n"
        "def test_without(): pass\n"
    )
    environment = {"PATH": "/nonexistent", "POLYSITE_CACHE": str(tmp_path / "cache"), "HOME": str(tmp_path)}

    def run(*arguments: str) -> str:
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-rs",
            "-p",
            "no:cacheprovider",
            f"--rootdir={ROOT}",
            "-c",
            str(ROOT / "pyproject.toml"),
        ]
        command += ["-p", "tests.conftest", str(tmp_path / "test_three.py"), *arguments]
        environment["PYTHONPATH"] = f"{ROOT / 'src'}:{ROOT}"
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False).stdout

    everything = run()
    assert "1 passed, 2 skipped" in everything, everything
    assert "capability missing: " in everything
    assert "1 passed, 2 deselected" in run("-m", "not engine")
