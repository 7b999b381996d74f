"""What the commands have for those who come from MUSIC 3.x."""

import io
from pathlib import Path
from typing import Any

import pytest

from polysite.cli import commands
from polysite.server import passwords
from polysite.server.passwords import parse_password_hash
from polysite.server.settings import Settings


def ended(*arguments: str) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as end:
        commands.run([*arguments])
    return int(end.value.code or 0)


def test_hash_password_reads_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Goal: one line that fits the password goes to standard output, the password nowhere. Method: a password with a colon and a space at its end; then
    an empty one, which is refused."""
    monkeypatch.setattr(passwords, "_LOG_N", 2)
    monkeypatch.setattr("sys.stdin", io.StringIO("pass:wörd \n"))
    assert ended("hash-password") == 0
    told = capsys.readouterr()
    (line,) = told.out.splitlines()
    assert parse_password_hash(line).fits("pass:wörd ".encode())
    assert "wörd" not in told.out + told.err
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert ended("hash-password") != 0
    assert not capsys.readouterr().out


def test_serve_takes_a_property_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Goal: what the file says holds, what has no effect is told with its reason, and no value of it is. Method: serve with a server that only keeps
    its settings; a flag says something else than the file."""
    served: list[Settings] = []

    def keep(settings: Settings, *_args: Any, **_more: Any) -> int:
        served.append(settings)
        return 0

    monkeypatch.setattr("polysite.server.run.serve", keep)
    file = tmp_path / "music.properties"
    file.write_text(
        "keyspace.active=false\nserver.port=8080\ncassandra.password=s3cret\nlock.lease.period=6000\nnobody.knows=s3cret\n"
    )
    assert ended("serve", "--music-properties", str(file), "--port", "0") == 0
    (settings,) = served
    assert (settings.v2.keyspace_active, settings.v2.atomic_lease_ms, settings.server.port) == (False, 6_000, 0)
    told = capsys.readouterr().err
    assert "cassandra.password has no effect: credentials are no settings" in told
    assert "nobody.knows has no effect: it is no property of MUSIC" in told
    assert "s3cret" not in told
    file.write_text("keyspace.active=s3cret\n")
    assert ended("serve", "--music-properties", str(file)) != 0
    told = capsys.readouterr().err
    assert "keyspace.active" in told
    assert "s3cret" not in told
