"""Settings: file, variables and flags overlay each other, and every value's origin is known."""

import json
from pathlib import Path

import pytest

from polysite.errors import BadRequest
from polysite.server.settings import Settings, check_exposure, is_loopback, load_settings, setting_names, variable_name


def written(folder: Path, text: str) -> Path:
    path = folder / "polysite.toml"
    path.write_text(text)
    return path


def test_nothing_needs_to_be_set() -> None:
    """The defaults alone serve one site on loopback; every origin says so."""
    loaded = load_settings()
    assert loaded.settings == Settings()
    assert set(loaded.origins.values()) == {"default"}
    assert check_exposure(loaded.settings).server.host == "127.0.0.1"


def test_flags_win_over_variables_over_file(tmp_path: Path) -> None:
    """Set three values in the file, two again by variables, one of them again by a flag: each shows its last origin."""
    path = written(tmp_path, '[server]\nport = 1\nstop_ms = 2\n[site]\nname = "north"\n')
    environ = {"POLYSITE_SERVER_PORT": "3", "POLYSITE_SERVER_STOP_MS": "4", "HOME": "/root"}
    settings, origins = load_settings(path=path, environ=environ, flags={"server.port": 5, "server.host": None})
    assert (settings.server.port, settings.server.stop_ms, settings.site.name) == (5, 4, "north")
    assert origins["server.port"] == "flag"
    assert origins["server.stop_ms"] == "POLYSITE_SERVER_STOP_MS"
    assert origins["site.name"] == f"file {path}"
    assert origins["server.host"] == "default"


def test_the_file_may_be_named_by_a_variable(tmp_path: Path) -> None:
    """POLYSITE_CONFIG names the file, and is no setting itself."""
    path = written(tmp_path, '[telemetry]\nlog_level = "debug"\n')
    settings, _ = load_settings(environ={"POLYSITE_CONFIG": str(path)})
    assert settings.telemetry.log_level == "debug"


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("POLYSITE_SERVER_INSECURE", "true", "insecure", True),
        ("POLYSITE_SERVER_HOSTS", '["a", "b"]', "hosts", ["a", "b"]),
        ("POLYSITE_SERVER_HOST", "localhost", "host", "localhost"),
    ],
)
def test_variables_are_read_by_the_type_of_the_setting(variable: str, text: str, name: str, value: object) -> None:
    """Texts and numbers are plain, lists are JSON."""
    settings, _ = load_settings(environ={variable: text})
    assert getattr(settings.server, name) == value


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("[server]\nprot = 1\n", "prot"),
        ("[srever]\nport = 1\n", "srever"),
        ("port = 1\n", "port"),
        ("[server]\nport = 99999\n", "65535"),
        ("[server]\nport = 'x'\n", "polysite.toml"),
        ("[server\n", "not TOML"),
        ('[[auth.tokens]]\nname = "a"\nsha256 = "12"\n', "tokens"),
        ('[site]\npeers = { ams = "10.0.0.1:8390" }\n', r"site\.peers.*polysite\.toml"),
        ('[site]\npeers = { "a/b" = "http://10.0.0.1:8390" }\n', r"site\.peers.*polysite\.toml"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(tmp_path: Path, toml: str, says: str) -> None:
    """Misspelt names, wrong types and values out of bounds are told, never ignored."""
    with pytest.raises(BadRequest, match=says):
        load_settings(path=written(tmp_path, toml))


def test_peers_are_names_and_addresses() -> None:
    """Other sites are told as a table, in a variable as JSON; base URLs and sockets are addresses."""
    peers = {"ams": "http://[::1]:8390", "bei": "https://bei.example.org/polysite", "irv": "unix:/run/polysite.sock"}
    settings, _ = load_settings(environ={"POLYSITE_SITE_PEERS": json.dumps(peers)})
    assert settings.site.peers == peers


def test_wrong_variables_are_refused_by_name() -> None:
    """A variable that is no setting, and one whose value does not fit."""
    with pytest.raises(BadRequest, match="POLYSITE_SERVER_PROT"):
        load_settings(environ={"POLYSITE_SERVER_PROT": "1"})
    with pytest.raises(BadRequest, match="POLYSITE_SERVER_PORT"):
        load_settings(environ={"POLYSITE_SERVER_PORT": "many"})
    with pytest.raises(BadRequest, match="cannot be read"):
        load_settings(path=Path("/nowhere/polysite.toml"))


def test_every_setting_has_a_variable_of_its_own() -> None:
    """No two settings share a variable name."""
    variables = [variable_name(name) for name, _ in setting_names()]
    assert len(set(variables)) == len(variables) > 20


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("[::1]", True), ("localhost", True), ("0.0.0.0", False),
     ("192.0.2.1", False), ("example.org", False), ("::", False)],
)  # fmt: skip
def test_what_counts_as_loopback(host: str, expected: bool) -> None:
    """Only addresses that other machines cannot reach."""
    assert is_loopback(host) is expected


def test_another_address_needs_tokens_or_an_explicit_wish() -> None:
    """0.0.0.0 without tokens is refused; with a token or `insecure` it is not."""
    token = {"name": "app", "sha256": "0" * 64}
    with pytest.raises(BadRequest, match="insecure"):
        check_exposure(load_settings(flags={"server.host": "0.0.0.0"}).settings)
    check_exposure(load_settings(flags={"server.host": "0.0.0.0", "auth.tokens": [token]}).settings)
    check_exposure(load_settings(flags={"server.host": "0.0.0.0", "server.insecure": True}).settings)
    with pytest.raises(BadRequest, match="own name"):
        check_exposure(load_settings(flags={"auth.tokens": [token, token]}).settings)
    with pytest.raises(BadRequest, match="go together"):
        check_exposure(load_settings(flags={"server.tls_key": "key.pem"}).settings)
