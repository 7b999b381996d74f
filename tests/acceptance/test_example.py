"""The example counts exactly.

Goal: what the documentation promises of the example is so: every ballot is counted once although a client and the server
are killed on the way. Method: a short run of the command itself, as a process with children of its own.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from examples.votes.__main__ import CACHE
from examples.votes.ballots import fetch
from tests.support.source import ROOT

RUN_S = 150.0


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize(("interface", "ballots_max"), [("v3", "3"), ("v2", "5")])
def test_three_thousand_ballots(interface: str, ballots_max: str, tmp_path: Path) -> None:
    """Small batches, so that the kills come in the middle; exit code 0 means that every total is right."""
    try:
        fetch(ROOT / CACHE)
    except subprocess.CalledProcessError:
        pytest.skip("the ballot file is not here and cannot be fetched")
    command = [sys.executable, "-m", "examples.votes", "--interface", interface, "--ballots-limit", "3000"]
    command += ["--ballots-max", ballots_max]
    process = subprocess.Popen(
        [*command, "--data", str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        told, _ = process.communicate(timeout=RUN_S)
    finally:
        # Its children are of its group: none outlives the test.
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    log = (tmp_path / "server.log").read_text(errors="replace")
    assert process.returncode == 0, f"{told}\nserver:\n{log[-4_000:]}"
    assert "every total equals the file's" in told
    assert told.count("server killed with SIGKILL") >= 2
    assert "killed with SIGKILL" in told
