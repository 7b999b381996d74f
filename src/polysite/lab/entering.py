"""Being at a site: a command that runs in a site's network, among the lab's processes, with this terminal.

What it starts belongs to the lab: it ends with the lab, as everything else there.
"""

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from polysite.lab.control import Control
from polysite.lab.network import kernel
from polysite.lab.orders import SiteStatus

NOT_STARTED, NOT_THERE = 126, 127
"""What shells end with when a command cannot be started, or is not there."""
SIGNALLED = 128


def run_at(control: Control, site: str, argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command at a site; its exit code, as shells say it. BadRequest: there is no such site."""
    status = control.status()
    control.state.plan.topology.index(site)
    place = next(one for one in status.sites if one.name == site)
    if place.namespace is not None:
        enter(control.keeper_pid(), place)
    child = os.fork()
    if child == 0:
        _become(argv, variables_at(place, environment))
    # The terminal tells the command too; we only wait for it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    _, how = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(how)
    return code if code >= 0 else SIGNALLED - code


def enter(keeper_pid: int, site: SiteStatus) -> None:
    """Have this process see the lab's files and network, and its next child be one of the lab's processes."""
    here = os.getcwd()
    proc = f"/proc/{keeper_pid}"
    with contextlib.ExitStack() as stack:
        opened = []
        for name in (f"fd/{site.namespace}", "ns/pid", "ns/mnt"):
            opened.append(os.open(f"{proc}/{name}", os.O_RDONLY | os.O_CLOEXEC))
            stack.callback(os.close, opened[-1])
        for descriptor in opened:
            kernel.enter(descriptor)
    os.chdir(here)


def variables_at(site: SiteStatus, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a command at a site: our commands find the site's process, and are found."""
    found = {**environment, "POLYSITE_URL": site.url}
    ours = Path(sys.executable).parent
    if (ours / "polysite").exists() and shutil.which("polysite", path=environment.get("PATH")) is None:
        found["PATH"] = f"{ours}{os.pathsep}{environment.get('PATH', os.defpath)}"
    return found


def pids_outside(keeper_pid: int) -> dict[int, int]:
    """The lab's processes: the number each has inside the lab → the one it has here."""
    mine = _link(f"/proc/{keeper_pid}/ns/pid")
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and mine is not None and _link(f"/proc/{entry}/ns/pid") == mine:
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{entry}/status").read_text()
                numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()
                found[int(numbers[-1])] = int(entry)
    return found


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


def _become(argv: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    code = NOT_STARTED
    try:
        os.execvpe(argv[0], list(argv), dict(environment))  # noqa: S606  # no shell: the command is what was typed
    except FileNotFoundError:
        code = NOT_THERE
        os.write(2, f"there is no command {argv[0]}\n".encode())
    except OSError as error:
        os.write(2, f"{argv[0]} cannot be started: {error.strerror}\n".encode())
    finally:
        os._exit(code)
