"""Starting, waiting for and ending an engine, tried with small scripts in an engine's place: what it says and does is the test's choice."""

import os
import select
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from polysite.lab.engines.failures import EngineEnded
from polysite.lab.engines.probes import Standing
from polysite.lab.engines.running import Engine, start
from polysite.lab.engines.specs import Installation
from polysite.lab.engines.tools import Java

LIMIT_S = 30
NOTHING = Installation(jars=(), java=Java("java", 17, ""))
SILENT = Standing(flaw="refused")


@dataclass
class Script:
    """A shell script in an engine's place; it tells through `pipe` when it has begun. `standings` are its answers, the last for ever."""

    folder: str
    script: str
    standings: list[Standing] = field(default_factory=lambda: [SILENT])
    engine: str = "zookeeper"
    address: str = "127.0.0.1"
    port: int = 1

    def files(self) -> Mapping[str, str]:
        return {"conf/deep/one": "written"}

    def command(self, installation: Installation, *, jvm: Sequence[str] = ()) -> list[str]:
        return ["/bin/sh", "-c", self.script, "sh", *jvm]

    def ask(self) -> Standing:
        return self.standings.pop(0) if len(self.standings) > 1 else self.standings[0]


class Counted:
    """Time that goes on only where somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def sleep_s(self, duration_s: float) -> None:
        self.now_s += duration_s

    def monotonic_s(self) -> float:
        return self.now_s


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def begun(pipe: Path) -> str:
    """What a script wrote into the pipe once it had begun."""
    with pipe.open() as told:
        return told.readline().strip()


def test_its_files_and_options_reach_it(tmp_path: Path, pipe: Path) -> None:
    """Goal: what the specification says is there before the engine runs, in its folder, with further options for Java, and no CLASSPATH of the caller's."""
    spec = Script(str(tmp_path), f'echo "$(cat conf/deep/one) $1 [$CLASSPATH]" > "{pipe}"; exec sleep 600')
    engine = start(spec, NOTHING, jvm=["-Dx"], environ={**os.environ, "CLASSPATH": "stray"})
    try:
        assert begun(pipe) == "written -Dx []"
    finally:
        engine.kill()


def test_waiting_is_bounded_and_says_what_lacks(tmp_path: Path) -> None:
    """Goal: an engine that serves and never finds its peers is given up in time, told by name. Method: time that only sleeping moves."""
    spec = Script(str(tmp_path), "echo odd >&2; exec sleep 600", [SILENT, Standing(peers=("10.0.0.1",))])
    time = Counted()
    engine = start(spec, NOTHING, pace=time)
    try:
        with pytest.raises(EngineEnded, match=r"not ready after 7 s: it does not list 10.0.0.2 yet; its last words:"):
            engine.wait_ready(expected=["10.0.0.1", "10.0.0.2"], wait_s=7)
        assert time.now_s == pytest.approx(7, abs=0.5)
    finally:
        engine.kill()


def test_waiting_ends_when_it_serves_and_lists_all(tmp_path: Path) -> None:
    """Goal: neither an engine that only serves nor one that lists only some is ready. Method: answers that get better one by one; all are used up."""
    ready = Standing(peers=("a", "b"))
    spec = Script(str(tmp_path), "exec sleep 600", [SILENT, Standing(), Standing(peers=("a",)), ready])
    engine = start(spec, NOTHING, pace=Counted())
    try:
        assert engine.wait_ready(expected=["a", "b"], wait_s=60) == ready
        assert spec.standings == [ready]
    finally:
        engine.kill()


def test_one_that_will_not_go_is_ended_by_force_with_what_it_started(tmp_path: Path, pipe: Path) -> None:
    """Goal: `stop` leaves nothing, whatever the engine does with its signal. Method: a script that ignores it, with a child that does too."""
    script = f"""trap '' TERM; (echo "$(exec sh -c 'echo $PPID')" > "{pipe}"; exec sleep 600) & wait"""
    engine = start(Script(str(tmp_path), script), NOTHING, pace=Counted())
    child = os.pidfd_open(int(begun(pipe)))
    try:
        assert engine.is_alive()
        assert engine.stop(wait_s=1) is False
        assert not engine.is_alive()
        assert select.select([child], [], [], LIMIT_S)[0], "its child is still there"
    finally:
        os.close(child)
        engine.kill()


def test_what_one_that_died_left_running_is_ended(tmp_path: Path, pipe: Path) -> None:
    """Goal: an engine that dies and leaves a child is cleared up as well. Method: a script that ends at once behind a child of its own."""
    script = f"""(echo "$(exec sh -c 'echo $PPID')" > "{pipe}"; exec sleep 600) & exit 3"""
    engine = start(Script(str(tmp_path), script), NOTHING)
    child = os.pidfd_open(int(begun(pipe)))
    try:
        with pytest.raises(EngineEnded, match="ended while it started"):
            engine.wait_ready(wait_s=LIMIT_S)
        assert engine.stop() is True
        assert select.select([child], [], [], LIMIT_S)[0], "its child is still there"
    finally:
        os.close(child)
        engine.kill()


@pytest.mark.parametrize("guarded", [True, False])
def test_only_a_guarded_one_has_a_guard(tmp_path: Path, guarded: bool) -> None:
    """Goal: an engine that is to outlive its starter has nobody who would end it; and no guard stays behind after the end of the guarded one."""
    engine: Engine = start(Script(str(tmp_path), "exec sleep 600"), NOTHING, guarded=guarded)
    guard = engine._guard
    engine.kill()
    assert (guard is not None) == guarded
    assert guard is None or guard.returncode == 0
