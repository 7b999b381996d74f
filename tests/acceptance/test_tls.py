"""A server that was given a certificate: every way to it is encrypted, and nobody talks to one he does not trust.

Method: a certificate for 127.0.0.1 is made for the run (by the command `openssl`), a server process listens with it, and it is
asked by the clients, by the command line and by the carrier of the peer channel, with that certificate trusted and without.
"""

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import polysite
import polysite.sync
from polysite.errors import PolysiteError
from tests.support.server_process import ServerProcess
from tests.support.source import ROOT

SPEC = {"name": "text", "count": "int"}
HELLO = """
import asyncio, sys
from pathlib import Path
from polysite.clock import Runtime
from polysite.errors import PolysiteError
from polysite.server.peers import PeerCarrier, load_secret

async def main():
    secret = load_secret(Path(sys.argv[2]), Runtime().randomness)
    carrier = PeerCarrier(secret)
    try:
        answer = await carrier.send(sys.argv[1], "hello", sys.stdin.buffer.read(), answer_s=20)
        print("answered", len(answer))
    except PolysiteError as error:
        print(error.code)
    await carrier.close()

asyncio.run(main())
"""


class Served(NamedTuple):
    server: ServerProcess
    certificate: Path

    @property
    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate))

    def environment(self, *, trusted: bool) -> dict[str, str]:
        """For a process that uses the machine's own trust store, of which this is the whole content."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("POLYSITE_", "SSL_CERT"))}
        return {
            **kept,
            "POLYSITE_URL": self.server.url,
            "SSL_CERT_FILE": str(self.certificate) if trusted else "/dev/null",
        }


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    if shutil.which("openssl") is None:
        pytest.skip("the command openssl, which makes the certificate, is not here")
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    command += [
        "-subj",
        "/CN=127.0.0.1",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    subprocess.run(command, check=True, capture_output=True)
    variables = {
        "POLYSITE_SERVER_TLS_CERTIFICATE": str(certificate),
        "POLYSITE_SERVER_TLS_KEY": str(key),
    }
    with ServerProcess(folder / "data", variables=variables) as server:
        yield Served(server, certificate)
        assert server.terminate() == 0, server.log
        assert not [event for event in server.log if event.get("level") == "error"]


def test_clients_over_tls(served: Served) -> None:
    """A write by the client without await, a lock and its row."""
    assert served.server.url.startswith("https://")
    with polysite.sync.connect(served.server.url, ssl_context=served.trusting) as site:
        site.create_keyspace("voting")
        site.create_table("voting", "votes", SPEC, partition_key="name")
        votes = site.table("voting", "votes")
        with votes.section("ana") as section:
            section.put({"count": 1})
        assert votes.get("ana", level="quorum") == {"name": "ana", "count": 1}


async def test_the_async_client_over_tls(served: Served) -> None:
    """The same with await, and events over a stream that stays open."""
    async with polysite.connect(served.server.url, ssl_context=served.trusting) as site:
        await site.create_keyspace("voting")
        await site.create_table("voting", "votes", SPEC, partition_key="name")
        votes = site.table("voting", "votes")
        async with votes.section("bea") as section:
            await section.put({"count": 2})
        assert await votes.get("bea", level="quorum") == {"name": "bea", "count": 2}


def test_nobody_talks_to_a_server_that_is_not_trusted(served: Served) -> None:
    """The machine's trust store does not know the certificate: nothing was sent, and that is what is told."""
    with polysite.sync.connect(served.server.url, retries=0) as site, pytest.raises(PolysiteError) as told:
        site.table("voting", "votes").put("eve", {"count": 1}, level="atomic")
    assert told.value.outcome == "refused"


def test_a_client_without_tls_is_not_served(served: Served) -> None:
    """Plain HTTP on that port gets no answer in plain text, and the server goes on."""
    with socket.create_connection(("127.0.0.1", served.server.port), timeout=20) as plain:
        plain.sendall(b"GET /v3/health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        plain.settimeout(20)
        try:
            found = plain.recv(1_000)
        except ConnectionResetError:
            found = b""
    assert b"HTTP" not in found
    test_clients_over_tls(served)


@pytest.mark.parametrize("trusted", [True, False])
def test_the_command_line_over_tls(served: Served, trusted: bool) -> None:
    """It trusts what the machine trusts."""
    command = [sys.executable, "-m", "polysite.cli", "doctor", "--json"]
    done = subprocess.run(
        command,
        env=served.environment(trusted=trusted),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    checks = {check["name"].split()[0]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["site"]["fine"] is (True if trusted else None), done.stdout


@pytest.mark.parametrize("trusted", [True, False])
def test_the_peer_channel_over_tls(served: Served, trusted: bool) -> None:
    """A process that knows the secret is heard over TLS; one that does not trust the certificate sends nothing to it."""
    from polysite.site.peers import Hello, encode

    command = [sys.executable, "-c", HELLO, served.server.url, str(served.server.folder / "peer.secret")]
    body = encode(Hello("local", "p9", 0))
    environment = served.environment(trusted=trusted)
    done = subprocess.run(command, env=environment, cwd=ROOT, input=body, capture_output=True, timeout=60, check=True)
    assert done.stdout.split()[0] == (b"answered" if trusted else b"site_unreachable"), done.stdout
