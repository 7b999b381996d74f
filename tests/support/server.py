"""A server that is only a place to go to."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.server_process import ServerProcess


@contextmanager
def started_server(data: Path, *flags: str) -> Iterator[str]:
    """`polysite serve` on the folder `data`; yields its base URL, and stops it gently if the body ends well."""
    with ServerProcess(data, flags=flags) as server:
        yield server.url
        assert server.terminate() == 0, f"the server did not stop cleanly: {server.log}"
