"""The scenarios that have names. Each is made for the sites of a lab, one of which is struck."""

from collections.abc import Callable, Mapping, Sequence

from polysite.errors import BadRequest
from polysite.lab.faults.clocks import Skew
from polysite.lab.faults.links import Cut
from polysite.lab.faults.processes import Freeze, Kill
from polysite.lab.scenarios.scenario import AnyFault, Expected, Scenario, Step
from polysite.lab.services.service import ENGINE, POLYSITE

CALM_S = 8.0
"""Load without faults before the first one."""
STRUCK_S = 20.0
AFTER_S = 15.0
RECOVERY_S = 3.0
"""After healing, until the first success at the site that was cut off."""
NOTICED_S = 5.0
"""Until a process has noticed that its clock is off."""
HOUR_S = 3_600.0
LATE_WRITES = 2
"""Of twenty holders that are frozen so many at least are overtaken before they write."""


def _once(fault: AnyFault, struck_s: float = STRUCK_S) -> tuple[Step, ...]:
    return (
        Step(at_s=CALM_S, do="inject", fault=fault),
        Step(at_s=CALM_S + struck_s, do="heal", fault=fault),
    )


def _others(struck: str, sites: Sequence[str]) -> tuple[str, ...]:
    return tuple(site for site in sites if site != struck)


def cut_site(struck: str, sites: Sequence[str]) -> Scenario:
    return Scenario(
        name="cut-site",
        about=f"{struck} is cut off from all others for {STRUCK_S:.0f} s",
        steps=_once(Cut(sites=(struck,))),
        lasts_s=CALM_S + STRUCK_S + AFTER_S,
        expected=Expected(
            struck=struck, calm=_others(struck, sites), stall_s=STRUCK_S / 2, recovery_s=RECOVERY_S, plain_goes_on=True
        ),
    )


def one_way_cut(struck: str, sites: Sequence[str]) -> Scenario:
    other = _others(struck, sites)[0]
    return Scenario(
        name="one-way-cut",
        about=f"{other} hears nothing of {struck} for {STRUCK_S:.0f} s; the other way is open",
        steps=_once(Cut(sites=(struck, other), one_way=True)),
        lasts_s=CALM_S + STRUCK_S + AFTER_S,
        expected=Expected(struck=struck, recovery_s=RECOVERY_S),
    )


def flap(struck: str, sites: Sequence[str]) -> Scenario:
    times = 8
    fault = Cut(sites=(struck,))
    steps = [
        Step(at_s=CALM_S + 2 * number + (0 if do == "inject" else 1), do=do, fault=fault)
        for number in range(times)
        for do in ("inject", "heal")
    ]
    return Scenario(
        name="flap",
        about=f"{struck} is cut off for a second and back for a second, {times} times",
        steps=tuple(steps),
        lasts_s=CALM_S + 2 * times + AFTER_S,
        expected=Expected(struck=struck, calm=_others(struck, sites), recovery_s=RECOVERY_S),
    )


def kill_site(struck: str, sites: Sequence[str]) -> Scenario:
    return Scenario(
        name="kill-site",
        about=f"everything at {struck} is killed, and started again {STRUCK_S:.0f} s later",
        steps=_once(Kill(site=struck)),
        lasts_s=CALM_S + STRUCK_S + 3 * AFTER_S,
        expected=Expected(struck=struck, calm=_others(struck, sites), stall_s=STRUCK_S / 2, recovery_s=RECOVERY_S),
    )


def kill_engine(struck: str, sites: Sequence[str]) -> Scenario:
    del sites
    return Scenario(
        name="kill-engine",
        about=f"the engine at {struck} is killed, and started again {STRUCK_S:.0f} s later; its polysite process goes on",
        steps=_once(Kill(site=struck, services=(ENGINE,))),
        lasts_s=CALM_S + STRUCK_S + 3 * AFTER_S,
        expected=Expected(struck=struck, recovery_s=RECOVERY_S),
    )


def freeze_site(struck: str, sites: Sequence[str]) -> Scenario:
    return Scenario(
        name="freeze-site",
        about=f"everything at {struck} is frozen, and goes on {STRUCK_S:.0f} s later",
        steps=_once(Freeze(site=struck)),
        lasts_s=CALM_S + STRUCK_S + 2 * AFTER_S,
        expected=Expected(struck=struck, calm=_others(struck, sites), stall_s=STRUCK_S / 2, recovery_s=RECOVERY_S),
    )


def freeze_holder(struck: str, sites: Sequence[str], *, rounds: int = 10, w_s: float = 0.2) -> Scenario:
    """`rounds` as short as they may be where a majority is `w_s` away: a lease is at least ten times that and 100 ms."""
    lease_s = max(1.2, 12 * w_s + 0.4)
    # Until the others have seen the lease pass, in their turn, and have written; then until the woken one holds again.
    frozen_s, between_s = lease_s + 6 * w_s + 0.4, 8 * w_s + 1.1
    fault = Freeze(site=struck, services=(POLYSITE,))
    steps = [
        Step(at_s=CALM_S + number * (frozen_s + between_s) + (0 if do == "inject" else frozen_s), do=do, fault=fault)
        for number in range(rounds)
        for do in ("inject", "heal")
    ]
    return Scenario(
        name="freeze-holder",
        about=f"the polysite process at {struck} is frozen past the lease of what it holds, {rounds} times; it wakes a zombie",
        steps=tuple(steps),
        lasts_s=CALM_S + rounds * (frozen_s + between_s) + AFTER_S,
        # Most of the twenty hold when they are frozen, and write when they wake.
        expected=Expected(
            struck=struck, calm=_others(struck, sites), recovery_s=RECOVERY_S, late_writes=LATE_WRITES * rounds
        ),
        hold_struck_s=lease_s / 2,
        clients_struck=20,
        shared_keys=20,
        own_share=0.0,
        lease_ms=round(lease_s * 1000),
    )


def skew_clock(struck: str, sites: Sequence[str]) -> Scenario:
    ahead, behind = Skew(site=struck, ahead_s=HOUR_S), Skew(site=struck, ahead_s=-HOUR_S)
    return Scenario(
        name="skew-clock",
        about=f"the clock of {struck} is an hour ahead, then an hour behind",
        steps=(
            Step(at_s=CALM_S, do="inject", fault=ahead),
            Step(at_s=CALM_S + 10, do="inject", fault=behind),
            Step(at_s=CALM_S + 20, do="heal", fault=behind),
        ),
        lasts_s=CALM_S + 20 + AFTER_S,
        expected=Expected(
            struck=struck,
            calm=_others(struck, sites),
            stall_s=10,
            locked_goes_on=True,
            # Alone it has nobody to compare its clock with.
            clock_told_after_s=NOTICED_S if len(sites) > 1 else None,
        ),
    )


def hand_over(struck: str, sites: Sequence[str]) -> Scenario:
    return Scenario(
        name="hand-over",
        about="nothing goes wrong: one client per site wants the same key, again and again",
        steps=(),
        lasts_s=30.0,
        expected=Expected(struck=struck, calm=tuple(sites), tenures_per_w=0.2, hand_over_w=3.0),
        clients=1,
        plain_clients=0,
        shared_keys=1,
        own_share=0.0,
    )


SCENARIOS: Mapping[str, Callable[[str, Sequence[str]], Scenario]] = {
    "cut-site": cut_site,
    "one-way-cut": one_way_cut,
    "flap": flap,
    "kill-site": kill_site,
    "kill-engine": kill_engine,
    "freeze-site": freeze_site,
    "freeze-holder": freeze_holder,
    "skew-clock": skew_clock,
    "hand-over": hand_over,
}
"""Name → from the site that is struck, and all sites in their order, to the scenario."""


def scenario(
    name: str, struck: str, sites: Sequence[str], *, rounds: int | None = None, w_s: float | None = None
) -> Scenario:
    """The scenario of that name. `rounds`: how often it happens (None: as it is meant), `w_s`: how far away a majority is; both for
    `IN_ROUNDS` alone. BadRequest: there is none of that name, or not with so few sites, or it has no rounds."""
    if name not in SCENARIOS:
        raise BadRequest(f"there is no drill {name!r}; there are {', '.join(SCENARIOS)}")
    if struck not in sites:
        raise BadRequest(f"there is no site {struck!r} in this lab; there are {', '.join(sites)}")
    if len(sites) == 1 and name not in ALONE:
        raise BadRequest(f"{name} needs at least two sites; this lab has one")
    if name in IN_ROUNDS:
        told = {"rounds": rounds, "w_s": w_s}
        return IN_ROUNDS[name](struck, sites, **{name: value for name, value in told.items() if value is not None})
    if rounds is not None:
        raise BadRequest(f"{name} has no rounds; {', '.join(IN_ROUNDS)} has")
    return SCENARIOS[name](struck, sites)


IN_ROUNDS: Mapping[str, Callable[..., Scenario]] = {"freeze-holder": freeze_holder}
"""Scenarios in which the same happens again and again, and may do so more often."""

ALONE = ("kill-site", "freeze-site", "freeze-holder", "hand-over", "skew-clock")
"""Scenarios that one site can have."""
