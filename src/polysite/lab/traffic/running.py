"""The clients of one site as a process there, started from outside the lab."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from polysite.errors import Unavailable
from polysite.lab.traffic.plan import TrafficPlan

ENDS_S = 120.0


class TrafficProcess:
    """The clients at a site. Its files stand in `folder`: the plan, and what the process says."""

    def __init__(self, lab: Path, folder: Path, plan: TrafficPlan) -> None:
        self.plan = plan
        self._lab = lab
        self._path = folder / f"traffic-{plan.site}.json"
        self._log = folder / f"traffic-{plan.site}.log"
        self._path.write_bytes(msgspec.json.format(msgspec.json.encode(plan)))
        self._loading: subprocess.Popen[bytes] | None = None
        self._finishing = False

    def start(self) -> None:
        """Begin to call. Unavailable: the process ended instead, and its log says why."""
        with self._log.open("ab") as log:
            self._loading = subprocess.Popen(self._command("load"), stdout=subprocess.PIPE, stderr=log)
        assert self._loading.stdout is not None
        if not self._loading.stdout.readline():
            raise Unavailable(f"the clients at {self.plan.site} did not begin: {self._last_words()}")

    def finish(self) -> None:
        """Let every client finish its round; `stop` waits for that. Said once: a second signal might find the process at its end, where
        nobody takes it any more, and would be how it ended."""
        if self._loading is not None and not self._finishing:
            self._finishing = True
            self._loading.terminate()

    def stop(self) -> None:
        """Let every client finish its round, and wait for that. Unavailable: they did not end, or not well."""
        if self._loading is None:
            return
        self.finish()
        loading, self._loading = self._loading, None
        try:
            code = loading.wait(ENDS_S)
        except subprocess.TimeoutExpired:
            loading.kill()
            loading.wait()
            raise Unavailable(f"the clients at {self.plan.site} did not end within {ENDS_S:.0f} s") from None
        finally:
            if loading.stdout is not None:
                loading.stdout.close()
        if code != 0:
            raise Unavailable(f"the clients at {self.plan.site} ended with {code}: {self._last_words()}")

    def kill(self) -> None:
        """End it, whatever it does."""
        if self._loading is not None:
            self._loading.kill()
            self._loading.wait()

    def ask(self, verb: str) -> Callable[[], bytes]:
        """Begin another verb of the traffic. What is answered waits for its end, and gives its output. Unavailable: it failed, or took
        too long."""
        asked = subprocess.Popen(self._command(verb), stdout=subprocess.PIPE, stderr=subprocess.PIPE)

        def answer() -> bytes:
            try:
                out, error = asked.communicate(timeout=ENDS_S)
            except subprocess.TimeoutExpired:
                asked.kill()
                asked.communicate()
                raise Unavailable(f"{verb} at {self.plan.site} did not end within {ENDS_S:.0f} s") from None
            if asked.returncode != 0:
                last = error.decode(errors="replace").strip().splitlines()[-1:]
                raise Unavailable(f"{verb} at {self.plan.site} failed: {' '.join(last)}")
            return out

        return answer

    def _command(self, verb: str) -> list[str]:
        ours = [sys.executable, "-m", "polysite.cli", "lab", "exec", "--dir", str(self._lab), self.plan.site, "--"]
        return [*ours, sys.executable, "-m", "polysite.lab.traffic", verb, str(self._path)]

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"
