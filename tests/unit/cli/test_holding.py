"""What reaches the command that runs under a lock."""

import os
import signal
import subprocess
from typing import Any

import pytest

from polysite.cli.holding import Holding


def test_a_signal_that_comes_while_the_command_is_being_started_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: no signal is lost between the start of the command and the moment its process is known.

    Method: the command says that it runs, and this process gets SIGTERM, before `Popen` has returned.
    """
    popen: Any = subprocess.Popen

    def slow_popen(*arguments: Any, **options: Any) -> Any:
        process = popen(*arguments, stdout=subprocess.PIPE, **options)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.stdout.close()
        os.kill(os.getpid(), signal.SIGTERM)
        return process

    monkeypatch.setattr(subprocess, "Popen", slow_popen)
    script = "trap 'exit 9' TERM; echo ready; n=0; while [ $n -lt 200 ]; do sleep 0.05; n=$((n + 1)); done"
    assert Holding(["sh", "-c", script], grace_s=1.0)._run_under(1) == 9
