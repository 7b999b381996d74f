"""`music.properties`: every property of MUSIC has a meaning here, or a reason why not."""

from pathlib import Path

import pytest

from polysite.errors import BadRequest
from polysite.server.settings import load_settings, setting_names
from polysite.server.v2.properties import MAPPED, NO_EFFECT, parse_properties, read_properties

EVERY = {
    "cassandra.host": "a,b", "cassandra.port": "9043", "cassandra.connecttimeoutms": "100", "cassandra.readtimeoutms": "200",
    "keyspace.active": "false", "lock.lease.period": "6000", "music.aaf.ns": "org.example", "version": "3.2.41", "server.port": "8443",
    "transId.header.required": "true", "transId.header.prefix": "X-ATT-", "conversation.header.required": "true",
    "conversation.header.prefix": "X-CSI", "messageId.header.required": "false", "messageId.header.prefix": "", "clientId.header.required": "false",
    "clientId.header.prefix": "false",
}  # fmt: skip
OF_THE_ORIGINAL = [
    "cassandra.host",
    "cassandra.port",
    "cassandra.user",
    "cassandra.password",
    "cassandra.connecttimeoutms",
    "cassandra.readtimeoutms",
    "cipher.enc.key",
    "keyspace.active",
    "lock.lease.period",
    "retry.count",
    "lock.daemon.sleeptime.ms",
    "keyspaces.for.lock.cleanup",
    "create.lock.wait.period.ms",
    "create.lock.wait.increment.ms",
    "cadi",
    "music.aaf.ns",
    "transId.header.required",
    "conversation.header.required",
    "clientId.header.required",
    "messageId.header.required",
    "transId.header.prefix",
    "conversation.header.prefix",
    "clientId.header.prefix",
    "messageId.header.prefix",
    "debug",
    "version",
    "build",
    "music.properties",
    "lock.using",
    "server.port",
    "server.servlet.context-path",
    "security.require-ssl",
    "my.id",
    "all.ids",
    "my.public.ip",
    "public.ip",
    "all.public.ips",
    "music.ip",
    "music.rest.ip",
    "zookeeper.host",
    "aaf.endpoint.url",
    "cassandra.password.isencrypted",
]


def written(folder: Path, text: str) -> Path:
    path = folder / "music.properties"
    path.write_text(text, encoding="latin-1")
    return path


@pytest.mark.parametrize("name", OF_THE_ORIGINAL)
def test_every_property_is_mapped_or_told_why_not(tmp_path: Path, name: str) -> None:
    """Each that some version of MUSIC read becomes a setting that there is, or has a reason."""
    (told,) = read_properties(written(tmp_path, f"{name}={EVERY.get(name, 'x')}"))
    assert told.name == name
    assert bool(told.settings) != bool(told.reason)
    known = {setting for setting, _ in setting_names()}
    for setting in told.settings:
        assert ".".join(setting.split(".")[:2]) in known
    if told.reason.startswith("see "):
        assert told.reason.split()[1].rstrip(",") in known


def test_nothing_else_is_known() -> None:
    """The tables name no property that MUSIC never had, and none is in both."""
    assert set(MAPPED) | set(NO_EFFECT) == set(OF_THE_ORIGINAL)
    assert not set(MAPPED) & set(NO_EFFECT)
    assert set(EVERY) == set(MAPPED)


def test_a_whole_file_becomes_settings(tmp_path: Path) -> None:
    """Every mapped property has its effect; a settings file, a variable and a flag say something else and win."""
    path = written(tmp_path, "".join(f"{name} = {value}\n" for name, value in EVERY.items()))
    base = {
        name: (value, f"music property {told.name}")
        for told in read_properties(path)
        for name, value in told.settings.items()
    }
    config = tmp_path / "polysite.toml"
    config.write_text(
        '[v2]\nversion = "3.2.42"\nconversation_id = { prefix = "X-OTHER" }\n[cassandra]\ndata_center = "dc1"\n'
    )
    loaded = load_settings(
        path=config, environ={"POLYSITE_SERVER_PORT": "1"}, flags={"v2.atomic_lease_ms": 7}, base=base
    )
    found = loaded.settings
    assert found.cassandra is not None
    assert found.cassandra.contact_points == ["a", "b"]
    assert (found.cassandra.port, found.cassandra.connect_ms, found.cassandra.request_ms) == (9043, 100, 200)
    assert found.store.engine == "cassandra"
    assert (found.v2.keyspace_active, found.v2.permission_type) == (False, "org.example")
    assert (found.v2.transaction_id.required, found.v2.transaction_id.prefix) == (True, "X-ATT")
    assert (found.v2.client_id.required, found.v2.client_id.prefix) == (False, "")
    assert (found.v2.conversation_id.required, found.v2.conversation_id.prefix) == (True, "X-OTHER")
    assert (found.v2.version, found.server.port, found.v2.atomic_lease_ms) == ("3.2.42", 1, 7)
    assert loaded.origins["v2.permission_type"] == "music property music.aaf.ns"
    assert loaded.origins["server.port"] == "POLYSITE_SERVER_PORT"
    assert loaded.origins["v2.atomic_lease_ms"] == "flag"


@pytest.mark.parametrize(
    ("line", "name"),
    [("cassandra.port=soon", "cassandra.port"), ("keyspace.active=maybe", "keyspace.active"), ("cassandra.host= , ", "cassandra.host"), ("lock.lease.period=-1", "lock.lease.period")],
)  # fmt: skip
def test_a_value_that_does_not_do(tmp_path: Path, line: str, name: str) -> None:
    """It is refused by the property's name, without the value."""
    with pytest.raises(BadRequest, match=name) as told:
        read_properties(written(tmp_path, line))
    assert line.partition("=")[2].strip(" ,") not in told.value.message or name == "cassandra.host"


def test_what_is_unknown_and_what_is_secret(tmp_path: Path) -> None:
    """A property nobody knows is told so; keys of TLS lead to the settings for them; no value is in what is told."""
    told = read_properties(
        written(tmp_path, "no.such = s3cret\nserver.ssl.key-store = s3cret\ncassandra.password=s3cret\n")
    )
    assert told[0].reason == "it is no property of MUSIC"
    assert "server.tls_certificate" in told[1].reason
    assert "s3cret" not in repr(told)
    with pytest.raises(BadRequest, match="cannot be read"):
        read_properties(tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a=1\nb:2\nc 3\nd\n", {"a": "1", "b": "2", "c": "3", "d": ""}),
        ("  a = 1 \r\n\r\n# no\n! no\nb=2", {"a": "1", "b": "2"}),
        ("a=1,\\\n   2\n", {"a": "1,2"}), ("a=1\\\\\nb=2", {"a": "1\\", "b": "2"}), ("a\\ b=1\na\\=b=2", {"a b": "1", "a=b": "2"}),
        ("a=\\u00e9\\t.\\u12", {"a": "é\t.u12"}), ("a=1\na=2", {"a": "2"}), ("a=b=c", {"a": "b=c"}), ("a=1\\", {"a": "1"}), ("", {}),
    ],
)  # fmt: skip
def test_property_files(text: str, found: dict[str, str]) -> None:
    """Separators, comments, continued lines and escapes, as Java reads them."""
    assert parse_properties(text) == found
