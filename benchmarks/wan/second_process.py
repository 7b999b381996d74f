"""One more polysite process of the site that this one is at, with settings of its own, for as long as a job runs."""

import asyncio
import contextlib
import os
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

PORT_AHEAD = 1
READY_S, ENDS_S, ASKS_S = 60.0, 30.0, 0.2


@contextlib.asynccontextmanager
async def second_process(settings: str, url: str, **variables: str) -> AsyncIterator[str]:
    """Serve with the `settings` file of the process at `url`, on the next port and with a data folder of its own; its URL, once it is ready.
    `variables` are further ones of the environment. TimeoutError: it was not ready in time."""
    place = urlsplit(url)
    assert place.hostname is not None
    assert place.port is not None
    port = place.port + PORT_AHEAD
    own_url = f"{place.scheme}://{place.hostname}:{port}"
    with tempfile.TemporaryDirectory(prefix="polysite-bench-second-") as data:
        changed = {"POLYSITE_SERVER_PORT": str(port), "POLYSITE_SITE_ADVERTISE": own_url, "POLYSITE_STORE_DATA": data}
        serving = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "polysite.cli", "serve", "--config", settings,
            env={**os.environ, **changed, **variables}, stdin=asyncio.subprocess.DEVNULL, stdout=sys.stderr,
        )  # fmt: skip
        try:
            async with asyncio.timeout(READY_S):
                while not await asyncio.to_thread(_is_ready, own_url):
                    if serving.returncode is not None:
                        raise TimeoutError(f"a second process ended with {serving.returncode}")
                    await asyncio.sleep(ASKS_S)
            yield own_url
        finally:
            with contextlib.suppress(ProcessLookupError):
                serving.terminate()
            async with asyncio.timeout(ENDS_S):
                await serving.wait()


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/v3/health/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
