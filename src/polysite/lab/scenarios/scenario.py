"""A scenario as a value: it can be written down, read back and run again."""

from typing import Literal, TypeAlias

import msgspec

from polysite.lab.faults.clocks import Skew
from polysite.lab.faults.links import Cut, Loss, Reorder
from polysite.lab.faults.processes import Freeze, Kill

AnyFault: TypeAlias = Cut | Loss | Reorder | Freeze | Kill | Skew


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """At `at_s` after the load began, `fault` is injected or healed."""

    at_s: float
    do: Literal["inject", "heal"]
    fault: AnyFault


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What must hold beside what the judge of histories asks for. None: nothing is asked of that.

    * `calm`: sites at which no call may fail, whatever the others suffer.
    * `stall_s`: how long any site of `calm` may be without a tenure that ends well.
    * `recovery_s`: how long after the last healing the first tenure may end well at `struck`.
    * `plain_goes_on`: calls without locks do not fail at `struck` either.
    * `locked_goes_on`: calls under locks do not fail at `struck`.
    * `clock_told_after_s`: how long after the first fault at the latest calls without locks are refused at `struck`, and it says that
      its clock is off, until it is healed.
    * `late_writes`: how many writes at least come from holders that had lost their lock: of fewer nothing can be learnt.
    * `call_s`: the longest that any call may take: nothing hangs.
    * `tenures_per_w`, `hand_over_w`: how many tenures all sites together end well at least per wide-area round trip to a majority, and
      how many of these the hand-over to another site takes at most, at the median.
    """

    struck: str
    calm: tuple[str, ...] = ()
    stall_s: float | None = None
    recovery_s: float | None = None
    plain_goes_on: bool = False
    locked_goes_on: bool = False
    clock_told_after_s: float | None = None
    late_writes: int = 0
    call_s: float = 30.0
    tenures_per_w: float | None = None
    hand_over_w: float | None = None


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """Steps, and the load beside them, for `lasts_s`. `own_share`: of the tenures that are on keys of one site alone."""

    name: str
    about: str
    steps: tuple[Step, ...]
    lasts_s: float
    expected: Expected
    clients: int = 4
    clients_struck: int | None = None
    """At the struck site; None: as many as elsewhere."""
    hold_struck_s: float = 0.0
    """How long a client at the struck site holds a lock before it writes."""
    plain_clients: int = 1
    shared_keys: int = 3
    own_keys: int = 4
    own_share: float = 0.6
    lease_ms: int = 3_000
    wait_ms: int = 15_000
