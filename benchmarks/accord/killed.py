"""Cassandra 6 with Accord, killed under load and started again on its data: does it come back, with all that it acknowledged?

python -m benchmarks.accord.killed                                                       one node, as it is shipped
python -m benchmarks.accord.killed stop_marker_failure_policy=ALLOW_UNSAFE_STARTUP       with this in the section accord.journal
python -m benchmarks.accord.killed --members 3 ...                                         three data centers, all of them killed
python -m benchmarks.accord.killed --members 3 --scan ...                                  and somebody reads the table at QUORUM

It needs Java 17 and, the first time, Maven; no root and no networks: the nodes are on this machine's loopback. It ends with 1 if a
node did not come back or something acknowledged was lost; then the folder with logs and data is left.
"""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from polysite.engines.cassandra.opening import cassandra_port
from polysite.engines.cassandra.settings import cassandra_settings_from
from polysite.lab.engines import AccordSpec, Engine, EngineEnded, Installation, fetch, free_address, release_of, start
from polysite.server.run import loop_factory

from .client import JOBS, Attempt, Plan, Recorder, Work
from .judging import errors, lost, outcomes, violations

LOAD_S = 4.0
CLIENTS, KEYS = 8, 4
READY_S = 120.0
FINAL_S = 60.0
SITES = ("ams", "bei", "irv")


class Cluster:
    """One to three nodes on loopback, each a data center, and what was recorded of them."""

    def __init__(self, folder: Path, installation: Installation, nodes: int, journal: dict[str, str]) -> None:
        self.folder, self._installation = folder, installation
        addresses = [free_address((9042, 7000)) for _ in range(nodes)]
        self.sites = SITES[:nodes]
        self.specs = [
            AccordSpec(
                folder=str(folder / site),
                address=address,
                seeds=(addresses[0],),
                data_center=site,
                initial_token=number * 100,
                accord={"journal": journal} if journal else {},
            )
            for number, (site, address) in enumerate(zip(self.sites, addresses, strict=True))
        ]
        self.engines: list[Engine] = []
        self.attempts: list[Attempt] = []
        self.options = ""
        self._records = 0

    def form(self) -> None:
        """Start one after the other."""
        for number, spec in enumerate(self.specs):
            self.engines.append(start(spec, self._installation))
            self.engines[-1].wait_ready(expected=[other.address for other in self.specs[:number]], wait_s=READY_S)

    def again(self) -> None:
        """Start all side by side, and wait for all."""
        self.engines = [start(spec, self._installation) for spec in self.specs]
        for engine in self.engines:
            engine.wait_ready(wait_s=READY_S)

    def kill(self) -> None:
        for engine in self.engines:
            engine.kill()

    def do(self, jobs: list[str], *, kill: bool = False, cells: str = "", run: str = "") -> list[Attempt]:
        """Do jobs of `client` at every node, until they end or, with `kill`, until all nodes are killed after a while."""
        self._records += 1
        plans = [
            (
                job,
                Plan(
                    site=site,
                    address=spec.address,
                    sites=self.sites,
                    record=str(self.folder / f"{self._records:03}-{job}-{site}.jsonl"),
                    run=run,
                    clients=CLIENTS,
                    keys=KEYS,
                    cells=cells,
                    options=self.options,
                    until_s=time.monotonic() + FINAL_S,
                ),
            )
            for job in jobs
            for site, spec in zip(self.sites, self.specs, strict=True)
            if job != "prepare" or site == self.sites[0]
        ]
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(self._carry_out(plans, kill))
        told = [
            msgspec.json.decode(line, type=Attempt)
            for _, plan in plans
            for line in Path(plan.record).read_bytes().splitlines()
        ]
        self.attempts += told
        return told

    async def _carry_out(self, plans: "list[tuple[str, Plan]]", kill: bool) -> None:
        async def one(job: str, plan: Plan) -> None:
            settings = cassandra_settings_from({"contact_points": [plan.address], "data_center": plan.site})
            port = cassandra_port(settings)
            await port.connect()
            record = Recorder(plan.record)
            try:
                await JOBS[job](Work(plan, port, settings, record))
            finally:
                record.close()
                await port.close()

        working = [asyncio.create_task(one(job, plan)) for job, plan in plans]
        if kill:
            await asyncio.sleep(LOAD_S)
            self.kill()
            await asyncio.sleep(0.5)  # what was under way fails, and is recorded
            for task in working:
                task.cancel()
            await asyncio.wait(working)
        else:
            await asyncio.gather(*working)


def rounds(cluster: Cluster, count: int, scan: bool) -> bool:
    """Whether it came back each time with all that it acknowledged."""
    cluster.form()
    cluster.do(["prepare"])
    for number in range(1, count + 1):
        told = cluster.do(["load", "scan"] if scan else ["load"], kill=True, run=f"round-{number}")
        scans = [one for one in told if one.kind == "scan"]
        began_s = time.monotonic()
        try:
            cluster.again()
        except EngineEnded as error:
            print(
                f"round {number}: {outcomes(told)}; killed, and it did not come back; it says: {_last(error)}",
                flush=True,
            )
            return False
        took_s = time.monotonic() - began_s
        cells = cluster.folder / "cells"
        cells.write_bytes(msgspec.json.encode(sorted({one.key for one in cluster.attempts if one.kind == "cas"})))
        cluster.do(["final"], cells=str(cells))
        wrong = lost(cluster.attempts) + violations(cluster.attempts)
        words = f"; {len(scans)} scans, {sum(one.outcome == 'failed' for one in scans)} of them failed" if scan else ""
        print(
            f"round {number}: {outcomes(told)}{words}; killed, ready again after {took_s:.1f} s; {len(wrong)} against it",
            flush=True,
        )
        if wrong:
            print("\n".join(wrong[:20]))
            return False
    return True


def _last(error: EngineEnded) -> str:
    """The end of what the node said, without its warnings."""
    lines = str(error).splitlines()
    return "\n  ".join(line for line in lines[1:] if " WARN " not in line and len(line) < 500)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accord.killed")
    parser.add_argument("journal", nargs="*", help="NAME=VALUE in the section accord.journal of cassandra.yaml")
    parser.add_argument("--members", type=int, choices=(1, 2, 3), default=1)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--table", default="", help="more options of the table, as read_repair='NONE'")
    parser.add_argument("--scan", action="store_true", help="read the whole table at QUORUM meanwhile")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="polysite-accord-killed-"))
    journal = dict(pair.split("=", 1) for pair in chosen.journal)
    cluster = Cluster(folder, fetch(release_of("accord"), os.environ), chosen.members, journal)
    cluster.options = chosen.table
    try:
        fit = rounds(cluster, chosen.rounds, chosen.scan)
    finally:
        cluster.kill()
    print("\n".join(errors(cluster.attempts)))
    if fit:
        shutil.rmtree(folder)
    else:
        print(f"left in {folder}")
    return 0 if fit else 1


if __name__ == "__main__":
    sys.exit(main())
