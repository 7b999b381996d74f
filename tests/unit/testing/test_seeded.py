"""`seeded` runs coroutine tests under pytest: a case per seed, fixtures as usual, failures that name their seed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from polysite.testing.loop import Leaked, current_loop, seeded

SUITE = '''
import asyncio
import pytest
from polysite.testing.loop import current_loop, seeded

@pytest.fixture
def basket():
    return ["apple"]

@seeded(seeds=3)
async def test_passes(basket):
    """Goal."""
    await asyncio.sleep(100)
    assert basket == ["apple"]
    basket.append("pear")

@seeded(seeds=[4, 9])
async def test_fails_on_nine(seed, basket):
    """Goal."""
    await asyncio.sleep(0)
    assert seed == current_loop().seed
    assert seed != 9

class TestMethods:
    @pytest.mark.parametrize("number", [1, 2])
    @seeded
    async def test_leaks(self, number):
        """Goal."""
        current_loop().kept = asyncio.create_task(asyncio.sleep(number), name=f"leaking {number}")
'''


def _run_suite(folder: Path, **environment: str) -> str:
    (folder / "test_suite.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "test_suite.py"]
    inherited = {key: text for key, text in os.environ.items() if not key.startswith(("POLYSITE_", "PYTEST_"))}
    return subprocess.run(
        command,
        cwd=folder,
        env={**inherited, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    ).stdout


def test_cases_fixtures_and_the_seed_of_a_failure(tmp_path: Path) -> None:
    """Each seed is a case with fixtures of its own; a failure says which seed repeats it, a leak which task."""
    out = _run_suite(tmp_path)
    for seed in range(3):
        assert f"PASSED test_suite.py::test_passes[seed{seed}]" in out
    assert "PASSED test_suite.py::test_fails_on_nine[seed4]" in out
    assert "FAILED test_suite.py::test_fails_on_nine[seed9]" in out
    assert "POLYSITE_SEED=9 runs this case again" in out
    assert "seed 9, trace " in out
    assert "pending task leaking 2" in out
    assert "4 passed, 3 failed" in out or "3 failed, 4 passed" in out


def test_the_environment_chooses_the_seeds(tmp_path: Path) -> None:
    """POLYSITE_SEED runs one seed alone, also one the test does not list; POLYSITE_SEEDS runs that many."""
    alone = _run_suite(tmp_path, POLYSITE_SEED="17")
    assert "PASSED test_suite.py::test_passes[seed17]" in alone
    assert "PASSED test_suite.py::test_fails_on_nine[seed17]" in alone
    assert "seed0" not in alone
    many = _run_suite(tmp_path, POLYSITE_SEEDS="12")
    assert "PASSED test_suite.py::test_passes[seed11]" in many
    assert "FAILED test_suite.py::test_fails_on_nine[seed9]" in many


def test_called_by_hand_it_runs_all_its_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pytest's argument the function runs once per seed, and its options reach the run."""
    monkeypatch.delenv("POLYSITE_SEED", raising=False)
    monkeypatch.delenv("POLYSITE_SEEDS", raising=False)
    seen: list[int | str] = []

    @seeded(seeds=[3, 1], limit_s=5, shuffle=False)
    async def by_hand(extra: str) -> None:
        assert extra == "given"
        assert current_loop().limit_s == 5
        seen.append(current_loop().seed)

    by_hand("given")
    assert seen == [3, 1]


def test_a_leak_fails_the_test() -> None:
    """A seeded test that leaves a task behind fails although its body passed."""

    @seeded
    async def leaks() -> None:
        loop = current_loop()
        loop.kept = loop.create_task(loop.wait_idle(), name="no leak: it ends")  # type: ignore[attr-defined]
        loop.more = loop.create_task(_forever(), name="a leak")  # type: ignore[attr-defined]

    with pytest.raises(Leaked, match="a leak: ") as leaked:
        leaks()
    assert "no leak" not in str(leaked.value)


async def _forever() -> None:
    await current_loop().create_future()
