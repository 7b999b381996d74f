"""Three sites on Cassandra on this machine: lock cycles that stay as fast as they were, and what many clients get done.

python -m benchmarks.sites [flat|load|drivers] [--cycles N] [--driver NAME]

`flat`, without delay: lock cycles on one key and on a key each; latency, cells and tombstones do not grow. `load`, W = 50 ms: 64 clients
at each of three sites, and at one alone, with each driver. `drivers`: see `benchmarks.cassandra_drivers`. All of them if none is
named. Needs what `polysite lab up` needs (Linux, root, /dev/net/tun) and Java. Ends with 0 if every bound is kept, with 1 if one is
missed, with 10 if this machine lacks something.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence

from benchmarks import cassandra_drivers
from benchmarks.figures import Figure
from benchmarks.wan.laboratory import ClientFailed, NotUp
from polysite.cli import exits
from polysite.lab.network import capability

from .judging import carried, flat
from .lab import Clients, Meter, Pace, SitesLab, Spent
from .records import CellBytes, Record

SITES = ("ams", "bei", "irv")
DRIVERS = ("cassandra-driver", "acsylla")
CYCLES, WARM_UP = 10_000, 1_000
RTT_MS = 50.0
CLIENTS = 64
BEGINS_S, WARM_S, LASTS_S = 3.0, 12.0, 20.0


def stays_flat(arguments: argparse.Namespace) -> list[Figure]:
    with SitesLab(sites=SITES, rtt_ms=0, driver=arguments.driver or DRIVERS[0]) as lab:
        lab.do("tables", SITES[:1])
        lab.do("follow", SITES)
        told: list[Record] = []
        meter, spent_s, pace_ms = Meter(lab), [], []
        with (
            Pace() as pace,
            Clients(lab, "cycles", SITES[:1], cycles=arguments.cycles, warm_up=WARM_UP) as clients,
        ):
            for record in clients.heard():
                told.append(record)
                if isinstance(record, CellBytes):  # at the start, and after each tenth
                    spent_s.append(meter.so_far_s())
                    pace_ms.append(pace.since_ms())
        told += lab.do("engine", SITES)
        return flat(told, lab.logged(), spent_s, pace_ms[1:])


def carries(arguments: argparse.Namespace) -> list[Figure]:
    found: list[Figure] = []
    for driver in [arguments.driver] if arguments.driver else DRIVERS:
        with SitesLab(sites=SITES, rtt_ms=RTT_MS, driver=driver) as lab:
            lab.do("tables", SITES[:1])
            lab.do("follow", SITES)
            meter = Meter(lab)
            for name, sites in (("three sites", SITES), ("one site", SITES[:1])):
                told, spent = loaded(lab, meter, sites)
                found += carried(f"{driver}, {CLIENTS} clients, {name}", told, spent, seconds=LASTS_S)
            print(f"# measured with {driver}, load average {os.getloadavg()[0]:.1f}", flush=True)
    return found


def loaded(lab: SitesLab, meter: Meter, sites: Sequence[str]) -> tuple[list[Record], Spent]:
    """So many clients at each of these sites, warmed up and then measured."""
    begin_s = time.monotonic() + BEGINS_S
    from_s = begin_s + WARM_S
    with Clients(lab, "sections", sites, clients=CLIENTS, begin_s=begin_s, warm_s=WARM_S, lasts_s=LASTS_S) as clients:
        spent = meter.between(from_s, from_s + LASTS_S)
        return clients.records(), spent


def drivers(_arguments: argparse.Namespace) -> list[Figure]:
    return cassandra_drivers.figures()


PARTS: dict[str, Callable[[argparse.Namespace], list[Figure]]] = {
    "flat": stays_flat,
    "load": carries,
    "drivers": drivers,
}


def run(arguments: argparse.Namespace) -> int:
    missed = 0
    for part in [arguments.part] if arguments.part else PARTS:
        for figure in PARTS[part](arguments):
            print(figure.line(), flush=True)
            missed += not figure.kept
    print(f"\n{missed} bounds missed" if missed else "\nevery bound kept")
    return 1 if missed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS, nargs="?", help="only this part")
    parser.add_argument("--cycles", type=int, default=CYCLES, help="lock cycles of either kind")
    parser.add_argument("--driver", choices=DRIVERS, help="only this one; flat: cassandra-driver unless it is named")
    arguments = parser.parse_args()
    if missing := capability.missing():
        print(f"capability missing: {missing}; the bench needs sites that are apart", file=sys.stderr)
        return exits.REFUSED
    try:
        return run(arguments)
    except NotUp as error:
        return error.code
    except ClientFailed as error:
        print(error, file=sys.stderr)
        return exits.INTERNAL
    except KeyboardInterrupt:
        return exits.SIGNALLED + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
