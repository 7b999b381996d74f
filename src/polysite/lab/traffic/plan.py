"""What the clients at one site do, as data."""

import msgspec


class TrafficPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The load at a site. Every client is one thread of control and makes its calls one after the other.

    * `clients` take a lock on one of `shared` keys (which all sites name alike) or of the site's `own` ones, read the row, write it
      and release; each acquire waits at most `wait_ms`, each lease is `lease_ms`.
    * `hold_s`: how long each holds its lock before it writes.
    * `plain_clients` write keys of their own without locks, and read them, all at the nearest replica, in a table without locks and
      in one that may have both. Every `PLAIN_SLOT_S` they go on to other keys, `plain_slots` times: what was written while something
      was wrong is not written again when it is right.
    * `plain_sites`: the sites whose rows without locks are looked at in the end.
    * `health_s`: how often the site is asked how it is.
    * `pause_s`: between two rounds of a client. `again_s`: after a call that failed.
    * `answer_s`: how long an answer is waited for beyond what a call itself waits.
    """

    drill: str
    """The drill's own name: no other one on the same lab has keys that begin with it."""
    site: str
    url: str
    history: str
    """Path of the file that every call is written to."""
    clients: int = 4
    hold_s: float = 0.0
    plain_clients: int = 1
    plain_slots: int = 1
    plain_sites: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    own_share: float = 0.5
    """The share of the tenures that are on own keys."""
    lease_ms: int = 3_000
    wait_ms: int = 15_000
    answer_s: float = 10.0
    pause_s: float = 0.05
    again_s: float = 0.2
    health_s: float = 0.5


PLAIN_SLOT_S = 4.0


def plain_key(plan: TrafficPlan, site: str, client: int, slot: int) -> str:
    """The key that one client alone, at `site`, writes without locks in that slot of time."""
    return f"{plan.drill}/{site}-plain-{client}-{min(slot, plan.plain_slots - 1)}"
