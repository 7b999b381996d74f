"""What a lab writes into its folder, and whose processes and folders are its own.

Method: folders of the test; processes of the test stand for those of a lab.
"""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from polysite.errors import BadRequest
from polysite.lab.state import Identity, LabFolder, Plan, State, end, identify, is_alive, take_lock
from polysite.lab.topology import plan as plan_topology


def a_plan(**more: object) -> Plan:
    topology = plan_topology(lab="abc")
    return Plan(**{"lab": "abc", "mode": "network", "topology": topology, **more})  # type: ignore[arg-type]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Goal: another process learns from the folder what the lab is. Method: write, read; then texts that no lab wrote."""
    folder = LabFolder(tmp_path)
    assert folder.read() is None
    state = State(plan=a_plan(), keeper=Identity(7, 8, "boot"))
    folder.write(state)
    assert folder.read() == state
    assert [path.name for path in tmp_path.iterdir()] == ["lab.json"]
    folder.write(msgspec.structs.replace(state, format=99))
    with pytest.raises(BadRequest, match="99"):
        folder.read()
    folder.state.write_text("{}")
    with pytest.raises(BadRequest, match=r"lab\.json"):
        folder.read()


def test_one_living_lab_per_folder(tmp_path: Path) -> None:
    """Goal: a folder whose keeper lives is told from one whose keeper died in whatever way. Method: a lock held, and let go."""
    folder = LabFolder(tmp_path)
    assert not is_alive(folder)
    held = take_lock(folder)
    assert held is not None
    assert is_alive(folder)
    assert take_lock(folder) is None
    os.close(held)
    assert not is_alive(folder)


def test_a_folder_of_somebody_else_is_not_emptied(tmp_path: Path) -> None:
    """Goal: `--dir` with the wrong name destroys nothing. Method: a folder with a file in it; then a lab's own of before."""
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(BadRequest, match="something else"):
        LabFolder(tmp_path).begin(keep=False)
    assert (tmp_path / "thesis.tex").exists()
    ours = LabFolder(tmp_path / "lab")
    ours.begin(keep=False)
    ours.write(State(plan=a_plan()))
    (ours.site("ams")).mkdir()
    ours.begin(keep=True)
    assert ours.site("ams").exists()
    ours.begin(keep=False)
    assert not ours.site("ams").exists()


def test_a_number_that_was_given_again_is_not_ours() -> None:
    """Goal: a keeper that is long dead never costs a stranger with its number his life. Method: the same number, started at
    another moment, or before the machine was started anew; then the true one."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        true = identify(process.pid)
        assert true is not None
        assert not end(msgspec.structs.replace(true, started=true.started - 1))
        assert not end(msgspec.structs.replace(true, boot="another"))
        assert process.poll() is None
        assert end(true)
        assert process.wait(10) == -9
    assert not end(true)


def test_who_has_ended_is_nobody() -> None:
    """Goal: a process that has ended but is not buried counts as gone. Method: one that ended and was not waited for."""
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert identify(process.pid) is None
    process.stdout.close()
    process.wait()
