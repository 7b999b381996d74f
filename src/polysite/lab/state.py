"""A lab's folder, and what is written there: who the lab is, what it was asked for, which process keeps it.

FOLDER/lab.json       the plan, and the keeper's process
FOLDER/lab.lock       locked by the keeper as long as it lives
FOLDER/control.sock   where the keeper is spoken to
FOLDER/lab.log        what happened, one JSON object per line
FOLDER/sites/NAME/    settings, data and logs of one site
"""

import contextlib
import fcntl
import os
import shutil
import signal
from pathlib import Path
from typing import Literal

import msgspec

from polysite.errors import BadRequest
from polysite.lab.topology import Topology

FORMAT = 1
FOLDER_DEFAULT = "polysite-lab"
PORT = 8390

Mode = Literal["network", "loopback"]
Run = Literal["all", "engines", "nothing"]
EMBEDDED = "embedded"


class Identity(msgspec.Struct, frozen=True):
    """One process for good: its number alone may be given to another one after its end.

    `started` is in ticks since the machine started, `boot` which start of the machine that was.
    """

    pid: int
    started: int
    boot: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a lab shall be. `store` and `cells` name engines; `run` says what of it all is started."""

    lab: str
    mode: Mode
    why_loopback: str = ""
    """What is missing here for networks of their own; "" if nothing is, or nobody asked for them."""
    topology: Topology
    store: str = EMBEDDED
    cells: str = EMBEDDED
    driver: str = ""
    """The Cassandra driver of the sites' processes; "": the one they have by default."""
    run: Run = "all"
    port: int = PORT


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What `lab.json` holds. `keeper`: its process, by the number that it has outside the lab."""

    format: int = FORMAT
    plan: Plan
    keeper: Identity | None = None


class LabFolder:
    """The places in a lab's folder. Paths are absolute."""

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.abspath(path))
        self.state = self.path / "lab.json"
        self.lock = self.path / "lab.lock"
        self.socket = self.path / "control.sock"
        self.log = self.path / "lab.log"
        self.sites = self.path / "sites"

    def site(self, name: str) -> Path:
        return self.sites / name

    def read(self) -> State | None:
        """What was written; None: there is no lab here, or never was. BadRequest: another version's."""
        try:
            text = self.state.read_bytes()
        except FileNotFoundError:
            return None
        try:
            state = msgspec.json.decode(text, type=State)
        except msgspec.DecodeError as error:
            raise BadRequest(
                f"{self.state.name} in the lab's folder is not what this version writes: {error}"
            ) from None
        if state.format != FORMAT:
            raise BadRequest(f"the lab's folder has format {state.format}; this version knows {FORMAT}")
        return state

    def write(self, state: State) -> None:
        """Replace the state, whole."""
        made = self.state.with_suffix(".new")
        made.write_bytes(msgspec.json.format(msgspec.json.encode(state)))
        made.replace(self.state)

    def begin(self, *, keep: bool) -> None:
        """Make the folder ready for a lab that starts: empty, or with the sites' data of before if `keep`.

        BadRequest: it holds something, but was never a lab's folder.
        """
        if self.path.exists() and not self.state.exists() and any(self.path.iterdir()):
            raise BadRequest("the folder holds something else: name one for the lab alone with --dir")
        self.sites.mkdir(parents=True, exist_ok=True)
        if not keep:
            shutil.rmtree(self.sites)
            self.sites.mkdir()
        for path in (self.log, self.socket):
            path.unlink(missing_ok=True)


def take_lock(folder: LabFolder) -> int | None:
    """Lock the folder: the open file that holds the lock; None: a living lab has it."""
    descriptor = os.open(folder.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def is_alive(folder: LabFolder) -> bool:
    """Whether a keeper lives that has this folder."""
    if not folder.lock.exists():
        return False
    descriptor = take_lock(folder)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def identify(pid: int) -> Identity | None:
    """Who the process `pid` is; None: there is none, or it has ended and waits to be buried."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else Identity(pid, int(fields[19]), boot)


def end(identity: Identity) -> bool:
    """Kill a process if it is still the same one; whether it was."""
    if identify(identity.pid) != identity:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(identity.pid, signal.SIGKILL)
    return True
