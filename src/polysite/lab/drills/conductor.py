"""Carries out a scenario on a lab: load at every site, steps at their times, a last look, everything written down."""

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from polysite.client.pacing import Pace
from polysite.errors import BadRequest, Refused
from polysite.lab.control import Control
from polysite.lab.drills.record import Event, Run
from polysite.lab.orders import LinkStatus
from polysite.lab.scenarios import Scenario, Step
from polysite.lab.state import EMBEDDED
from polysite.lab.traffic.plan import PLAIN_SLOT_S, TrafficPlan
from polysite.lab.traffic.running import TrafficProcess

FOLDER = "drills"
RUN_FILE = "run.json"
AFTER_S = 10.0
LONGER_S = 60.0
"""A drill may go on longer than planned, where healing takes long; what is written later without locks is written to the last key."""
SETTLE_S = 30.0
SETTLE_STEP_S = 1.0


class Conductor:
    """One drill. `tell` is told what happens, in sentences."""

    def __init__(self, control: Control, scenario: Scenario, tell: Callable[[str], None]) -> None:
        """Refused: this lab lacks something that the scenario needs."""
        plan = control.state.plan
        if plan.run != "all":
            raise Refused("a drill needs polysite processes at the sites; this lab was started without them")
        if plan.store == EMBEDDED and len(plan.topology.sites) > 1:
            raise Refused(
                "a drill over several sites needs an engine that they share: polysite lab up --store cassandra"
            )
        for step in scenario.steps:
            if missing := step.fault.missing(plan):
                raise Refused(f"{scenario.name} needs {missing}")
        self._control = control
        self._scenario = scenario
        self._tell = tell
        self._sites = plan.topology.names
        self._pace = Pace()
        self.folder = _new_folder(control.folder.path / FOLDER, scenario.name)
        self._traffic = [TrafficProcess(control.folder.path, self.folder, self._plan(site)) for site in self._sites]

    def run(self) -> Run:
        """Do it all; the lab is as before afterwards, if the scenario heals what it breaks. Unavailable: it could not be done to
        the end."""
        self._tell("the tables are made")
        self._traffic[0].ask("prepare")()
        try:
            for traffic in self._traffic:
                traffic.start()
            began_s = self._pace.monotonic_s()
            self._tell(f"load at {', '.join(self._sites)}; {self._scenario.about}")
            events = [self._carry_out(step, began_s) for step in self._scenario.steps]
            # Where healing took long there is still time to see what it led to.
            lasted_s = max(self._scenario.lasts_s, *(event.end_s + AFTER_S for event in events), 0.0)
            self._sleep_until(began_s + lasted_s)
            for traffic in self._traffic:
                traffic.finish()
            # Clients without locks end at once; those that wait for a lock may take as long as they may wait.
            rows, settled_at_s = self._settle()
            for traffic in self._traffic:
                traffic.stop()
        finally:
            for traffic in self._traffic:
                traffic.kill()
        self._tell("the load has ended; a last look at every row")
        last, last_at_s = self._settle()
        if last != rows:  # a write was still under way
            settled_at_s = last_at_s
        for traffic in self._traffic:
            traffic.ask("look")()
        run = Run(
            scenario=self._scenario,
            sites=self._sites,
            majority_rtt_ms=majority_rtt_ms(self._sites, self._control.status().links),
            began_s=began_s,
            lasted_s=lasted_s,
            events=tuple(events),
            settled_s=None if settled_at_s is None else settled_at_s - began_s,
        )
        (self.folder / RUN_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(run)))
        return run

    @property
    def histories(self) -> list[Path]:
        """The files that every call was written to."""
        return [Path(traffic.plan.history) for traffic in self._traffic]

    def _plan(self, site: str) -> TrafficPlan:
        scenario, status = self._scenario, self._control.status()
        return TrafficPlan(
            drill=self.folder.name,
            site=site,
            url=next(one.url for one in status.sites if one.name == site),
            history=str(self.folder / f"history-{site}.ndjson"),
            clients=(scenario.clients_struck if site == scenario.expected.struck else None) or scenario.clients,
            hold_s=scenario.hold_struck_s if site == scenario.expected.struck else 0.0,
            plain_clients=scenario.plain_clients,
            plain_slots=math.ceil((scenario.lasts_s + LONGER_S) / PLAIN_SLOT_S),
            plain_sites=self._sites,
            shared=tuple(f"{self.folder.name}/shared-{number}" for number in range(scenario.shared_keys)),
            own=tuple(f"{self.folder.name}/{site}-{number}" for number in range(scenario.own_keys)),
            own_share=scenario.own_share,
            lease_ms=scenario.lease_ms,
            wait_ms=scenario.wait_ms,
        )

    def _carry_out(self, step: Step, began_s: float) -> Event:
        self._sleep_until(began_s + step.at_s)
        start_s = self._pace.monotonic_s() - began_s
        getattr(step.fault, step.do)(self._control)
        about = f"{step.do} {msgspec.json.encode(step.fault).decode()}"
        self._tell(f"{start_s:5.1f} s  {about}")
        return Event(start_s=start_s, end_s=self._pace.monotonic_s() - began_s, about=about, heals=step.do == "heal")

    def _settle(self) -> tuple[dict[str, dict[str, str | None]], float | None]:
        """Ask until all sites show the same rows without locks; what they showed, and when that was (None: never)."""
        until_s = self._pace.monotonic_s() + SETTLE_S
        while True:
            asked = {traffic.plan.site: traffic.ask("rows") for traffic in self._traffic}
            rows = {site: msgspec.json.decode(answer(), type=dict[str, str | None]) for site, answer in asked.items()}
            now_s = self._pace.monotonic_s()
            if len({msgspec.json.encode(shown, order="sorted") for shown in rows.values()}) == 1:
                return rows, now_s
            if now_s > until_s:
                return rows, None
            self._pace.sleep_s(SETTLE_STEP_S)

    def _sleep_until(self, moment_s: float) -> None:
        self._pace.sleep_s(max(0.0, moment_s - self._pace.monotonic_s()))


def majority_rtt_ms(sites: Sequence[str], links: Sequence[LinkStatus]) -> float:
    """The longest round trip from any site to its nearest majority, as far apart as the sites are now; 0 on loopback."""
    rtt_ms = {(link.source, link.target): link.rtt_ms for link in links}
    others = len(sites) // 2
    return max(sorted(rtt_ms.get((site, other), 0.0) for other in sites)[others] for site in sites)


def _new_folder(under: Path, name: str) -> Path:
    """A folder that no drill has used."""
    path = next(path for number in itertools.count(1) if not (path := under / f"{name}-{number}").exists())
    path.mkdir(parents=True)
    return path


def read_run(folder: Path) -> Run:
    """A drill that was carried out before. BadRequest: there is none in this folder."""
    try:
        return msgspec.json.decode((folder / RUN_FILE).read_bytes(), type=Run)
    except (OSError, msgspec.DecodeError):
        raise BadRequest("there is no drill in this folder that was carried out to its end") from None
