"""What a client process at a site writes down, one JSON line each, and how the process that started it hears it."""

import sys
from typing import TypeAlias

import msgspec


class Sample(msgspec.Struct, frozen=True, kw_only=True, tag="sample"):
    """One operation: how long the caller waited, and the wide-area round trips that the answers claimed."""

    operation: str
    site: str
    rtt_ms: float
    took_ms: float
    claimed: float


class Tenure(msgspec.Struct, frozen=True, kw_only=True, tag="tenure"):
    """One tenure of the contended key. Moments are of the machine's monotonic clock, which all its processes share.

    `read` is the counter as the holder found it; it wrote one more. `held_s`: the answer that the lock is held was there.
    """

    site: str
    client: str
    ticket: int
    read: int
    asked_s: float
    held_s: float
    release_s: float
    ended_s: float


class Failure(msgspec.Struct, frozen=True, kw_only=True, tag="failure"):
    """A call of a client on the contended key that ended with an error."""

    site: str
    client: str
    outcome: str
    code: str
    message: str


class Reached(msgspec.Struct, frozen=True, kw_only=True, tag="reached"):
    """The client stands where the command waits for it; `since_s`: what the command counts from, of the machine's monotonic clock."""

    since_s: float


class Ways(msgspec.Struct, frozen=True, kw_only=True, tag="ways"):
    """How far a site's process takes a majority and each other site to be."""

    site: str
    majority_rtt_ms: int
    rtt_ms: dict[str, float]


Record: TypeAlias = Sample | Tenure | Failure | Reached | Ways
RECORDS = Sample | Tenure | Failure | Reached | Ways


def tell(record: Record) -> None:
    sys.stdout.write(msgspec.json.encode(record).decode() + "\n")
    sys.stdout.flush()
