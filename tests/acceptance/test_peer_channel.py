"""The channel between our own processes: over a Unix socket, with its secret, its errors and its silences."""

import asyncio
import os
import stat
from pathlib import Path

import pytest

from polysite.clock import Runtime
from polysite.errors import BadRequest, Forbidden, LockLost, OutcomeUnknown, SiteUnreachable
from polysite.server import socket_names
from polysite.server.peer_listener import listen_for_peers
from polysite.server.peers import NO_TLS, PeerCarrier, load_secret

RUNTIME = Runtime()
SECRET = b"s" * 64


async def answer(kind: str, body: bytes) -> bytes:
    """What the other process does in these tests."""
    if kind == "fail":
        raise LockLost(f"{len(body)} bytes", holder="p2")
    if kind == "break":
        raise ValueError("hidden")
    if kind == "hang":
        await asyncio.sleep(3_600)
    return kind.encode() + b":" + body


async def test_messages_and_errors_cross(tmp_path: Path) -> None:
    """Bytes go there and back, big ones too; an error arrives as the same class with its attributes."""
    listener = await listen_for_peers(answer, SECRET, tmp_path / "p1.sock", RUNTIME)
    assert listener is not None
    assert stat.S_IMODE((tmp_path / "p1.sock").stat().st_mode) == 0o600
    carrier = PeerCarrier(SECRET)
    try:
        assert await carrier.send(listener.address, "push", b"\x00\xff", answer_s=10) == b"push:\x00\xff"
        big = os.urandom(5_000_000)
        assert await carrier.send(listener.address, "forward", big, answer_s=30) == b"forward:" + big
        with pytest.raises(LockLost, match="3 bytes") as lost:
            await carrier.send(listener.address, "fail", b"abc", answer_s=10)
        assert lost.value.attributes == {"holder": "p2"}
        with pytest.raises(OutcomeUnknown) as unknown:
            await carrier.send(listener.address, "break", b"", answer_s=10)
        assert "hidden" not in str(unknown.value)
    finally:
        await carrier.close()
        await listener.close()
    assert not (tmp_path / "p1.sock").exists()


async def test_no_answer_is_unknown_and_no_listener_is_unreachable(tmp_path: Path) -> None:
    """A message that was taken and not answered may have had its effect; one that could not be sent had none."""
    path = tmp_path / "p1.sock"
    listener = await listen_for_peers(answer, SECRET, path, RUNTIME)
    assert listener is not None
    carrier = PeerCarrier(SECRET)
    try:
        with pytest.raises(OutcomeUnknown):
            await carrier.send(listener.address, "hang", b"", answer_s=0.05)
        address = listener.address
        await listener.close()
        for nobody in (address, f"unix:{tmp_path}/never", "http://127.0.0.1:1"):
            with pytest.raises(SiteUnreachable):
                await carrier.send(nobody, "push", b"", answer_s=10)
        path.touch()  # what a killed process leaves behind
        again = await listen_for_peers(answer, SECRET, path, RUNTIME)
        assert again is not None
        assert await carrier.send(again.address, "push", b"1", answer_s=10) == b"push:1"
        await again.close()
    finally:
        await carrier.close()


@pytest.mark.parametrize(
    "sent",
    [b"HTTP/1.1 502 Bad\r\nContent-Length: 3\r\n\r\nfoo", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut", b""],
)
async def test_an_answer_that_nobody_understands_is_unknown(tmp_path: Path, sent: bytes) -> None:
    """Something else listens there: it took the message, and answers like another program, cut short, or not at all."""

    async def mumble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(sent)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_unix_server(mumble, tmp_path / "p1.sock")
    carrier = PeerCarrier(SECRET)
    with pytest.raises(OutcomeUnknown):
        await carrier.send(f"unix:{tmp_path}/p1.sock", "push", b"", answer_s=10)
    await carrier.close()
    server.close()


async def test_what_speaks_no_tls_is_sent_nothing() -> None:
    """Goal: an address that says https where plain HTTP is served is told as that, and the secret does not leave. Method: a listener that
    keeps what it hears."""
    heard = bytearray()

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.read(65_536))
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    carrier = PeerCarrier(SECRET)
    with pytest.raises(SiteUnreachable, match="no TLS") as unreachable:
        await carrier.send(f"https://127.0.0.1:{port}", "push", b"", answer_s=10)
    assert unreachable.value.attributes == {"reason": NO_TLS}
    assert SECRET not in heard
    await carrier.close()
    server.close()


async def test_only_who_knows_the_secret_is_heard(tmp_path: Path) -> None:
    """Another secret, and none."""
    listener = await listen_for_peers(answer, SECRET, tmp_path / "p1.sock", RUNTIME)
    assert listener is not None
    for wrong in (b"t" * 64, b"", SECRET + b"s"):
        carrier = PeerCarrier(wrong)
        with pytest.raises(Forbidden):
            await carrier.send(listener.address, "push", b"", answer_s=10)
        await carrier.close()
    await listener.close()


def deep(tmp_path: Path) -> Path:
    """A folder whose path no socket's name can hold."""
    folder = tmp_path / ("x" * 120) / ("y" * 120)
    folder.mkdir(parents=True)
    return folder


@pytest.mark.skipif(
    not os.path.isdir(socket_names.OPEN_FOLDERS), reason="needs open folders as paths, as Linux has them"
)
async def test_a_long_path_is_reached(tmp_path: Path) -> None:
    """Goal: processes on a deeply nested file reach each other. Method: two sockets in a folder of over 200 bytes; the files
    are there with their mode, messages go to the right one, a new listener takes the place over, nothing stays open."""
    folder = deep(tmp_path)
    open_before = len(os.listdir(socket_names.OPEN_FOLDERS))
    listeners = [await listen_for_peers(answer, SECRET, folder / name, RUNTIME) for name in ("p1.sock", "p2.sock")]
    carrier = PeerCarrier(SECRET)
    for listener, name in zip(listeners, ("p1.sock", "p2.sock"), strict=True):
        assert listener is not None
        assert listener.address == f"unix:{folder}/{name}"
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
        assert await carrier.send(listener.address, "push", name.encode(), answer_s=10) == b"push:" + name.encode()
    assert listeners[0] is not None
    assert listeners[1] is not None
    await listeners[0].close()
    assert [member.name for member in folder.iterdir()] == ["p2.sock"]
    with pytest.raises((SiteUnreachable, OutcomeUnknown)):
        await carrier.send(listeners[0].address, "forward", b"", answer_s=10)
    again = await listen_for_peers(answer, SECRET, folder / "p1.sock", RUNTIME)
    assert again is not None
    assert await carrier.send(again.address, "push", b"1", answer_s=10) == b"push:1"
    for listener in (again, listeners[1]):
        await listener.close()
    with pytest.raises(SiteUnreachable):
        await carrier.send(f"unix:{folder}/gone/p1.sock", "push", b"", answer_s=10)
    await carrier.close()
    assert len(os.listdir(socket_names.OPEN_FOLDERS)) == open_before


async def test_a_long_path_has_no_listener_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the operating system cannot name such a socket at all, the process is reached by nobody, and reaches nobody."""
    monkeypatch.setattr(socket_names, "OPEN_FOLDERS", str(tmp_path / "nothing"))
    folder = deep(tmp_path)
    assert await listen_for_peers(answer, SECRET, folder / "p1.sock", RUNTIME) is None
    carrier = PeerCarrier(SECRET)
    with pytest.raises(SiteUnreachable):
        await carrier.send(f"unix:{folder}/p1.sock", "push", b"", answer_s=10)
    await carrier.close()


def test_processes_agree_on_a_secret_that_only_their_owner_reads(tmp_path: Path) -> None:
    """Made once, kept, mode 0600; one that others may read, or that is too short, is refused."""
    path = tmp_path / "data" / "peer.secret"
    secret = load_secret(path, RUNTIME.randomness)
    assert len(secret) >= 32
    assert load_secret(path, RUNTIME.randomness) == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [member.name for member in path.parent.iterdir()] == ["peer.secret"]
    path.chmod(0o640)
    with pytest.raises(BadRequest, match="600"):
        load_secret(path, RUNTIME.randomness)
    path.chmod(0o600)
    path.write_bytes(b"short\n")
    with pytest.raises(BadRequest, match="32"):
        load_secret(path, RUNTIME.randomness)
