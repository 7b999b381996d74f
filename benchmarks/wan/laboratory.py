"""A lab of three sites for as long as a bench runs, by the commands that everybody has, and client processes at its sites."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, Self, TypeVar

import msgspec

from polysite.lab.control import Control
from polysite.lab.orders import Freeze, Start

from .client import Plan
from .profile import longest_ms, nearest_ms
from .samples import RECORDS, Record

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
POLYSITE = [sys.executable, "-m", "polysite.cli"]
MOVED_S = 60.0
"""How long the echoes may take to show a new distance."""
ENGINE_OF_ROWS, POLYSITE_PROCESS = "cassandra", "polysite"
"""Services of the lab."""
NEAR = 0.35
"""Echoes on a busy machine are late, by so much of W at most."""


class NotUp(Exception):
    """The lab did not come up; `code` is what the command ended with."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the lab did not come up: {code}")
        self.code = code


class ClientFailed(Exception):
    """A client process at a site did not end well."""


class Running:
    """A client process at a site."""

    def __init__(self, site: str, process: "subprocess.Popen[bytes]") -> None:
        self.site, self.process = site, process

    def cue(self, moment_s: float) -> None:
        """Tell it that something was done, and a moment of the machine's monotonic clock."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{moment_s}\n".encode())
        self.process.stdin.flush()

    def hear(self) -> Record:
        """The next it tells. ClientFailed: it has ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise ClientFailed(f"the client at {self.site} ended with {self.process.wait()}")
        found: Record = msgspec.json.decode(line, type=RECORDS)
        return found

    def records(self) -> list[Record]:
        """What it told, when it has ended. ClientFailed: it did not end well."""
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            told = [msgspec.json.decode(line, type=RECORDS) for line in lines]
        if code := self.process.wait():
            raise ClientFailed(f"the client at {self.site} ended with {code}")
        return told


class Laboratory:
    """The lab: up inside `with`, down and gone after it, also after Ctrl-C or SIGTERM."""

    def __init__(
        self, *, sites: Sequence[str], store: str, cells: str, rtt_ms: float = 0.0, profile: str | None = None
    ) -> None:
        """`profile` None: all sites are `rtt_ms` apart; else `rtt_ms` is the longest way of the profile, so that what rests between two
        measurements rests for everybody."""
        self.sites, self.profile = tuple(sites), profile
        self.rtt_ms = rtt_ms if profile is None else longest_ms(profile)
        apart = ["--rtt-ms", f"{rtt_ms:g}"] if profile is None else ["--profile", profile]
        self._up = ["--sites", ",".join(sites), *apart, "--store", store, "--cells", cells]
        self._place = tempfile.TemporaryDirectory(prefix="polysite-bench-wan-")
        self._folder = str(Path(self._place.name) / "lab")

    def __enter__(self) -> Self:
        signal.signal(signal.SIGTERM, _ended)
        try:
            up = subprocess.run([*POLYSITE, "lab", "up", "--dir", self._folder, *self._up], check=False)
            if up.returncode:
                raise NotUp(up.returncode)
        except BaseException:
            self._down()
            raise
        self._control = Control(Path(self._folder))
        self._urls = {site.name: site.url for site in self._control.status().sites}
        return self

    def __exit__(self, *_: object) -> None:
        self._down()

    def _down(self) -> None:
        """End everything; a second Ctrl-C does not keep it from that."""
        heeded = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            subprocess.run([*POLYSITE, "lab", "down", "--dir", self._folder], check=False, stdout=subprocess.DEVNULL)
            self._place.cleanup()
        finally:
            signal.signal(signal.SIGINT, heeded)

    def order(self, verb: str, *arguments: str) -> Any:
        """A command of the lab that answers in JSON."""
        command = [*POLYSITE, "lab", verb, "--dir", self._folder, "--json", *arguments]
        return msgspec.json.decode(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)

    def move(self, rtt_ms: float) -> None:
        """Put the sites so far apart, and wait until echoes take that long and every process reckons with it."""
        if rtt_ms != self.rtt_ms:
            self.order("distance", "--rtt-ms", f"{rtt_ms:g}")
            self.rtt_ms = rtt_ms
        until_s = time.monotonic() + MOVED_S
        while not all(_is_near(pair["median_ms"], rtt_ms) for pair in self.order("rtt")):
            if time.monotonic() > until_s:
                raise ClientFailed(f"echoes between the sites do not show {rtt_ms:g} ms")
        self.everywhere("follow")

    def stop(self, sites: Sequence[str], service: str) -> None:
        """Stop a service of these sites in its tracks."""
        for site in sites:
            self._control.order(Freeze(site=site, services=(service,)))

    def go_on(self, sites: Sequence[str], service: str) -> None:
        """Let it go on, where it stands still."""
        for site in sites:
            self._control.order(Start(site=site, services=(service,)), answer_s=MOVED_S)

    def follow_profile(self) -> None:
        """Wait until every process reckons with the way to its nearest majority."""
        assert self.profile is not None
        running = [self.start(site, "follow", rtt_ms=nearest_ms(self.profile, site)) for site in self.sites]
        for one in running:
            one.records()

    def start(self, site: str, job: str, *, rtt_ms: float | None = None, **more: Any) -> Running:
        """Begin a job of `client` at a site; `rtt_ms` None: all sites are equally far apart."""
        at = self.sites.index(site)
        other_url = self._urls[self.sites[(at + 1) % len(self.sites)]]
        rtt_ms = self.rtt_ms if rtt_ms is None else rtt_ms
        settings = str(Path(self._folder) / "sites" / site / "settings.toml")
        plan = Plan(site=site, index=at, rtt_ms=rtt_ms, other_url=other_url, settings=settings, **more)
        command = [*POLYSITE, "lab", "exec", "--dir", self._folder, site, "--"]
        command += [sys.executable, "-m", "benchmarks.wan.client", job, msgspec.json.encode(plan).decode()]
        piped = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ))
        return Running(site, piped)

    def everywhere(self, job: str, **more: Any) -> list[Record]:
        """Do a job at every site at once; what the clients told."""
        running = [self.start(site, job, **more) for site in self.sites]
        return [record for one in running for record in one.records()]


def _is_near(median_ms: float | None, rtt_ms: float) -> bool:
    return median_ms is not None and abs(median_ms - rtt_ms) < NEAR * rtt_ms


def _ended(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)
