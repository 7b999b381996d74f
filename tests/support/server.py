"""A real server process on a free port of loopback."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_S_MAX = 30
STOP_S_MAX = 20


@contextmanager
def started_server(data: Path, *arguments: str) -> Iterator[str]:
    """`polysite serve` on the folder `data`; yields its base URL when it says that it listens; stops it gently afterwards."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("POLYSITE_")}
    command = [str(Path(sys.executable).parent / "polysite"), "serve", "--data", str(data), "--port", "0", *arguments]
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    lines: list[str] = []
    address: list[str] = []
    heard = threading.Event()
    reading = threading.Thread(target=_listen, args=(process, lines, address, heard), daemon=True)
    reading.start()
    try:
        heard.wait(START_S_MAX)
        assert address, "the server did not say where it listens:\n" + "".join(lines)
        yield address[0]
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_S_MAX) == 0, "the server did not stop cleanly:\n" + "".join(lines)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        reading.join(STOP_S_MAX)
        if process.stdout:
            process.stdout.close()


def _listen(process: "subprocess.Popen[str]", lines: list[str], address: list[str], heard: threading.Event) -> None:
    """Collect what the server prints; the first URL of loopback in it is where it listens."""
    for line in process.stdout or ():
        lines.append(line)
        found = re.search(r"http://(?:127\.0\.0\.1|localhost):([1-9]\d*)", line)
        if found and not address:
            address.append(found[0])
            heard.set()
    heard.set()
