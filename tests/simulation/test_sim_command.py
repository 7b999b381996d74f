"""`polysite sim` and `polysite demo`: what they print, and how they end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from polysite.cli.sim import LASTS_S
from polysite.testing.judging.findings import kind_of
from polysite.testing.loop import run
from polysite.testing.mutants.convicting import recorded
from polysite.testing.world.demo import Demo
from polysite.testing.world.running import Plan


def polysite(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "polysite.cli", *arguments], capture_output=True, text=True, check=False
    )


def test_run() -> None:
    """Some seeds: what was asked, injected and found is counted."""
    done = polysite("sim", "run", "--seeds", "3..6", "--jobs", "1", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["runs"] == 4
    assert told["illegal"] == []
    assert told["done"] + told["refused"] + told["unknown"] == told["calls"]
    assert sum(told["faults"].values()) > 10


def test_a_run_lasts_as_long_as_is_said() -> None:
    """A shorter one is another run, with fewer calls, and is replayed by the same length; what is not said is what plans have."""
    assert Plan(seed=3).lasts_s == LASTS_S
    told = {
        lasts: json.loads(polysite("sim", "replay", "3", "--lasts", lasts, "--json").stdout) for lasts in ("4", "20")
    }
    assert told["4"]["calls"] < told["20"]["calls"]
    counted = json.loads(polysite("sim", "run", "--seeds", "3", "--lasts", "4", "--json").stdout)
    assert counted["calls"] == told["4"]["calls"]


def test_replay_is_the_same_twice(tmp_path: Path) -> None:
    """Trace and history of one seed, from two processes; its history can be judged from its file."""
    histories = [tmp_path / name for name in ("one", "other")]
    told = [json.loads(polysite("sim", "replay", "9", "--json", "--history", str(path)).stdout) for path in histories]
    assert told[0] == told[1]
    assert told[0]["trace_hash"]
    assert histories[0].read_bytes() == histories[1].read_bytes()
    judged = polysite("sim", "judge", str(histories[0]))
    assert (judged.returncode, judged.stdout.strip()) == (0, "nothing is found against it")


def test_a_history_that_cannot_be(tmp_path: Path) -> None:
    """An acknowledged write that the next holder does not see is told, and the command ends with 10."""
    path = tmp_path / "history"
    assert polysite("sim", "replay", "9", "--history", str(path)).returncode == 0
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    read = next(line for line in lines if line["verb"] == "read" and line.get("value"))
    read["value"] = {"a": "never written"}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    judged = polysite("sim", "judge", str(path))
    assert judged.returncode == 10
    finding, *picture = judged.stdout.split("\n\n")
    assert "never written" in finding
    assert len(picture) == 1
    assert "*read #" in picture[0]
    assert max(map(len, picture[0].splitlines()[1:])) <= 128


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "--seeds", "5..2"], "comes before the first"),
        (["run", "--seeds", "some"], "FIRST..LAST"),
        (["run", "--faults", "rain"], "there is no fault 'rain'"),
        (["mutants", "rain"], "there is no mutant 'rain'"),
        (["replay", "1", "--mutant", "rain"], "there is no mutant 'rain'"),
        (["replay"], "a seed, or a --plan"),
        (["replay", "1", "--plan", __file__], "a seed, or a --plan"),
        (["replay", "--plan", __file__], "has no plan"),
    ],
)
def test_what_cannot_be_asked(arguments: list[str], told: str) -> None:
    """It says what is wrong, and nothing is run."""
    done = polysite("sim", *arguments)
    assert done.returncode == 10
    assert told in done.stderr


def test_a_failing_seed_fails_again_and_is_made_smaller(tmp_path: Path) -> None:
    """The seed that convicts a mutant does so again, with the same trace; a smaller plan is found, which shows the same from its file; what it
    shows is drawn. Without the mutant there is nothing to make smaller."""
    name, path = "row_stamp set by partial puts", tmp_path / "plan"
    seed = str(recorded()[name])
    asked = ["sim", "replay", seed, "--mutant", name, "--json"]
    told = [
        json.loads(polysite(*asked, *more).stdout) for more in ([], ["--shrink", "--runs", "25", "--keep", str(path)])
    ]
    smaller = told[1].pop("smaller")
    assert told[0] == told[1]
    assert told[0]["findings"]
    assert kind_of(smaller["finding"]) == kind_of(told[0]["findings"][0])
    assert len(smaller["plan"]["faults"]) < len(told[0]["schedule"]) / 2
    assert smaller["runs"] <= 25
    again = polysite("sim", "replay", "--plan", str(path), "--mutant", name)
    assert again.returncode == 10
    assert smaller["finding"] in again.stdout
    assert "* named by the finding" in again.stdout
    sound = polysite("sim", "replay", "--plan", str(path), "--shrink")
    assert (sound.returncode, sound.stdout.splitlines()[-1]) == (0, "nothing is found against it")


def test_what_convicts_a_mutant_is_known() -> None:
    """A mutant alone is enough to see the run that convicts it: by its plan, or by its seed."""
    for name in ("no fence rule", "row_stamp set by partial puts", "shared: re-read on retry of a re-stamp"):
        done = polysite("sim", "replay", "--mutant", name)
        assert done.returncode == 10
        assert " calls show: " in done.stdout


def test_a_mutant_is_convicted() -> None:
    """By the runs of its own process; the sound code is not."""
    done = polysite("sim", "mutants", "--search", "30", "--jobs", "1", "--json", "acknowledge after one replica")
    (told,) = json.loads(done.stdout)
    assert done.returncode == 0
    assert told["seed"] is not None
    assert told["finding"]


def test_demo_in_virtual_time() -> None:
    """The counter is raised at every site, the killed one's too, the zombie is refused, every site reads the same, and the judge is content."""
    lines: list[str] = []

    async def main() -> Demo:
        demo = Demo(lines.append)
        assert await demo.run() == []
        return demo

    demo = run(main, seed=1)
    assert all(count > 3 for count in demo.raised.values())
    assert demo.late.startswith("is answered")
    read = [line for line in lines if " reads " in line]
    assert len(read) == 3
    assert len({line.split()[-1] for line in read}) == 1
    assert int(read[0].split()[-1]) < 1_000_000
    costs = {name: trips for name, trips, _, _ in demo.costs()}
    assert costs["put"] == 1
    assert costs["release"] == 0
