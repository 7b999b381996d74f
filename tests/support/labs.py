"""Labs for tests, by the command as people type it, and what a lab leaves on the machine.

with running_lab(folder, "--run", "nothing") as lab:
    lab.run("cut", "ams")
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from polysite.lab.control import Control
from polysite.lab.network import kernel
from polysite.lab.orders import LabStatus

ENDS_S = 100.0
PORT = 7_100


class Ended(NamedTuple):
    """What a command ended with."""

    code: int
    out: str
    error: str


class Lab:
    """The lab in a folder, by commands and through its control."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, verb: str, *arguments: str, fine: bool = True) -> Ended:
        """`polysite lab VERB --dir FOLDER ARGUMENTS`."""
        command = [sys.executable, "-m", "polysite.cli", "lab", verb, "--dir", str(self.folder), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=ENDS_S)
        assert not fine or done.returncode == 0, done
        return Ended(done.returncode, done.stdout, done.stderr)

    def json(self, verb: str, *arguments: str) -> Any:
        return json.loads(self.run(verb, "--json", *arguments).out)

    @property
    def control(self) -> Control:
        return Control(self.folder)

    def address(self, site: str) -> str:
        return self.control.state.plan.topology.address(site)

    def socket(self, site: str) -> socket.socket:
        """A UDP socket at a site, bound to PORT."""
        control = self.control
        status: LabStatus = control.status()
        number = next(one.namespace for one in status.sites if one.name == site)
        with contextlib.ExitStack() as stack:
            for path, keep in (
                ("/proc/thread-self/ns/net", True),
                (f"/proc/{control.keeper_pid()}/fd/{number}", False),
            ):
                opened = os.open(path, os.O_RDONLY)
                stack.callback(os.close, opened)
                if keep:
                    stack.callback(kernel.enter, opened)
                else:
                    kernel.enter(opened)
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((self.address(site), PORT))
        return made


@contextlib.contextmanager
def running_lab(folder: Path, *options: str) -> Iterator[Lab]:
    """A lab that is up, and down afterwards."""
    lab = Lab(folder)
    lab.run("up", *options)
    try:
        yield lab
    finally:
        lab.run("down")


class Traces(NamedTuple):
    """What labs could leave on a machine."""

    named_networks: frozenset[str]
    devices: frozenset[str]
    networks: frozenset[str]
    keepers: frozenset[str]


def traces(folder: Path) -> Traces:
    """Names of networks, devices, networks that processes are in, and processes with the lab's folder in their command line."""
    netns = Path("/run/netns")
    networks, keepers = set(), set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                networks.add(os.readlink(entry / "ns/net"))
                if str(folder).encode() in (entry / "cmdline").read_bytes() and entry.name != str(os.getpid()):
                    keepers.add(entry.name)
    return Traces(
        frozenset(path.name for path in netns.iterdir()) if netns.exists() else frozenset(),
        frozenset(path.name for path in Path("/sys/class/net").iterdir()),
        frozenset(networks),
        frozenset(keepers),
    )
