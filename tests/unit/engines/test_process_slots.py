"""Process slots: one process each, a higher incarnation at every start, death told only when it is certain."""

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from polysite.engines.process_slots import FileSlots
from polysite.errors import BadRequest

HOLD = """
import sys, pathlib
from polysite.engines.process_slots import FileSlots
slot = FileSlots(pathlib.Path(sys.argv[1])).take()
print(slot.process, slot.incarnation, flush=True)
sys.stdin.read()
"""


def test_slots_of_one_program(tmp_path: Path) -> None:
    """Goal: slots are taken once and freed by release. Method: two takers in one program."""
    slots = FileSlots(tmp_path)
    one, two = slots.take(), FileSlots(tmp_path).take()
    assert [(one.process, one.incarnation), (two.process, two.incarnation)] == [("p1", 1), ("p2", 1)]
    assert not slots.is_dead("p1", 1)
    one.release()
    one.release()
    assert slots.is_dead("p1", 1)
    again = slots.take()
    assert (again.process, again.incarnation) == ("p1", 2)
    assert slots.is_dead("p1", 1)
    assert not slots.is_dead("p1", 2)
    again.release()
    two.release()


def test_names_from_elsewhere(tmp_path: Path) -> None:
    """Goal: a process that never had a slot here is not known to be dead. Method: names that are none."""
    slots = FileSlots(tmp_path)
    for name in ("", "p", "p9", "../p1", "q1"):
        assert not slots.is_dead(name, 1)


def test_killed_process(tmp_path: Path) -> None:
    """Goal: a killed process frees its slot, a live one does not. Method: a child that holds one, then SIGKILL."""
    slots = FileSlots(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline().split() == ["p1", "1"]
        assert not slots.is_dead("p1", 1)
        child.kill()
        child.wait()
    assert slots.is_dead("p1", 1)
    slot = slots.take()
    assert (slot.process, slot.incarnation) == ("p1", 2)
    slot.release()


def test_a_folder_that_names_no_machine(tmp_path: Path) -> None:
    """Goal: two machines never have processes of one name, whatever became of their folders. Method: an empty file of letters; nothing
    is taken, and once it is removed new letters are drawn."""
    (tmp_path / "machine").write_text("")
    slots = FileSlots(tmp_path, draw=lambda: "cc33")
    with pytest.raises(BadRequest, match="names no machine: remove it"):
        slots.take()
    (tmp_path / "machine").unlink()
    slot = slots.take()
    assert slot.process == "p1-cc33"
    slot.release()


def test_folders_of_several_machines(tmp_path: Path) -> None:
    """Goal: processes of one site on several machines have names of their own, which stay over a restart, and none says of
    another machine's process that it is dead. Method: two folders with letters drawn."""
    drawn = iter(["aa11", "bb22", "never"])
    here, there = (FileSlots(tmp_path / name, draw=lambda: next(drawn)) for name in ("here", "there"))
    one, two = here.take(), there.take()
    assert [one.process, two.process] == ["p1-aa11", "p1-bb22"]
    two.release()
    assert there.is_dead("p1-bb22", 1)
    assert not here.is_dead("p1-bb22", 1)
    assert not here.is_dead("p1-aa11", 1)
    one.release()
    again = FileSlots(tmp_path / "here", draw=lambda: next(drawn)).take()
    assert (again.process, again.incarnation) == ("p1-aa11", 2)
    assert here.is_dead("p1-aa11", 1)
    again.release()


def test_a_copy_of_a_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Goal: a copy of a data folder has names of its own, says nothing of processes of the original, and keeps its names from then on.
    Method: copy a folder while a process lives in it; the copy's locks are all free."""
    drawn = iter(["aa11", "bb22", "never"])
    original = FileSlots(tmp_path / "original", draw=lambda: next(drawn))
    living = original.take()
    shutil.copytree(tmp_path / "original", tmp_path / "copy")
    copy = FileSlots(tmp_path / "copy", draw=lambda: next(drawn))
    assert not copy.is_dead(living.process, living.incarnation)
    for incarnation in (2, 3):
        slot = copy.take()
        assert (slot.process, slot.incarnation) == ("p1-bb22", incarnation)
        assert not copy.is_dead(living.process, living.incarnation)
        slot.release()
    assert [record.message.partition(":")[0] for record in caplog.records] == ["the data folder was copied or moved"]
    assert not original.is_dead(living.process, living.incarnation)
    living.release()
    assert original.is_dead("p1-aa11", 1)


def test_a_copy_of_a_disk(tmp_path: Path) -> None:
    """Goal: a folder that is on another machine has other names, also when nothing of the file tells. Method: the same folder, and a
    machine that is another one; letters of a time before they were bound to anything."""
    drawn = iter(["aa11", "bb22", "cc33"])
    here, there = (FileSlots(tmp_path, draw=lambda: next(drawn), machine=machine) for machine in ("here", "there"))
    for slots, expected in ((here, "p1-aa11"), (here, "p1-aa11"), (there, "p1-bb22")):
        slot = slots.take()
        assert slot.process == expected
        slot.release()
    (tmp_path / "machine").write_text("aa11\n")
    slot = there.take()
    assert slot.process == "p1-cc33"
    slot.release()


def test_another_name_is_wanted(tmp_path: Path) -> None:
    """Goal: who finds that somebody else has the name takes another, and what was known under the old letters is not known any more.
    Method: rename while a slot is held; a folder without letters has nothing to draw."""
    drawn = iter(["aa11", "bb22"])
    slots = FileSlots(tmp_path / "lettered", draw=lambda: next(drawn))
    one, two = slots.take(), slots.take()
    two.release()
    assert slots.is_dead("p2-aa11", 1)
    slots.rename()
    assert not slots.is_dead("p2-aa11", 1)
    again = slots.take()
    assert (one.process, again.process) == ("p1-aa11", "p2-bb22")
    plain = FileSlots(tmp_path / "plain")
    plain.rename()
    assert [plain.lettered, slots.lettered] == [False, True]
    assert plain.take().process == "p1"


def test_processes_that_start_together_on_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: they agree on the new letters. Method: letters of another folder; when one process is about to draw, another one has just
    done so."""
    tmp_path.joinpath("machine").write_text("aa11 0123456789abcdef\n")
    lock = fcntl.flock
    others: list[Any] = []

    def meanwhile(descriptor: int, how: int) -> None:
        if how == fcntl.LOCK_EX and not others:
            others.append(None)
            others[0] = FileSlots(tmp_path, draw=lambda: "bb22").take()
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", meanwhile)
    slot = FileSlots(tmp_path, draw=lambda: "cc33").take()
    assert [slot.process, others[0].process] == ["p1-bb22", "p2-bb22"]
