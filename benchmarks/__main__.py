"""Run every bench, each in a process of its own, print the table, end non-zero if a bound is missed.

python -m benchmarks [--long] [--only NAME]
"""

import argparse
import subprocess
import sys

from .figures import Figure, heard

BENCHES = ("over_http", "in_process", "memory", "flatness", "hand_over")


def run(name: str, options: list[str]) -> list[Figure]:
    ended = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *options], stdout=subprocess.PIPE, check=False, text=True
    )
    if ended.returncode:
        raise SystemExit(f"bench {name} ended with {ended.returncode}")
    return heard(ended.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="a million lock cycles in place of 200,000")
    parser.add_argument("--only", choices=BENCHES, help="only this bench")
    arguments = parser.parse_args()
    missed = 0
    for name in [arguments.only] if arguments.only else BENCHES:
        for figure in run(name, ["--long"] if arguments.long and name == "flatness" else []):
            print(figure.line(), flush=True)
            missed += not figure.kept
    print(f"\n{missed} bounds missed" if missed else "\nevery bound kept")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
