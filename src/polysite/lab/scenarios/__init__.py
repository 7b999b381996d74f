"""What goes wrong when, as data: scenarios by name."""

from polysite.lab.scenarios.named import SCENARIOS, scenario
from polysite.lab.scenarios.scenario import Expected, Scenario, Step

__all__ = ["SCENARIOS", "Expected", "Scenario", "Step", "scenario"]
