"""Is Cassandra 6 with Accord fit to hold lock cells? Each scenario is a reproduction: three sites, one Cassandra node each, the lab's
networks between them, clients with nothing but the site's own Cassandra node.

python -m benchmarks.accord latency contention      needs Java, Maven, root and /dev/net/tun; the lab is gone afterwards

It ends with 1 if something acknowledged was lost, a cell was not one chain of versions, or a site did not come back.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Self

import msgspec

from polysite.lab.control import START_S, Control
from polysite.lab.entering import pids_outside
from polysite.lab.orders import Cut, Freeze, Heal, Kill, Start

from .client import Attempt, Plan
from .judging import errors, first_after_s, longest_gap_s, lost, middle_ms, outcomes, violations

ROOT = Path(__file__).parents[2]
POLYSITE = [sys.executable, "-m", "polysite.cli"]
SITES = ("ams", "bei", "irv")
BACK_S = 90.0
"""How long a site may take to apply a change again after it was started or healed."""
ENGINE = "accord"


class Fitness:
    """A lab, what its clients recorded, and what speaks against the engine."""

    def __init__(self, *, rtt_ms: float, sites: Sequence[str], keep: str | None) -> None:
        self.sites, self.rtt_ms = tuple(sites), rtt_ms
        self._place = tempfile.mkdtemp(prefix="polysite-accord-", dir=keep)
        self.folder = Path(self._place) / "lab"
        self.against: list[str] = []
        self.lasts_s = 30.0
        self._clients: list[subprocess.Popen[bytes]] = []
        self._number = 0

    def __enter__(self) -> Self:
        more = ["--rtt-ms", f"{self.rtt_ms:g}", "--store", "cassandra", "--cells", ENGINE, "--run", "engines"]
        up = [*POLYSITE, "lab", "up", "--dir", str(self.folder), "--sites", ",".join(self.sites), *more]
        began_s = time.monotonic()
        subprocess.run(up, check=True)
        self.control = Control(self.folder)
        topology = self.control.state.plan.topology
        self.addresses = {site: topology.address(site) for site in self.sites}
        self.tell(f"up after {time.monotonic() - began_s:.0f} s; load {os.getloadavg()[0]:.1f}")
        self.wait(self.client("prepare", self.sites[0], 60))
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.kill()
        subprocess.run([*POLYSITE, "lab", "down", "--dir", str(self.folder)], check=False, stdout=subprocess.DEVNULL)

    def tell(self, words: str) -> None:
        print(words, flush=True)

    def against_it(self, words: Iterable[str]) -> None:
        for one in words:
            self.against.append(one)
            self.tell(f"AGAINST IT: {one}")

    def client(self, job: str, site: str, lasts_s: float, **more: object) -> "subprocess.Popen[bytes]":
        """Start a client at a site."""
        self._number += 1
        plan = Plan(
            site=site,
            address=self.addresses[site],
            sites=self.sites,
            record=str(Path(self._place) / f"{self._number:03}-{job}-{site}.jsonl"),
            until_s=time.monotonic() + lasts_s,
            **more,  # type: ignore[arg-type]
        )
        command = [*POLYSITE, "lab", "exec", "--dir", str(self.folder), site, "--"]
        command += [sys.executable, "-m", "benchmarks.accord.client", job, msgspec.json.encode(plan).decode()]
        process = subprocess.Popen(command, cwd=ROOT)
        self._clients.append(process)
        return process

    def wait(self, *clients: "subprocess.Popen[bytes]") -> None:
        for client in clients:
            if code := client.wait():
                self.tell(f"a client ended with {code}")

    def everywhere(self, job: str, lasts_s: float, **more: object) -> "list[subprocess.Popen[bytes]]":
        return [self.client(job, site, lasts_s, **more) for site in self.sites]

    def attempts(self, since: int = 0) -> list[Attempt]:
        """What was recorded by clients with numbers above `since`."""
        found: list[Attempt] = []
        for path in sorted(Path(self._place).glob("*.jsonl")):
            if int(path.name[:3]) > since:
                lines = path.read_bytes().splitlines()
                found += [msgspec.json.decode(line, type=Attempt) for line in lines if line.endswith(b"]")]
        return found

    @property
    def so_far(self) -> int:
        return self._number

    def together(self, orders: Sequence[object]) -> list[str]:
        """Give orders side by side; what went wrong with them."""
        wrong: list[str] = []

        def give(order: object) -> None:
            try:
                self.control.order(order, answer_s=START_S)  # type: ignore[arg-type]
            except Exception as error:  # told below
                wrong.append(f"{order}: {error}")

        threads = [threading.Thread(target=give, args=(order,)) for order in orders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return wrong

    def settle(self, since: int, run: str) -> None:
        """Read the cells of a run at the end, and say what is proved by all that was recorded."""
        cells = Path(self._place) / f"{run}.cells"
        cells.write_bytes(
            msgspec.json.encode(sorted({one.key for one in self.attempts(since) if one.key.startswith(run)}))
        )
        self.wait(*self.everywhere("final", BACK_S, cells=str(cells)))
        attempts = self.attempts(since)
        self.against_it(violations(attempts))
        self.against_it(lost(attempts))
        for words in errors(attempts):
            self.tell(f"    {words}")

    def sizes(self) -> str:
        """Memory and disk of every Cassandra node."""
        outside = pids_outside(self.control.keeper_pid())
        told = []
        for site in self.control.status().sites:
            for service in site.services:
                status = Path(f"/proc/{outside.get(service.pid, 0)}/status")
                rss = (
                    next((line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmRSS")), "0")
                    if status.exists()
                    else "0"
                )
                folder = self.folder / "sites" / site.name / ENGINE
                told.append(
                    f"{site.name} {int(rss) // 1024} MiB, journal {_mib(folder / 'accord_journal'):.0f}, data {_mib(folder / 'data'):.0f} MiB"
                )
        return "; ".join(told)

    def complaints(self) -> None:
        """What the Cassandra nodes logged as warnings and errors, by logger and beginning."""
        for site in self.sites:
            log = self.folder / "sites" / site / ENGINE / "system.log"
            count: dict[str, int] = {}
            for line in log.read_text(errors="replace").splitlines():
                if line[13:18] in ("WARN ", "ERROR"):
                    words = line[13:18] + line.partition("] ")[2][:110]
                    count[words] = count.get(words, 0) + 1
            for words, number in sorted(count.items(), key=lambda one: -one[1])[:12]:
                if "StartupChecks" not in words and "NativeLibrary" not in words:
                    self.tell(f"    {site} log: {number} x {words}")


def _mib(folder: Path) -> float:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file()) / 2**20


def latency(fit: Fitness) -> None:
    """What operations cost in W, from the slope between two distances."""
    took: dict[str, list[float]] = {}
    for rtt_ms in (fit.rtt_ms, 2 * fit.rtt_ms):
        subprocess.run(
            [*POLYSITE, "lab", "distance", "--dir", str(fit.folder), "--rtt-ms", f"{rtt_ms:g}"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        since = fit.so_far
        for site in fit.sites:
            fit.wait(fit.client("latency", site, 120, count=25, run=f"latency-{rtt_ms:g}"))
        attempts = fit.attempts(since)
        fit.against_it(violations(attempts))
        for name in ("applied", "refused", "read", "local"):
            chosen = [
                one
                for one in attempts
                if name in (one.outcome, one.kind) and one.outcome in ("applied", "refused", "seen")
            ]
            for site in fit.sites:
                middle, late = middle_ms([one for one in chosen if one.site == site][3:])
                took.setdefault(f"{name} {site}", []).append(middle)
                fit.tell(f"  {rtt_ms:g} ms: {name} at {site}: {middle:.1f} ms, 95 % {late:.1f} ms")
        behind = [
            one
            for one in attempts
            if one.kind == "local"
            and one.version
            != max(
                (
                    o.version
                    for o in attempts
                    if o.key == one.key and o.outcome == "applied" and o.ended_s < one.begun_s
                ),
                default=0,
            )
        ]
        fit.tell(f"  {rtt_ms:g} ms: {len(behind)} local reads 200 ms after a change show an older version")
        for words in errors(attempts):
            fit.tell(f"    {words}")
    for name, (near, far) in took.items():
        fit.tell(f"  {name}: {(far - near) / fit.rtt_ms:.2f} W")
    subprocess.run(
        [*POLYSITE, "lab", "distance", "--dir", str(fit.folder), "--rtt-ms", f"{fit.rtt_ms:g}"],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def contention(fit: Fitness) -> None:
    """One cell that all sites want at once."""
    lasts_s = fit.lasts_s
    for clients in (1, 8):
        since = fit.so_far
        begin_s = time.monotonic() + 3
        fit.wait(*fit.everywhere("load", lasts_s + 3, clients=clients, begin_s=begin_s, run=f"contended-{clients}"))
        attempts = fit.attempts(since)
        middle, late = middle_ms([one for one in attempts if one.kind == "cas"])
        fit.tell(
            f"  3 sites x {clients} on one cell for {lasts_s:g} s: {outcomes(attempts)}; {middle:.0f} ms, 95 % {late:.0f} ms"
        )
        fit.settle(since, f"contended-{clients}")


def kills(fit: Fitness, rounds: int = 6) -> None:
    """Kill one Cassandra node after the other under load, and start it again on its data."""
    since = fit.so_far
    loads = _under_load(fit)
    for number in range(rounds):
        site = fit.sites[number % len(fit.sites)]
        killed_s = time.monotonic()
        fit.together([Kill(site=site, services=("engine",))])
        time.sleep(5)
        started_s = time.monotonic()
        wrong = fit.together([Start(site=site, services=("engine",))])
        ready_s = time.monotonic()
        fit.against_it(wrong)
        back = _wait_back(fit, since, [site], ready_s)
        _tell_phase(
            fit,
            since,
            f"round {number + 1}: {site} killed, 5 s later started",
            killed_s,
            started_s,
            ready_s,
            site,
            back,
        )
        if wrong:
            break
    _end_load(loads)
    fit.settle(since, f"load-{since}")


def kill_all(fit: Fitness, rounds: int = 3) -> None:
    """Kill all Cassandra nodes at once under load, and start them again."""
    since = fit.so_far
    loads = _under_load(fit)
    for number in range(rounds):
        fit.together([Kill(site=site, services=("engine",)) for site in fit.sites])
        time.sleep(1)
        started_s = time.monotonic()
        wrong = fit.together([Start(site=site, services=("engine",)) for site in fit.sites])
        ready_s = time.monotonic()
        fit.against_it(wrong)
        back = _wait_back(fit, since, fit.sites, ready_s)
        fit.tell(
            f"  round {number + 1}: all killed; ready {ready_s - started_s:.1f} s after the start, then first applied {back}"
        )
        if wrong:
            break
    _end_load(loads)
    fit.settle(since, f"load-{since}")


def cuts(fit: Fitness) -> None:
    """Cut a site off both ways, then what it sends, then freeze its Cassandra node, 20 s each."""
    since = fit.so_far
    loads = _under_load(fit)
    site, *others = fit.sites[1:] + fit.sites[:1]
    one_way = [Cut(sites=(site, other), one_way=True) for other in others]
    deeds: list[tuple[str, list[object], list[object]]] = [
        ("cut both ways", [Cut(sites=(site,))], [Heal()]),
        ("cut in what it sends", list(one_way), [Heal()]),
        ("frozen", [Freeze(site=site, services=("engine",))], [Start(site=site, services=("engine",))]),
    ]
    for name, inject, heal in deeds:
        begun_s = time.monotonic()
        fit.against_it(fit.together(inject))
        time.sleep(20)
        healing_s = time.monotonic()
        fit.against_it(fit.together(heal))
        healed_s = time.monotonic()
        back = _wait_back(fit, since, fit.sites, healed_s)
        _tell_phase(fit, since, f"{site} {name} for 20 s", begun_s, healing_s, healed_s, site, back)
    _end_load(loads)
    fit.settle(since, f"load-{since}")


def two_left(fit: Fitness) -> None:
    """A site that never comes back: the two others go on for a minute. Then one of these is started again: can it, with one other?"""
    since = fit.so_far
    loads = _under_load(fit)
    gone, again = fit.sites[2], fit.sites[1]
    killed_s = time.monotonic()
    fit.together([Kill(site=gone, services=("engine",))])
    time.sleep(60)
    now_s = time.monotonic()
    attempts = fit.attempts(since)
    for site in (fit.sites[0], again):
        inside = [one for one in attempts if one.site == site and killed_s < one.begun_s < now_s]
        fit.tell(
            f"  {gone} gone for 60 s: at {site} {outcomes(inside)}; longest without one {longest_gap_s(attempts, site, killed_s, now_s):.1f} s; {middle_ms([one for one in inside if one.outcome == 'applied'])[0]:.0f} ms"
        )
    fit.together([Kill(site=again, services=("engine",))])
    fit.against_it(fit.together([Start(site=again, services=("engine",))]))
    ready_s = time.monotonic()
    fit.tell(
        f"  with {gone} gone, {again} killed and started; then first applied {_wait_back(fit, since, [fit.sites[0], again], ready_s)}"
    )
    fit.against_it(fit.together([Start(site=gone, services=("engine",))]))
    ready_s = time.monotonic()
    fit.tell(f"  {gone} started again; then first applied {_wait_back(fit, since, fit.sites, ready_s)}")
    _end_load(loads)
    fit.settle(since, f"load-{since}")


def long(fit: Fitness) -> None:
    """20,000 changes of one cell, then of many, at small distance: is time flat, how do memory and disk grow?"""
    subprocess.run(
        [*POLYSITE, "lab", "distance", "--dir", str(fit.folder), "--rtt-ms", "2"], check=True, stdout=subprocess.DEVNULL
    )
    fit.tell(f"  before: {fit.sizes()}")
    for name, clients, keys, sites in (("one cell", 1, 0, fit.sites[:1]), ("3 x 8 x 50 cells", 8, 50, fit.sites)):
        since = fit.so_far
        count = 20_000 // len(sites)
        job = {"count": count, "clients": clients, "keys": keys, "run": f"long-{keys}"}
        fit.wait(*(fit.client("load", site, 150, **job) for site in sites))
        changes = [one for one in fit.attempts(since) if one.kind == "cas"]
        changes.sort(key=lambda one: one.ended_s)
        part = max(1, len(changes) // 8)
        flat = ", ".join(
            "{:.1f}/{:.1f}".format(*middle_ms(changes[at : at + part]))
            for at in range(0, len(changes) - part + 1, part)
        )
        fit.tell(
            f"  {name}: {outcomes(changes)} in {changes[-1].ended_s - changes[0].begun_s:.0f} s; ms, median/95 % by eighths: {flat}"
        )
        fit.tell(f"  after: {fit.sizes()}")
        fit.settle(since, f"long-{keys}")


def _under_load(fit: Fitness) -> "list[subprocess.Popen[bytes]]":
    """Per site four clients on cells of their own and one on a cell of all sites; the moment they work, this returns."""
    since, lasts_s = fit.so_far, 600.0
    loads = fit.everywhere("load", lasts_s, clients=4, keys=2, run=f"load-{since}-own")
    loads += fit.everywhere("load", lasts_s, clients=1, run=f"load-{since}-shared")
    until_s = time.monotonic() + 30
    while any(first_after_s(fit.attempts(since), site, 0) is None for site in fit.sites) and time.monotonic() < until_s:
        time.sleep(0.5)
    time.sleep(3)
    return loads


def _end_load(loads: "Sequence[subprocess.Popen[bytes]]") -> None:
    """Let the clients finish what is under way, and end."""
    time.sleep(3)
    for load in loads:
        load.terminate()
    for load in loads:
        load.wait()


def _wait_back(fit: Fitness, since: int, sites: Sequence[str], moment_s: float) -> str:
    """Wait until all of these sites applied a change that was begun after the moment; how long each took."""
    while True:
        attempts = fit.attempts(since)
        took = {site: first_after_s(attempts, site, moment_s) for site in sites}
        if None not in took.values():
            break
        if time.monotonic() > moment_s + BACK_S:
            fit.against_it(f"{site} applied nothing within {BACK_S:.0f} s" for site, one in took.items() if one is None)
            break
        time.sleep(0.5)
    return ", ".join(f"{site} {one:.1f} s" if one is not None else f"{site} never" for site, one in took.items())


def _tell_phase(
    fit: Fitness, since: int, name: str, begun_s: float, healing_s: float, healed_s: float, hit: str, back: str
) -> None:
    attempts = fit.attempts(since)
    fit.tell(f"  {name}: ready {healed_s - healing_s:.1f} s after, then first applied {back}")
    for site in fit.sites:
        inside = [
            one for one in attempts if one.site == site and one.kind == "cas" and begun_s < one.begun_s < healed_s
        ]
        gap_s = longest_gap_s(attempts, site, begun_s, healed_s)
        middle, late = middle_ms([one for one in inside if one.outcome == "applied"])
        fit.tell(
            f"    {site}{' (hit)' if site == hit else ''}: {outcomes(inside)}; longest without one {gap_s:.1f} s; {middle:.0f} ms, 95 % {late:.0f} ms"
        )


def alone(fit: Fitness) -> None:
    """One Cassandra node alone: 20,000 changes, then killed and started again under load."""
    kills(fit, rounds=5)
    long(fit)


SCENARIOS: dict[str, Callable[[Fitness], None]] = {
    "latency": latency,
    "contention": contention,
    "kills": kills,
    "kill-all": kill_all,
    "cuts": cuts,
    "two-left": two_left,
    "long": long,
    "alone": alone,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accord", description=__doc__)
    parser.add_argument("scenarios", nargs="*", choices=[[], *SCENARIOS], help="all without any")
    parser.add_argument("--rtt-ms", type=float, default=50)
    parser.add_argument("--lasts-s", type=float, default=30)
    parser.add_argument("--keep", help="a folder in which records and logs are left")
    chosen = parser.parse_args()
    names = chosen.scenarios or list(SCENARIOS)
    wrong = 0
    for sites, here in (
        (SITES, [name for name in names if name != "alone"]),
        (SITES[:1], [name for name in names if name == "alone"]),
    ):
        if not here:
            continue
        with Fitness(rtt_ms=chosen.rtt_ms, sites=sites, keep=chosen.keep) as fit:
            fit.lasts_s = chosen.lasts_s
            for name in here:
                before = len(fit.against)
                fit.tell(f"{name}: {(SCENARIOS[name].__doc__ or '').splitlines()[0]}")
                SCENARIOS[name](fit)
                fit.tell(
                    f"{name}: {len(fit.against) - before} against it; load {os.getloadavg()[0]:.1f}; {fit.sizes()}"
                )
            fit.complaints()
            wrong += len(fit.against)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
