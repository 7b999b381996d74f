"""Settings and ports for the tests' Cassandra node."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from polysite.engines.cassandra import CassandraPort
from polysite.engines.cassandra.opening import cassandra_port
from polysite.engines.cassandra.settings import CassandraSettings, cassandra_settings_from
from polysite.lab.engines import CassandraSpec, Engine

DRIVERS = ["cassandra-driver", "acsylla"]
"""What a test over both drivers is parametrised with."""


def settings_for(engine: Engine, **others: Any) -> CassandraSettings:
    """How a process reaches this Cassandra node; `others` are settings as they stand in the file."""
    spec = engine.spec
    assert isinstance(spec, CassandraSpec)
    raw = {"contact_points": [spec.address], "port": spec.native_port, "data_center": spec.data_center, **others}
    return cassandra_settings_from(raw)


@asynccontextmanager
async def connected(engine: Engine, **others: Any) -> AsyncIterator[CassandraPort]:
    """A connected port, closed at the end of the block."""
    port = cassandra_port(settings_for(engine, **others))
    await port.connect()
    try:
        yield port
    finally:
        await port.close()
