"""What happens in a lab, told as it happens: to the lab's log, and until the lab is up to whoever started it."""

import contextlib
import os
import time
from pathlib import Path
from typing import Any

import msgspec

from polysite.errors import Unavailable


class Progress:
    """Events as JSON, one per line: `at_s` since the beginning, `event`, and what belongs to it."""

    def __init__(self, log: Path, audience: int | None) -> None:
        """`audience`: an open file that is told too, until `leave`."""
        self._log = log
        self._audience = audience
        self._began_s = time.monotonic()

    @property
    def up_s(self) -> float:
        return time.monotonic() - self._began_s

    def tell(self, event: str, **more: Any) -> None:
        """Tell. Unavailable: who started the lab has gone before it was up."""
        line = msgspec.json.encode({"at_s": round(self.up_s, 2), "event": event, **more}) + b"\n"
        with self._log.open("ab") as log:
            log.write(line)
        if self._audience is not None:
            try:
                os.write(self._audience, line)
            except BrokenPipeError:
                self._audience = None
                raise Unavailable("who started the lab has gone before it was up") from None

    def leave(self) -> None:
        """The lab is up, or is not going to be: the audience is told no more."""
        if self._audience is not None:
            with contextlib.suppress(OSError):
                os.close(self._audience)
            self._audience = None
