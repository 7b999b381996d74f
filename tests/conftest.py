"""What every test gets."""

import os

import pytest
from hypothesis import HealthCheck, settings

# No wall-clock assertions anywhere, so hypothesis has no deadline either. A failure prints the blob that reproduces it.
settings.register_profile("here", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("here"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Tests that are coroutine functions run on asyncio."""
    return "asyncio"
