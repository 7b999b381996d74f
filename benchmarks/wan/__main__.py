"""Three sites on this machine, near and far: every operation from every site, in round trips and milliseconds.

python -m benchmarks.wan [--cells cassandra|accord|zookeeper] [--turns N] [--repeats N] [--only v2|provoked]
python -m benchmarks.wan --profile beijing-amsterdam-irvine [--repeats N]

Needs what `polysite lab up` needs (Linux, root, /dev/net/tun) and the engines' Java. Ends with 0 if every bound is kept, with 1 if one is
missed, with 10 if this machine lacks something, as the lab says it.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from itertools import product

from benchmarks.figures import Figure
from polysite.cli import exits
from polysite.lab.network import capability
from polysite.lab.topology import PROFILES

from . import contention, first_table, operations, paths, profile, provoked, provoking, v2
from .judging import judged
from .laboratory import ClientFailed, Laboratory, NotUp
from .samples import Sample

SITES = ("ams", "bei", "irv")
FAR_MS, NEAR_MS = 100.0, 50.0
WARM_UP = 6
CONTENDED_S, CONTENDED_V2_S = 20.0, 60.0
BEGINS_S = 4.0
"""Until every client process has been started."""


def measure(lab: Laboratory, *, turns: int, repeats: int, only: str | None = None) -> list[Sample]:
    """Samples of both tables at both distances, in turn: far, near, near, far, and so on, so that an engine that becomes faster, or a
    machine that becomes busier, does not look like a distance."""
    found: list[Sample] = []
    lab.start(SITES[0], "tables").records()
    lab.everywhere(
        "sections", turn=len(SITES) - 1, repeats=WARM_UP
    )  # engines are slow until they have done it for a while
    for turn in range(turns):
        for rtt_ms in (FAR_MS, NEAR_MS) if turn % 2 == 0 else (NEAR_MS, FAR_MS):
            lab.move(rtt_ms)
            few = max(1, repeats // 2)
            told = []
            if only in {None, "v2"}:
                told += lab.everywhere("rest_v2", turn=turn, repeats=few)
                if turn == turns - 1:
                    told += lab.everywhere("waiting_release_v2", turn=turn, repeats=repeats)
            if only is None:
                told += lab.everywhere("sections", turn=turn, repeats=repeats)
                told += lab.everywhere("paths", turn=turn, repeats=few)
            if only in {None, "provoked"} and turn == turns - 1:
                told += provoking.provoke(lab, turn=turn, repeats=repeats)
            found += [record for record in told if isinstance(record, Sample)]
            print(f"# measured at W = {rtt_ms:g} ms, load average {os.getloadavg()[0]:.1f}", flush=True)
    return found


def contend(lab: Laboratory, clients: int) -> list[Figure]:
    """So many clients of each site on one key."""
    begin_s = time.monotonic() + BEGINS_S
    told = lab.everywhere("contended", clients=clients, begin_s=begin_s, lasts_s=CONTENDED_S)
    name = f"one key, {len(lab.sites)} sites x {clients}"
    return contention.judged(name, told, clients=clients * len(lab.sites), rtt_ms=lab.rtt_ms)


def contend_v2(lab: Laboratory) -> list[Figure]:
    """One client of REST v2 at each site on one key, and what its counter is afterwards."""
    begin_s = time.monotonic() + BEGINS_S
    told = lab.everywhere("contended_v2", begin_s=begin_s, lasts_s=CONTENDED_V2_S)
    return v2.judged(told, lab.start(lab.sites[-1], "total_v2").records(), len(lab.sites))


def without_samples(samples: Sequence[Sample], only: str | None = None) -> Figure:
    """What some site has not measured at some distance: a bound that nothing was held against is missed."""
    names = list(v2.BOUNDS) if only in {None, "v2"} else []
    if only is None:
        names += [line.operation for line in first_table.LINES]
        names += [path.operation for path in paths.PATHS]
    if only in {None, "provoked"}:
        names += provoked.BOUNDS
    there = {(sample.operation, sample.site, sample.rtt_ms) for sample in samples}
    wanted = product(names, SITES, (NEAR_MS, FAR_MS))
    missing = sorted({name for name, site, rtt_ms in wanted if (name, site, rtt_ms) not in there})
    return Figure("operations without samples", len(missing), "", at_most=0, detail=", ".join(missing))


def shown(figures: Sequence[Figure]) -> int:
    """Print the figures; how many miss their bound."""
    for figure in figures:
        print(figure.line(), flush=True)
    return sum(not figure.kept for figure in figures)


def run(arguments: argparse.Namespace) -> int:
    missed = 0
    with Laboratory(sites=SITES, rtt_ms=FAR_MS, store="cassandra", cells=arguments.cells) as lab:
        samples = measure(lab, turns=arguments.turns, repeats=arguments.repeats, only=arguments.only)
        missed += shown([without_samples(samples, arguments.only)])
        leads = first_table.leader(samples) if arguments.cells == "zookeeper" else None
        lines = first_table.table(samples, leads)
        for line, found in lines:
            missed += shown(judged(found, line.bound(found.group)))
        locks = [found for line, found in lines if line.operation == operations.LOCK_GET]
        for bound, found in paths.table(samples, locks, leads):
            missed += shown(judged(found, bound))
        for bound, found in provoked.table(samples, leads):
            missed += shown(judged(found, bound))
        for bound, found in v2.table(samples, leads):
            missed += shown(judged(found, bound))
        lab.move(NEAR_MS)
        if arguments.only in {None, "v2"}:
            missed += shown(contend_v2(lab))
        if arguments.only is None:
            for path, why in paths.NOT_MEASURED.items():
                print(f"not measured: {path}: {why}")
            for clients in (1, 8):
                missed += shown(contend(lab, clients))
            print("", *first_table.printed(lines), sep="\n", flush=True)
    print(f"\n{missed} bounds missed" if missed else "\nevery bound kept")
    return 1 if missed else 0


def run_profile(arguments: argparse.Namespace) -> int:
    """As far apart as cities, instead of near and far."""
    with Laboratory(sites=SITES, profile=arguments.profile, store="cassandra", cells=arguments.cells) as lab:
        lab.start(SITES[0], "tables").records()
        lab.everywhere("sections", turn=len(SITES) - 1, repeats=WARM_UP)
        lab.follow_profile()
        told = lab.everywhere("ways") + lab.everywhere("sections", repeats=arguments.repeats)
        print(f"# load average {os.getloadavg()[0]:.1f}", flush=True)
        missed = shown(profile.judged(arguments.profile, told))
    print(f"\n{missed} bounds missed" if missed else "\nevery bound kept")
    return 1 if missed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", choices=("cassandra", "accord", "zookeeper"), default="cassandra")
    parser.add_argument("--turns", type=int, default=4, help="how often both distances are measured, in turn")
    parser.add_argument("--repeats", type=int, default=6, help="samples of each operation per site, distance and turn")
    parser.add_argument(
        "--profile", choices=list(PROFILES), help="only whether each site waits for its nearest other one"
    )
    parser.add_argument("--only", choices=("v2", "provoked"), help="only REST v2, or the paths that need faults")
    arguments = parser.parse_args()
    if missing := capability.missing():
        print(f"capability missing: {missing}; the bench needs sites that are apart", file=sys.stderr)
        return exits.REFUSED
    try:
        return run_profile(arguments) if arguments.profile else run(arguments)
    except NotUp as error:
        return error.code
    except ClientFailed as error:
        print(error, file=sys.stderr)
        return exits.INTERNAL
    except KeyboardInterrupt:
        return exits.SIGNALLED + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
