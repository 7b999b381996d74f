"""Which engines a process is put together from, by its settings."""

from pathlib import Path

import pytest

from polysite._open import build_coordinator
from polysite._open.backends import Backends, cells_engine, is_embedded
from polysite.clock import Runtime
from polysite.errors import BadRequest
from polysite.server.run import Place
from polysite.server.settings import Settings, load_settings

CASSANDRA = {"cassandra.contact_points": ["127.0.0.1"], "cassandra.data_center": "ams"}


def settings_of(**flags: object) -> Settings:
    return load_settings(flags={name.replace("__", "."): value for name, value in flags.items()}).settings


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"store.engine": "oracle"}, "store.engine: there is no engine 'oracle' here; there is embedded, cassandra"),
        ({"cells.engine": "etcd"}, "cells.engine: there is no engine 'etcd' here; there is embedded, cassandra, accord, zookeeper"),
        ({"cells.engine": "zookeeper"}, "rows and cells together"),
        ({"store.engine": "cassandra", "cells.engine": "embedded"}, "rows and cells together"),
        ({"site.peers": {"bei": "http://127.0.0.2:1"}}, "site.peers: the embedded engine holds one site"),
        ({"store.engine": "cassandra"}, r"needs the section \[cassandra\]"),
        ({"store.engine": "cassandra", **CASSANDRA, "cassandra.replicas": {"bei": 1}}, "no copy at this site's data_center"),
        ({"store.engine": "cassandra", **CASSANDRA, "cassandra.user_variable": "A"}, "go together"),
        (
            {"store.engine": "cassandra", **CASSANDRA, "cassandra.user_variable": "POLY_A", "cassandra.password_variable": "POLY_B"},
            "POLY_A, which holds a credential",
        ),
    ],
)  # fmt: skip
async def test_engines_that_cannot_be_had(tmp_path: Path, flags: dict[str, object], says: str) -> None:
    """Goal: settings that cannot be met are told before anything is opened. Method: names that are none, engines that do not go
    together, sections that are missing or do not hold; the data folder stays empty."""
    settings = load_settings(flags={"store.data": str(tmp_path / "data"), **flags}).settings
    with pytest.raises(BadRequest, match=says):
        await build_coordinator(settings, Place("http://127.0.0.1:1"), Runtime())
    assert not (tmp_path / "data").exists()


def test_cells_are_where_the_rows_are_unless_it_is_said() -> None:
    """Goal: one setting is enough for one engine. Method: with and without `cells.engine`."""
    rows = load_settings(flags={"store.engine": "cassandra", **CASSANDRA}).settings
    assert cells_engine(rows) == "cassandra"
    assert not is_embedded(rows)
    mixed = load_settings(flags={"store.engine": "cassandra", "cells.engine": "zookeeper", **CASSANDRA}).settings
    assert (mixed.store.engine, cells_engine(mixed)) == ("cassandra", "zookeeper")
    assert is_embedded(load_settings().settings)


def test_one_port_serves_rows_and_cells() -> None:
    """Goal: a process has one set of connections. Method: the port asked for twice."""
    backends = Backends(load_settings(flags={"store.engine": "cassandra", **CASSANDRA}).settings, Runtime(), environ={})
    assert backends.cassandra_port() is backends.cassandra_port()
