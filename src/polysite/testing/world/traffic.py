"""What clients of a simulated world do, as data: how often they do each thing, how long they wait, and of what they take locks.

    traffic = drawn(17)                         # as the run of that seed has it
    Plan(seed=17, traffic=Traffic(clients=3))   # or as it is given

`drawn` leaves most of what may be done to its ordinary share, and moves some of it far from there: runs that do little of one thing and
much of another find what runs with a little of everything do not.
"""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from polysite.testing.simulated import SeededRandomness

KEYSPACE = "ks"
FLAT, WIDE, MIXED = "flat", "wide", "mixed"
"""Tables: rows alone in their partition; several rows of a partition; the same where writes without locks are allowed."""

KEYS = ((FLAT, "x"), (WIDE, "x"), (MIXED, "x"))

SHARE_OF_KNOBS = 0.25
"""How likely something is drawn at all."""


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a client that follows a script does next: at what time, or when what it did before has ended."""

    at_s: float
    client: str
    does: Literal["acquire", "acquire shared", "put", "read", "range", "release"]
    row: str = ""
    hurry_s: float | None = None
    """How long the answer is waited for; None: until it comes."""


class Traffic(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What each client does. Shares are between 0 and 1; weights are against each other; times are seconds unless they say `_ms`."""

    clients: int = 2
    """At each site."""
    processes: int = 1
    """That each site starts with; the newest is asked unless a call hops."""
    keys: tuple[tuple[str, str], ...] = KEYS
    """Table and id."""
    rows: int = 4
    """Of a partition with several, at most `len(clients.ROWS)`."""

    tenures: int = 3
    """Weight of exclusive locks."""
    readers: int = 1
    """Weight of shared ones."""
    sections: int = 1
    """Weight of sections in one call."""

    leases_ms: tuple[int, ...] = (700, 1_000, 2_000, 5_000)
    wait_ms: int = 8_000
    """How long a lock is waited for."""
    pause_s: float = 0.3
    """The longest pause between two tenures."""
    steps: int = 4
    """The most that is done in a tenure."""
    read_first: float = 0.3
    """Share of the exclusive locks that come with the row read."""
    reads: float = 0.45
    """Share of the steps that read."""
    ranges: float = 0.4
    """Share of the reads of a partition with several rows that read a range, and of its deletes that delete one."""
    at_once: float = 0.15
    """Share of the writing steps that make several writes side by side."""
    reads_beside: float = 0.3
    """Share of those at whose side a row is read as well, asked for after them."""
    batches: float = 0.2
    """Share of the other writing steps that make two writes in one."""
    deletes: float = 0.3
    """Share of the writes that delete."""
    partial: float = 0.64
    """Share of the puts that leave columns out."""
    nulls: float = 0.1
    """Share of the written columns that are null."""
    promotions: float = 0.3
    """Share of the shared locks that are promoted."""

    dawdles: float = 0.12
    """Share of the steps before which a client sleeps, for up to `dawdle_leases` times its lease."""
    dawdle_leases: float = 1.6
    forgotten: float = 0.05
    """Share of the tenures that are not released."""
    unproven: float = 0.3
    """Share of the releases that do not wait until they are applied."""
    hurried: float = 0.0
    """Share of the writes whose answer is waited for no longer than `hurry_s`; then its outcome is unknown."""
    hurried_reads: float = 0.0
    """Share of the reads that are waited for no longer than that."""
    hurry_s: float = 0.08
    hops: float = 0.0
    """Share of the calls that go to some other living process of the site."""
    asked_again: float = 0.0
    """Share of the acquires that carry an idempotency key and are asked again, perhaps of another process, when their outcome is
    unknown."""
    persists: float = 0.0
    """Share of the steps that are not done after which the client goes on under the same lock, if it is not known to be lost, and may
    release it in the end."""
    keyed: float = 0.0
    """Share of the sections that carry an idempotency key and are asked again until their outcome is known."""
    lets_go: float = 0.0
    """Share of the releases that are asked for while a write is under way."""
    answer_s: float = 3.0
    """How long clients over links wait for an answer, beyond what a call itself may wait."""
    script: tuple[Line, ...] = ()
    """What the clients do, each its own lines, about the first of the keys. If there is any they do nothing else."""


DRAWN: dict[str, Sequence[Any]] = {
    "clients": (1, 3),
    "processes": (2,),
    "keys": (KEYS[:1], KEYS[1:2], KEYS[2:], KEYS[:2]),
    "rows": (1, 2),
    "tenures": (0, 1, 6),
    "readers": (0, 4),
    "sections": (0, 3),
    "leases_ms": ((700,), (1_000,), (5_000,), (700, 8_000)),
    "wait_ms": (200, 1_500),
    "pause_s": (0.0, 0.05, 1.5),
    "steps": (2, 8, 16),
    "read_first": (0.0, 0.8),
    "reads": (0.15, 0.8),
    "ranges": (0.0, 0.9),
    "at_once": (0.0, 0.6),
    "reads_beside": (0.0, 1.0),
    "batches": (0.0, 0.6),
    "deletes": (0.0, 0.6),
    "partial": (0.0, 0.95),
    "nulls": (0.0, 0.4),
    "promotions": (0.0, 0.9),
    "dawdles": (0.0, 0.4),
    "dawdle_leases": (0.3, 3.0),
    "forgotten": (0.0, 0.3),
    "unproven": (0.0, 1.0),
    "hurried": (0.1, 0.4),
    "hurry_s": (0.03, 0.3),
    "hops": (0.3, 1.0),
    "asked_again": (0.5, 1.0),
    "persists": (0.5, 1.0),
    "keyed": (0.5, 1.0),
    "lets_go": (0.3, 1.0),
}
"""What is drawn for each, where it is drawn."""


def drawn(seed: int, *, shared: bool = True) -> Traffic:
    """The traffic of the run of that seed; `shared` False: without shared locks."""
    chance = SeededRandomness(f"{seed}/traffic")
    chosen = {
        name: of[chance.below(len(of))] for name, of in DRAWN.items() if chance.uniform(0.0, 1.0) < SHARE_OF_KNOBS
    }
    found = Traffic(**chosen if shared else chosen | {"readers": 0})
    return found if found.tenures + found.readers + found.sections else msgspec.structs.replace(found, tenures=3)


__all__ = ["FLAT", "KEYS", "KEYSPACE", "MIXED", "WIDE", "Line", "Traffic", "drawn"]
