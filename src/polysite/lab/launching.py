"""Starting a lab from another process: plan it, start its keeper, hear how it comes up."""

import contextlib
import secrets
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import msgspec

from polysite.errors import AlreadyExists, PolysiteError, Unavailable, from_code
from polysite.lab.control import Control
from polysite.lab.network import capability
from polysite.lab.state import LabFolder, Mode, Plan, State, is_alive
from polysite.lab.topology import plan as plan_topology

_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"


def make_plan(
    *,
    sites: tuple[str, ...] | None = None,
    rtt_ms: float | None = None,
    profile: str | None = None,
    loopback: bool = False,
    **more: Any,
) -> Plan:
    """A lab as it was asked for, as far as this machine allows: without the means for networks it is on loopback, and says why.

    `more` are members of `Plan`. BadRequest says what would be right.
    """
    why = "" if loopback else capability.missing() or ""
    mode: Mode = "loopback" if loopback or why else "network"
    lab = "".join(secrets.choice(_LETTERS) for _ in range(6))
    topology = plan_topology(lab=lab, sites=sites, rtt_ms=rtt_ms, profile=profile, loopback=mode == "loopback")
    return Plan(lab=lab, mode=mode, why_loopback=why, topology=topology, **more)


def launch(path: Path, plan: Plan, *, keep: bool = False) -> Generator[dict[str, Any], None, None]:
    """Start the lab; what happens, event by event, until it is up. Whoever stops listening before that ends it.

    `keep`: with the data that is there. AlreadyExists: a lab is up in this folder. Otherwise what kept it from coming up; then
    nothing of it is left.
    """
    folder = LabFolder(path)
    if is_alive(folder):
        raise AlreadyExists("a lab is up in this folder: polysite lab down ends it, --dir names another folder")
    folder.begin(keep=keep)
    folder.write(State(plan=plan))
    keeper = subprocess.Popen(  # ourselves
        [sys.executable, "-m", "polysite.lab.keeper", str(folder.path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=folder.log.open("ab"),
        start_new_session=True,
    )
    assert keeper.stdout is not None
    came_up = False
    try:
        with keeper.stdout as lines:
            for line in lines:
                event = msgspec.json.decode(line, type=dict[str, Any])
                if event["event"] == "failed":
                    raise _error_of(event)
                came_up = event["event"] == "up"
                yield event
        if not came_up:
            raise Unavailable("the lab's keeper ended before the lab was up; `polysite lab logs` shows its last words")
    finally:
        if not came_up:
            _abandon(path)
        if plan.mode == "network":
            keeper.wait()


def _abandon(path: Path) -> None:
    with contextlib.suppress(PolysiteError):
        Control(path).down()


def _error_of(event: dict[str, Any]) -> PolysiteError:
    return from_code(event.get("code", "unavailable"), event["message"], {})
