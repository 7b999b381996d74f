"""The bench's lab: as that of the wide-area bench, with a driver, logs and processor times."""

import math
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec

from benchmarks.hand_over import cpu_s
from benchmarks.wan.laboratory import POLYSITE, ROOT, ClientFailed, Laboratory

from .client import Plan
from .records import RECORDS, Record

LOUD = ("WARN", "ERROR")
TOMBSTONE = re.compile("tombstone", re.IGNORECASE)


class Logged(NamedTuple):
    """What the engines' logs hold: lines, warnings and errors, and those of them that speak of tombstones."""

    lines: int
    warnings: int
    tombstones: list[str]


class SitesLab(Laboratory):
    """Three sites on Cassandra. `driver`: how polysite reaches it."""

    def __init__(self, *, sites: Sequence[str], rtt_ms: float, driver: str) -> None:
        super().__init__(sites=sites, rtt_ms=rtt_ms, store="cassandra", cells="cassandra")
        self._up += ["--driver", driver]

    def do(self, job: str, sites: Sequence[str], **more: Any) -> list[Record]:
        """Do a job at sites at once, and wait for it; what the clients told."""
        with Clients(self, job, sites, **more) as clients:
            return clients.records()

    def command(self, site: str, job: str, **more: Any) -> list[str]:
        plan = msgspec.json.encode(Plan(site=site, rtt_ms=self.rtt_ms, **more)).decode()
        command = [*POLYSITE, "lab", "exec", "--dir", self._folder, site, "--"]
        return [*command, sys.executable, "-m", "benchmarks.sites.client", job, plan]

    def logged(self) -> Logged:
        """What the engines of all sites wrote so far. ClientFailed: one wrote nothing, so nobody looked where it writes."""
        found: list[str] = []
        lines = warnings = 0
        for site in self.sites:
            text = "".join(path.read_text() for path in Path(self._folder, "sites", site, "cassandra").glob("*.log"))
            if not text:
                raise ClientFailed(f"the engine at {site} has no log")
            lines += text.count("\n")
            loud = loud_lines(text)
            warnings += len(loud)
            found += [line for line in loud if TOMBSTONE.search(line)]
        return Logged(lines, warnings, found)

    def processes(self) -> dict[str, dict[str, int]]:
        """Site → service → process number."""
        status = self.order("status")
        return {site["name"]: {one["name"]: one["pid"] for one in site["services"]} for site in status["sites"]}


def loud_lines(text: str) -> list[str]:
    """The warnings and errors of an engine's log; what it logs of its settings names tombstones, too, and is neither."""
    return [line for line in text.splitlines() if line.split(maxsplit=2)[1:2] and line.split(maxsplit=2)[1] in LOUD]


class Clients:
    """One client process at each of some sites; whatever still runs at the end of the block is ended."""

    def __init__(self, lab: SitesLab, job: str, sites: Sequence[str], **more: Any) -> None:
        self._running = {
            site: subprocess.Popen(
                lab.command(site, job, **more), cwd=ROOT, stdout=subprocess.PIPE, env=dict(os.environ)
            )
            for site in sites
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running.values():
            process.terminate()
            process.wait()

    def records(self) -> list[Record]:
        """What they told, when all have ended. ClientFailed: one did not end well."""
        return list(self.heard())

    def heard(self) -> Iterator[Record]:
        """The same, as they tell it, one client after the other."""
        for site, process in self._running.items():
            assert process.stdout is not None
            with process.stdout as lines:
                for line in lines:
                    yield msgspec.json.decode(line, type=RECORDS)
            if code := process.wait():
                raise ClientFailed(f"the client at {site} ended with {code}")


class Spent(NamedTuple):
    """Processor seconds in a span: of each service of each site, of the whole machine (everything on it), and the span itself."""

    services: dict[str, dict[str, float]]
    machine_s: float
    span_s: float

    def of(self, service: str) -> float:
        """Of that service at all sites."""
        return sum(one[service] for one in self.services.values())


class Meter:
    """Processor time of the lab's processes between two moments."""

    def __init__(self, lab: SitesLab) -> None:
        self._processes = lab.processes()

    def so_far_s(self) -> float:
        """Of all of them together, since they were started."""
        return sum(spent_s for one in self._now().values() for spent_s in one.values())

    def between(self, from_s: float, until_s: float) -> Spent:
        """Wait for both moments of the machine's monotonic clock."""
        time.sleep(max(0.0, from_s - time.monotonic()))
        before, machine_before, began_s = self._now(), busy_s(), time.monotonic()
        time.sleep(max(0.0, until_s - time.monotonic()))
        after, machine_after, ended_s = self._now(), busy_s(), time.monotonic()
        services = {
            site: {name: spent_s - before[site][name] for name, spent_s in one.items()} for site, one in after.items()
        }
        return Spent(services, machine_after - machine_before, ended_s - began_s)

    def _now(self) -> dict[str, dict[str, float]]:
        return {site: {name: cpu_s(pid) for name, pid in one.items()} for site, one in self._processes.items()}


class Pace:
    """How fast the machine is meanwhile: the processor time of a loop that is always the same. A machine that shares its processors with others
    does not stay as fast as it was, and then everything takes more processor time, whatever it does."""

    EVERY_S = 0.5
    TURNS = 40_000

    def __init__(self) -> None:
        self._told_ms: list[float] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._measure, name="pace", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def since_ms(self) -> float:
        """The median since the last call, milliseconds a loop; nan if there was none."""
        told, self._told_ms = self._told_ms, []
        return statistics.median(told) if told else math.nan

    def _measure(self) -> None:
        while not self._ended.wait(self.EVERY_S):
            began_s = time.thread_time()
            for _ in range(self.TURNS):
                pass
            self._told_ms.append((time.thread_time() - began_s) * 1e3)


def busy_s() -> float:
    """Seconds that this machine's processors were busy since its start, together."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / os.sysconf("SC_CLK_TCK")
