"""TLS and credentials towards a real Cassandra node that asks for both, through both drivers.

Method: a certificate made for the run, and Cassandra's own default user. A Cassandra node that wants TLS and a password cannot be asked by the
probe whether it is ready, so the drivers ask.
"""

import asyncio
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polysite.engines.cassandra import CassandraPort, Consistency, Statement
from polysite.engines.cassandra.opening import cassandra_port
from polysite.engines.cassandra.settings import Credentials
from polysite.errors import BadRequest, Forbidden, PolysiteError, Unauthenticated, Unavailable
from polysite.lab.engines import CassandraSpec, Engine, free_address, start
from polysite.values.types import parse_type
from tests.support.cassandra import DRIVERS, settings_for
from tests.support.engines import require

pytestmark = [pytest.mark.anyio, pytest.mark.engine("cassandra")]

ROOT_USER = Credentials("cassandra", "cassandra")
BOB = Credentials("bob", "not the root's")
NOTHING = Statement("SELECT cluster_name FROM system.local", gives={"cluster_name": parse_type("text")})


def certificate_for(address: str, folder: Path) -> Path:
    """A key and a certificate for an address, in one PEM file; `certificate.pem` beside it is the certificate alone."""
    if shutil.which("openssl") is None:
        pytest.skip("the command openssl, which makes the certificate, is not here")
    key, certificate, both = folder / "key.pem", folder / "certificate.pem", folder / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={address}"]
    command += ["-addext", f"subjectAltName=IP:{address}", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    both.write_text(key.read_text() + certificate.read_text())
    return both


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("access")


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Engine]:
    """A Cassandra node that takes clients over TLS only, with a certificate of theirs and by a password."""
    address = free_address((9042, 7000))
    both = certificate_for(address, folder)
    encryption = {
        "enabled": True,
        "optional": False,
        "require_client_auth": True,
        "keystore": str(both),
        "truststore": str(folder / "certificate.pem"),
        "ssl_context_factory": {"class_name": "org.apache.cassandra.security.PEMBasedSslContextFactory"},
    }
    spec = CassandraSpec(
        folder=str(folder / "node"),
        address=address,
        settings={
            "client_encryption_options": encryption,
            "authenticator": "PasswordAuthenticator",
            "authorizer": "CassandraAuthorizer",
        },
    )
    engine = start(spec, require("cassandra"))
    yield engine
    engine.kill()


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def port_of(engine: Engine, folder: Path, credentials: Credentials | None, **others: Any) -> CassandraPort:
    return cassandra_port(settings_for(engine, **{"tls": tls_of(folder), **others}), credentials=credentials)


def tls_of(folder: Path) -> dict[str, Any]:
    """The one certificate of the run is everybody's here: the server's, its authority's, and the client's."""
    certificate = str(folder / "certificate.pem")
    return {"authority": certificate, "certificate": certificate, "key": str(folder / "key.pem")}


async def when_ready(engine: Engine, folder: Path, driver: str) -> CassandraPort:
    """A port of the root user, connected as soon as the Cassandra node takes it."""
    end_s = time.monotonic() + 90
    while True:
        port = port_of(engine, folder, ROOT_USER, driver=driver)
        try:
            await port.connect()
            return port
        except PolysiteError:
            await port.close()
            assert engine.is_alive(), engine.last_words()
            assert time.monotonic() < end_s, engine.last_words()
            await asyncio.sleep(0.2)


async def test_a_password_over_tls(engine: Engine, folder: Path, driver: str) -> None:
    """With the right password a query is answered; a role of less right may read, and is told that it may not define."""
    root = await when_ready(engine, folder, driver)
    assert (await root.read(NOTHING, consistency=Consistency.LOCAL_ONE)).rows
    await root.define(
        f"CREATE ROLE IF NOT EXISTS bob WITH PASSWORD = '{BOB.password.replace(chr(39), chr(39) * 2)}' AND LOGIN = true"
    )
    await root.close()
    bob = port_of(engine, folder, BOB, driver=driver)
    await bob.connect()
    assert (await bob.read(NOTHING, consistency=Consistency.LOCAL_ONE)).rows
    with pytest.raises(Forbidden):
        await bob.define("CREATE KEYSPACE bobs WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 1}")
    await bob.close()


async def test_the_wrong_password(engine: Engine, folder: Path, driver: str) -> None:
    """A wrong password, and none where one is needed, are told as such, without showing it."""
    await (await when_ready(engine, folder, driver)).close()
    for credentials in (Credentials("cassandra", "guessed"), None):
        port = port_of(engine, folder, credentials, driver=driver)
        with pytest.raises(Unauthenticated) as refused:
            await port.connect()
        assert "guessed" not in refused.value.message
        await port.close()


async def test_a_stranger_is_not_believed(engine: Engine, folder: Path, tmp_path: Path, driver: str) -> None:
    """A server of another authority, no TLS at all, and no certificate of one's own are no way in."""
    await (await when_ready(engine, folder, driver)).close()
    certificate_for("127.0.0.1", tmp_path)
    stranger, right = str(tmp_path / "certificate.pem"), str(folder / "certificate.pem")
    for tls in (tls_of(folder) | {"authority": stranger}, None, {"authority": right}):
        port = port_of(engine, folder, ROOT_USER, driver=driver, tls=tls, connect_ms=2_000)
        with pytest.raises(Unavailable, match="TLS"):
            await port.connect()
        await port.close()


async def relay_to(engine: Engine) -> tuple[asyncio.Server, str]:
    """Another address that leads to the Cassandra node, which its certificate does not name."""
    address = free_address((engine.spec.port,))

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
        except OSError:
            pass
        finally:
            writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(engine.spec.address, engine.spec.port)
        await asyncio.gather(carry(reader, back), carry(there, writer))

    return await asyncio.start_server(connected, address, engine.spec.port), address


async def test_a_certificate_for_somebody_else(engine: Engine, folder: Path, driver: str) -> None:
    """The right authority, but not the address that was asked for: refused, unless the settings do not check names."""
    await (await when_ready(engine, folder, driver)).close()
    relay, address = await relay_to(engine)
    async with relay:
        for check_names in (True, False):
            tls = tls_of(folder) | {"check_names": check_names}
            port = port_of(
                engine, folder, ROOT_USER, driver=driver, tls=tls, contact_points=[address], connect_ms=3_000
            )
            if check_names:
                with pytest.raises(Unavailable, match="TLS"):
                    await port.connect()
            else:
                await port.connect()
            await port.close()


async def test_files_that_are_not_there(engine: Engine, folder: Path, driver: str) -> None:
    """A certificate file that cannot be read is a mistake in the settings, and the message shows no path."""
    port = port_of(engine, folder, ROOT_USER, driver=driver, tls=tls_of(folder) | {"key": str(folder / "nothing.pem")})
    with pytest.raises(BadRequest, match="cannot be read as PEM") as refused:
        await port.connect()
    assert str(folder) not in refused.value.message
    await port.close()
