"""The Cassandra part of the settings: what is taken, and in which words the rest is refused."""

import asyncio
import sys
from typing import Any

import pytest

from polysite.engines.cassandra import Consistency
from polysite.engines.cassandra.driver import CassandraDriverPort
from polysite.engines.cassandra.opening import cassandra_port
from polysite.engines.cassandra.settings import Credentials, cassandra_settings_from, credentials_from
from polysite.errors import BadRequest

LEAST: dict[str, Any] = {"contact_points": ["10.1.0.5"], "data_center": "ams"}


def test_the_least_that_must_be_said() -> None:
    """Contact points and data center; the rest is one copy there, agreed over all sites and committed at a local majority."""
    settings = cassandra_settings_from(LEAST)
    assert settings.replication == {"ams": 1}
    assert settings.serial == Consistency.SERIAL
    assert settings.commit_level == Consistency.LOCAL_QUORUM
    assert settings.keyspace("voting") == "voting"
    assert settings.driver == "cassandra-driver"


def test_one_site_and_a_prefix() -> None:
    """Pinned to one site the agreement is local; the prefix goes before each keyspace's name."""
    settings = cassandra_settings_from({**LEAST, "one_site": True, "replicas": {"ams": 3}, "keyspace_prefix": "test_"})
    assert settings.serial == Consistency.LOCAL_SERIAL
    assert settings.replication == {"ams": 3}
    assert settings.keyspace("voting") == "test_voting"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"contact_points": []}, "contact_points"),
        ({"data_center": ""}, "data_center"),
        ({"data_center": "a'b"}, "data_center"),
        ({"replicas": {"bei": 3}}, "no copy at this site's data_center 'ams'"),
        ({"replicas": {"ams": 0}}, "replicas"),
        ({"replicas": {"ams": 3, "b'": 3}}, "replicas"),
        ({"one_site": True, "replicas": {"ams": 3, "bei": 3}}, "with one_site"),
        ({"driver": "scylla"}, "driver"),
        ({"commit": "QUORUM"}, "commit"),
        ({"keyspace_prefix": "a-b"}, "keyspace_prefix"),
        ({"user_variable": "USER"}, "user_variable and password_variable go together"),
        ({"password_variable": "WORD"}, "user_variable and password_variable go together"),
        ({"password_variable": "p w"}, "password_variable"),
        ({"password": "secret"}, "password"),
        ({"tls": {"authority": "ca.pem", "certificate": "own.pem"}}, "tls.certificate and tls.key go together"),
        ({"request_ms": 0}, "request_ms"),
        ({"port": "9042"}, "port"),
    ],
)
def test_what_is_refused_names_the_setting(change: dict[str, Any], words: str) -> None:
    """Each wrong setting is a BadRequest that names it, and never shows what a password setting held."""
    with pytest.raises(BadRequest, match=words) as refused:
        cassandra_settings_from({**LEAST, **change})
    assert "secret" not in refused.value.message


def test_credentials_come_from_the_variables_named() -> None:
    """Settings name variables, the environment holds what they are; a missing one is named; nothing shows a password."""
    settings = cassandra_settings_from({**LEAST, "user_variable": "CQL_USER", "password_variable": "CQL_PASSWORD"})
    found = credentials_from(settings, {"CQL_USER": "ana", "CQL_PASSWORD": "secret"})
    assert found == Credentials("ana", "secret")
    assert "secret" not in repr(found)
    with pytest.raises(BadRequest, match="CQL_PASSWORD"):
        credentials_from(settings, {"CQL_USER": "ana"})
    assert credentials_from(cassandra_settings_from(LEAST), {}) is None


@pytest.mark.parametrize(
    ("driver", "module", "extra"),
    [("cassandra-driver", "cassandra", "cassandra"), ("acsylla", "acsylla", "fast")],
)
def test_a_driver_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, driver: str, module: str, extra: str) -> None:
    """The refusal says what to install."""
    for name in [
        name for name in sys.modules if name.split(".")[0] == module or name.startswith("polysite.engines.cassandra.")
    ]:
        if name not in ("polysite.engines.cassandra.port", "polysite.engines.cassandra.settings"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BadRequest, match=rf"\[{extra}\]"):
        cassandra_port(cassandra_settings_from({**LEAST, "driver": driver}))


@pytest.mark.anyio
async def test_rows_and_cells_connect_the_same_port_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever shares a port may connect it without asking the other: it is opened once."""
    port = CassandraDriverPort(cassandra_settings_from(LEAST))
    opened: list[object] = []

    def open_once() -> tuple[object, object]:
        opened.append(object())
        return object(), object()

    monkeypatch.setattr(port, "_open", open_once)
    await asyncio.gather(port.connect(), port.connect())
    await port.connect()
    assert len(opened) == 1


def test_a_port_by_name() -> None:
    """Each driver's port is made by its name, without connecting."""
    assert cassandra_port(cassandra_settings_from(LEAST)).driver == "cassandra-driver"
    assert cassandra_port(cassandra_settings_from({**LEAST, "driver": "acsylla"})).driver == "acsylla"
