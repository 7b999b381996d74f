"""The ballots: San Francisco's special mayoral election of 5 June 2018, 254,016 ballots.

The file ships with the package `abiftool` (testdata/california/sf2018special-results.abif; Aggregated Ballot
Information Format: one line per ranking, `COUNT:FIRST>SECOND>THIRD`). The package is fetched by name and hash and only
this data file of it is read; none of its code is run.
"""

import random
import re
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

PACKAGE = "abiftool==0.34.0"
PACKAGE_SHA256 = "ee666309f859027ce3732df6aa0e09f4ca41b89c7452a401a7259895d7acecbb"
FILE_SUFFIX = "testdata/california/sf2018special-results.abif"
VOTE_LINE = re.compile(r"(\d+):([^#]*)")


class Batch(NamedTuple):
    """Ballots with one choice, counted by one change; `number` counts the batches of one task from 1."""

    number: int
    choice: str
    ballots: int


def fetch(folder: Path) -> Path:
    """The path of the ballot file, fetched into `folder` unless it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "sf2018special-results.abif"
    if target.exists():
        return target
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{PACKAGE} --hash=sha256:{PACKAGE_SHA256}\n", encoding="utf-8")
    arguments = ["download", "--quiet", "--no-deps", "--require-hashes", "-r", str(requirement), "-d", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", *arguments], check=True)
    (wheel,) = folder.glob("abiftool-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (member,) = [name for name in archive.namelist() if name.endswith(FILE_SUFFIX)]
        target.write_bytes(archive.read(member))
    return target


def totals(path: Path) -> Counter[str]:
    """Ballots per choice; a choice is the first and second preference, `NOBODY` where none is given."""
    counted: Counter[str] = Counter()
    for line in path.read_text(encoding="utf-8").splitlines():
        match = VOTE_LINE.fullmatch(line.strip())
        if match:
            ranks = [rank for rank in match[2].split(">") if rank]
            first, second, *_ = [*ranks, "NOBODY", "NOBODY"]
            counted[f"{first}>{second}"] += int(match[1])
    return counted


def batches(counted: Counter[str], *, tasks: int, ballots_max: int, ballots_limit: int | None) -> list[list[Batch]]:
    """The work of each task: the ballots of `counted` cut into batches of at most `ballots_max`, dealt out in an order
    that depends on the file alone, so that a task that is started again knows where it stood.

    `ballots_limit` keeps only so many ballots (None: all).
    """
    pieces = [
        (choice, min(ballots_max, ballots - start))
        for choice, ballots in sorted(counted.items())
        for start in range(0, ballots, ballots_max)
    ]
    random.Random(2018).shuffle(pieces)
    if ballots_limit is not None:
        kept: list[tuple[str, int]] = []
        for choice, ballots in pieces:
            if sum(piece[1] for piece in kept) >= ballots_limit:
                break
            kept.append((choice, ballots))
        pieces = kept
    hands = [pieces[task::tasks] for task in range(tasks)]
    return [[Batch(number, *piece) for number, piece in enumerate(hand, 1)] for hand in hands]
