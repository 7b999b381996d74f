"""Two sites as processes that speak over TLS with an authority of their own, and one whose certificate is of another authority.

Method: authorities are made for the run, by the commands that the page on sites gives; both processes share a Cassandra node, whose
registry tells each where the other is.
"""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import polysite.sync
from polysite.api import SiteReach
from polysite.lab.engines import Engine
from tests.support.authorities import Issued, issue
from tests.support.cassandra import settings_for
from tests.support.server_process import ServerProcess
from tests.support.source import ROOT

LIMIT_S = 60.0
UNTRUSTED = "its certificate is not signed by an authority of site.peer_authority"


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Issued:
    return issue(tmp_path_factory.mktemp("authorities") / "ours")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Issued:
    return issue(tmp_path_factory.mktemp("authorities") / "others")


@pytest.fixture
def prefix() -> str:
    return f"t{uuid.uuid4().hex[:6]}_"


def site(folder: Path, name: str, engine: Engine, prefix: str, shown: Issued, trusted: Issued) -> ServerProcess:
    """A process of a site, with the certificate that it shows and the authority that it trusts."""
    cassandra = settings_for(engine)
    variables: dict[str, Any] = {
        "SITE_NAME": name,
        # Nobody is there: the registry knows better.
        "SITE_PEERS": json.dumps(dict.fromkeys(("ams", "bei"), "https://127.0.0.1:1")),
        "SITE_SECRET_FILE": folder / "peer.secret",
        "SITE_PEER_AUTHORITY": trusted.authority,
        "SERVER_TLS_CERTIFICATE": shown.certificate,
        "SERVER_TLS_KEY": shown.key,
        "STORE_ENGINE": "cassandra",
        "CASSANDRA_CONTACT_POINTS": json.dumps(list(cassandra.contact_points)),
        "CASSANDRA_PORT": cassandra.port,
        "CASSANDRA_DATA_CENTER": cassandra.data_center,
        "CASSANDRA_KEYSPACE_PREFIX": prefix,
    }
    named = {f"POLYSITE_{variable}": str(value) for variable, value in variables.items()}
    return ServerProcess(folder / name, variables=named)


def reach(server: ServerProcess, trusted: Issued, *, known: bool) -> SiteReach:
    """How the process reaches the other site, once it answered (`known`) or the reason is there why it does not."""
    until_s = time.monotonic() + LIMIT_S
    with polysite.sync.connect(server.url, ssl_context=trusted.trusting) as client:
        while True:
            (other,) = client.health().sites
            if other.answers if known else other.reason is not None:
                return other
            assert time.monotonic() < until_s, (other, server.log)
            time.sleep(0.05)


@pytest.fixture
def ams(tmp_path: Path, cassandra_node: Engine, prefix: str, ours: Issued) -> Iterator[ServerProcess]:
    with site(tmp_path, "ams", cassandra_node, prefix, ours, ours) as server:
        yield server


def doctor(server: ServerProcess, **variables: str) -> str:
    """What the doctor finds of the site."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("POLYSITE_", "SSL_CERT"))}
    command = [sys.executable, "-m", "polysite.cli", "doctor", "--json", "--url", server.url]
    done = subprocess.run(
        command, env={**kept, **variables}, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    (found,) = (check["finding"] for check in json.loads(done.stdout)["checks"] if check["name"].startswith("site"))
    return str(found)


def test_sites_with_an_authority_of_their_own(
    tmp_path: Path, cassandra_node: Engine, prefix: str, ours: Issued, ams: ServerProcess
) -> None:
    """Goal: they reach each other, though the machine trusts neither, and a key that one of them holds is handed to the other. Clients and
    commands that name the authority are let in; a command that does not is not."""
    with site(tmp_path, "bei", cassandra_node, prefix, ours, ours) as bei:
        for server in (ams, bei):
            assert reach(server, ours, known=True).reason is None
        with (
            polysite.sync.connect(ams.url, ssl_context=ours.trusting) as here,
            polysite.sync.connect(bei.url, ssl_context=ours.trusting) as there,
        ):
            here.create_keyspace("voting")
            here.create_table("voting", "votes", {"name": "text", "count": "int"}, partition_key="name")
            for client, count in ((here, 1), (there, 2), (here, 3)):
                with client.table("voting", "votes").section("ana") as section:
                    row = section.get()
                    assert (row["count"] if row else 0) == count - 1
                    section.put({"count": count})
        assert "no answer" not in doctor(ams, POLYSITE_CA=str(ours.authority))
        assert "does not answer" in doctor(ams)
        for server in (ams, bei):
            assert server.terminate() == 0, server.log
        told = [event for server in (ams, bei) for event in server.log if "certificate" in str(event)]
        assert not told


def test_a_site_of_another_authority(
    tmp_path: Path, cassandra_node: Engine, prefix: str, ours: Issued, others: Issued, ams: ServerProcess
) -> None:
    """Goal: nobody speaks to a process whose certificate is of another authority, and the reason is told by health, log and doctor, without a
    path. Method: it trusts the right one, so that it reaches the site that does not reach it."""
    with site(tmp_path, "bei", cassandra_node, prefix, others, ours) as bei:
        assert reach(ams, ours, known=False) == SiteReach(site="bei", answers=False, reason=UNTRUSTED)
        assert reach(bei, others, known=True).answers
        assert f"no answer from bei ({UNTRUSTED})" in doctor(ams, POLYSITE_CA=str(ours.authority))
        assert bei.terminate() == 0, bei.log
    assert ams.terminate() == 0, ams.log
    (warning,) = (event for event in ams.log if UNTRUSTED in str(event))
    assert (warning["level"], warning["site"], warning["reason"]) == ("warning", "bei", UNTRUSTED)
    assert str(tmp_path) not in str(warning)


def test_a_file_that_does_not_do_ends_the_start(tmp_path: Path, ours: Issued) -> None:
    """Goal: a mistake in the files of TLS is told at once, by the name of the setting and without the path. Method: files that are not there,
    are no PEM, are a folder, or do not belong together; also a key with a password."""
    (tmp_path / "text.pem").write_text("no certificate")
    locked = [
        "openssl",
        "ec",
        "-in",
        str(ours.key),
        "-aes256",
        "-passout",
        "pass:secret",
        "-out",
        str(tmp_path / "locked.key"),
    ]
    subprocess.run(locked, check=True, capture_output=True)
    certificate, key = str(ours.certificate), str(ours.key)
    cases: list[tuple[dict[str, str], str]] = [
        ({"SITE_PEER_AUTHORITY": f"{tmp_path}/gone.pem"}, "site.peer_authority: the file cannot be read: No such file"),
        ({"SITE_PEER_AUTHORITY": str(tmp_path)}, "site.peer_authority: the file"),
        ({"SITE_PEER_AUTHORITY": f"{tmp_path}/text.pem"}, "site.peer_authority: the file holds no certificate in PEM"),
        ({"SERVER_TLS_CERTIFICATE": f"{tmp_path}/gone.pem", "SERVER_TLS_KEY": key}, "server.tls_certificate: the file cannot be read"),
        ({"SERVER_TLS_CERTIFICATE": certificate, "SERVER_TLS_KEY": f"{tmp_path}/gone"}, "server.tls_key: the file cannot be read"),
        ({"SERVER_TLS_CERTIFICATE": key, "SERVER_TLS_KEY": key}, "server.tls_certificate, server.tls_key: they are not a certificate"),
        ({"SERVER_TLS_CERTIFICATE": certificate, "SERVER_TLS_KEY": f"{tmp_path}/locked.key"}, "a key without a password"),
    ]  # fmt: skip
    kept = {name: value for name, value in os.environ.items() if not name.startswith("POLYSITE_")}
    for variables, says in cases:
        named = {f"POLYSITE_{name}": value for name, value in variables.items()}
        command = [sys.executable, "-m", "polysite.cli", "serve", "--port", "0", "--data", str(tmp_path / "data")]
        done = subprocess.run(
            command, env={**kept, **named}, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
        assert done.returncode != 0
        assert says in done.stderr, done.stderr
        assert str(tmp_path) not in done.stderr
        assert "Traceback" not in done.stderr


def test_a_command_with_a_file_that_does_not_do(tmp_path: Path) -> None:
    """Goal: `--ca` that cannot be used is told before anything is asked."""
    (tmp_path / "text.pem").write_text("no certificate")
    for name, says in (("gone.pem", "cannot be read"), ("text.pem", "holds no certificate in PEM")):
        command = [sys.executable, "-m", "polysite.cli", "get", "a/b/c", "--url", "https://127.0.0.1:1", "--ca", name]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        assert done.returncode != 0
        assert says in done.stderr, done.stderr
