"""`python -m polysite.lab.keeper FOLDER`: be the keeper of the lab that FOLDER/lab.json plans.

Standard output is told of the progress until the lab is up. The process that was started ends at once, with 0 if there is a
keeper; the keeper is its child, process 1 of a namespace of processes, so that the kernel ends all others with it.
"""

import asyncio
import os
import sys
from pathlib import Path

import msgspec

from polysite.errors import PolysiteError, Unavailable
from polysite.lab.engines import fetch, release_of
from polysite.lab.keeper.keeper import Keeper
from polysite.lab.keeper.progress import Progress
from polysite.lab.network import kernel
from polysite.lab.services.planning import engines_of, services_of
from polysite.lab.state import LabFolder, State, identify, take_lock

OUTPUT = 1


def main(arguments: list[str]) -> int:
    """Keep the lab of a folder."""
    folder = LabFolder(Path(arguments[0]))
    progress = Progress(folder.log, os.dup(OUTPUT))
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, OUTPUT)
    os.close(null)
    try:
        return _keep(folder, progress)
    except PolysiteError as error:
        progress.tell("failed", code=error.code, message=error.message)
        return 1
    except Exception as error:  # whatever it is, who waits for the lab is told
        progress.tell("failed", code="error", message=f"{type(error).__name__}: {error}")
        raise


def _keep(folder: LabFolder, progress: Progress) -> int:
    state = folder.read()
    lock = take_lock(folder)
    if state is None or lock is None:
        raise Unavailable("another lab has this folder now")
    if state.plan.mode == "network":
        child = _alone(folder, state)
        if child is not None:
            return 0
    else:
        _note(folder, state, os.getpid())
    installations = {engine: fetch(release_of(engine), os.environ) for engine in engines_of(state.plan)}
    keeper = Keeper(folder, state.plan, services_of(state.plan, folder, installations), progress)
    asyncio.run(keeper.run())
    return 0


def _alone(folder: LabFolder, state: State) -> int | None:
    """Go on as process 1 of a namespace of processes, in a child; None: this is it."""
    kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWPID)
    reading, writing = os.pipe()
    child = os.fork()
    if child != 0:
        _note(folder, state, child)
        return child
    os.close(writing)
    os.read(reading, 1)  # until it is written down, and the process that did has ended
    os.close(reading)
    kernel.own_proc()
    return None


def _note(folder: LabFolder, state: State, pid: int) -> None:
    """Write down which process keeps the lab, by the number it has outside."""
    folder.write(msgspec.structs.replace(state, keeper=identify(pid)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
