"""JSON logs: one line per event, with a request id, never with a value, lock reference, path or credential."""

import logging
import sys
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any, TextIO

import structlog

from polysite.clock import Clock
from polysite.server.settings import TelemetrySettings

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
FRAMES_MAX = 20


def make_logger(telemetry: TelemetrySettings, clock: Clock, stream: TextIO | None = None) -> Any:
    """A logger that writes to `stream` (None: standard error)."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if telemetry.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    return structlog.wrap_logger(
        structlog.PrintLogger(stream or sys.stderr),
        processors=[structlog.processors.add_log_level, _stamper(clock), renderer],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[telemetry.log_level]),
        cache_logger_on_first_use=True,
    )


def describe(error: BaseException) -> dict[str, Any]:
    """An exception for the log: its type and where it came from. Not its message, which may hold a value or a path."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_MAX:]
    causes: list[str] = []
    cause = error.__cause__ or error.__context__
    while cause is not None and len(causes) < 5:
        causes.append(type(cause).__qualname__)
        cause = cause.__cause__ or cause.__context__
    return {
        "error": type(error).__qualname__,
        "frames": [f"{PurePath(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames],
        "causes": causes,
    }


class Forwarder(logging.Handler):
    """Hands what libraries log to our logger: the unformatted message, and an exception as `describe` tells it.

    A record of ours may have `shown` (`extra={"shown": {"site": "bei"}}`): names and fixed words that no rule keeps out of the log.
    """

    def __init__(self, logger: Any) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if getattr(error, "logged", False):
            return
        details = {**getattr(record, "shown", {}), **(describe(error) if error is not None else {})}
        write = self._logger.error if record.levelno >= logging.ERROR else self._logger.warning
        write("library", library=record.name, text=str(record.msg), **details)


def forward_libraries(logger: Any) -> Callable[[], None]:
    """Send the warnings of libraries to `logger` until the returned function is called."""
    handler = Forwarder(logger)
    names = ("uvicorn", "uvicorn.error", "asyncio", "aiohttp", "polysite")
    for name in names:
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).propagate = False

    def undo() -> None:
        for name in names:
            logging.getLogger(name).removeHandler(handler)
            logging.getLogger(name).propagate = True

    return undo


def _stamper(clock: Clock) -> Callable[[Any, str, MutableMapping[str, Any]], Mapping[str, Any]]:
    def stamp(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        moment = datetime.fromtimestamp(clock.wall_us() / 1_000_000, UTC)
        return {"at": moment.isoformat(timespec="milliseconds"), **event}

    return stamp
