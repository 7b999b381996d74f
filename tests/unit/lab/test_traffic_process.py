"""The clients of a site as a process."""

import io
from pathlib import Path
from typing import Any

from polysite.lab.traffic.plan import TrafficPlan
from polysite.lab.traffic.running import TrafficProcess


class Ending:
    """A process that ends well at the first signal, and by the second if there is one."""

    def __init__(self) -> None:
        self.signals = 0
        self.stdout = io.BytesIO()

    def terminate(self) -> None:
        self.signals += 1

    def wait(self, _limit_s: float) -> int:
        return 0 if self.signals == 1 else 128 + 15


def test_one_signal_ends_the_clients(tmp_path: Path) -> None:
    """Goal: who was told to finish and then to stop is told once: a second signal may find it at its end, and end it badly. Method: a
    process that counts; told to finish, and stopped without."""
    plan = TrafficPlan(drill="flap-1", site="ams", url="http://127.0.0.1:1", history=str(tmp_path / "history"))
    for finishes in (0, 1, 2):
        traffic: Any = TrafficProcess(tmp_path, tmp_path, plan)
        traffic._loading = Ending()
        for _ in range(finishes):
            traffic.finish()
        traffic.stop()
