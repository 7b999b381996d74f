"""The carrier of the peer channel: messages between our own processes, over HTTP at `/internal/1/…`.

It moves opaque bodies; what is in them is the matter of `polysite.site`. Both ends prove that they know the shared
secret, which is made at first start in the data folder. Addresses are base URLs, or `unix:PATH` for a process that listens
on a socket beside its file. Over `https` the other end also shows a certificate of an authority that is trusted here; nothing is
sent before that, the secret least of all.
"""

import asyncio
import contextlib
import hmac
import importlib
import io
import os
import ssl
import stat
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from polysite.clock import Randomness
from polysite.errors import BadRequest, Forbidden, OutcomeUnknown, PolysiteError, SiteUnreachable, from_code
from polysite.server.exchange import Exchange, Reply
from polysite.server.problems import HttpRefusal, Problem
from polysite.server.routing import Route
from polysite.server.service import Service
from polysite.server.settings import Settings
from polysite.server.socket_names import short_name
from polysite.server.tls import what_is_wrong

if TYPE_CHECKING:
    import aiohttp

PREFIX = "/internal/1/"
MEDIA_TYPE = b"application/octet-stream"
SECRET_FILE = "peer.secret"  # noqa: S105  # a name, not the secret
SECRET_BYTES = 32
BODY_BYTES_MAX = 16 * 1024 * 1024
LONG_BYTES = 512 * 1024
UNIX = "unix:"
NO_TLS = "what listens at its address speaks no TLS that is understood here"
_HEADER = b"polysite-peer"
_CONNECT_S = 2.0
_KEPT_S = 50.0
"""A connection outlives the half minute between two rounds of hello, so that a push finds one open: making one costs a round trip.
Shorter than the other end keeps it."""

PeerHandler = Callable[[str, bytes], Awaitable[bytes]]
"""Answers a message of a kind (forward, wish, push …); a PolysiteError reaches the sender as such."""


def secret_path(settings: Settings) -> Path:
    """Where the shared secret is."""
    named = settings.site.secret_file
    return Path(named) if named else Path(settings.store.data) / SECRET_FILE


def load_secret(path: Path, randomness: Randomness) -> bytes:
    """The shared secret; made, readable by its owner alone, if there is none yet. Processes that start together agree.

    BadRequest if others may read it or nothing is in it.
    """
    try:
        return _read_secret(path)
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f"{path.name}.{randomness.random_bytes(8).hex()}")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            os.write(descriptor, randomness.random_bytes(SECRET_BYTES).hex().encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        # A link appears whole or not at all, and only once: who comes second reads what the first wrote.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(made)
    finally:
        made.unlink(missing_ok=True)
    return _read_secret(path)


def _read_secret(path: Path) -> bytes:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise BadRequest("the file of the peer channel's secret may be read by others: chmod 600")
    secret = path.read_bytes().strip()
    if len(secret) < SECRET_BYTES:
        raise BadRequest(f"the peer channel's secret is at least {SECRET_BYTES} bytes")
    return secret


def peer_routes(handler: PeerHandler, secret: bytes) -> list[Route]:
    """The routes of the channel over a handler."""

    async def receive(service: Service, exchange: Exchange) -> Reply:  # noqa: ARG001
        told = exchange.headers.get(_HEADER, b"")
        if not hmac.compare_digest(told, secret):
            raise HttpRefusal(403, Forbidden("this channel is for processes of the same installation"))
        exchange.body_bytes_max = BODY_BYTES_MAX
        answer = await handler(exchange.captured[0].decode("latin-1"), await exchange.raw_body())
        return Reply(200, answer, media_type=MEDIA_TYPE)

    return [
        Route(
            method="POST", pattern=PREFIX + "{kind}", name="peer", handler=receive, open_to_all=True, internal=True, changes=True,
            about="A message of another process of ours.", answers={200: None},
        )
    ]  # fmt: skip


class PeerCarrier:
    """Sends messages to other processes over kept connections."""

    def __init__(self, secret: bytes, *, trust: ssl.SSLContext | None = None) -> None:
        """`trust` None: the machine's own trust store for https."""
        self._trust = trust
        self._headers = {_HEADER.decode(): secret.decode("latin-1"), "content-type": MEDIA_TYPE.decode()}
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._named = contextlib.ExitStack()

    async def send(self, address: str, kind: str, body: bytes, *, answer_s: float) -> bytes:
        """The answer of the process at `address` to a message.

        SiteUnreachable: nothing was sent. OutcomeUnknown: it was sent, and no answer came within `answer_s`. Else what the
        other side raised.
        """
        if "aiohttp" not in sys.modules:
            # A process alone on its file never needs it, and it takes long: not at the start, and not in the loop.
            await asyncio.to_thread(importlib.import_module, "aiohttp")
        import aiohttp

        session, url = self._reach(address)
        limits = aiohttp.ClientTimeout(total=answer_s, sock_connect=_CONNECT_S)
        try:
            async with session.post(
                url + PREFIX + kind, data=_payload(body), headers=self._headers, timeout=limits
            ) as response:
                answer = await response.read()
                if response.status == 200:
                    return answer
        except aiohttp.ClientConnectorCertificateError as error:
            found = error.certificate_error
            assert isinstance(found, ssl.SSLCertVerificationError)
            wrong = what_is_wrong(found, own_authority=self._trust is not None)
            raise SiteUnreachable(f"a process of ours cannot be reached: {wrong}", reason=wrong) from None
        except aiohttp.ClientConnectorSSLError:
            raise SiteUnreachable(f"a process of ours cannot be reached: {NO_TLS}", reason=NO_TLS) from None
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise SiteUnreachable("a process of ours cannot be reached") from None
        except (TimeoutError, aiohttp.ClientError):
            raise OutcomeUnknown("a process of ours did not answer", reason="peer") from None
        raise _told(answer)

    def _reach(self, address: str) -> "tuple[aiohttp.ClientSession, str]":
        """The session and base URL for an address; SiteUnreachable if it is a socket that cannot be named here."""
        import aiohttp

        is_unix = address.startswith(UNIX)
        place = address if is_unix else ""
        session = self._sessions.get(place)
        if session is None:
            connector = (
                aiohttp.UnixConnector(self._name(Path(address.removeprefix(UNIX))), keepalive_timeout=_KEPT_S)
                if is_unix
                else aiohttp.TCPConnector(keepalive_timeout=_KEPT_S, ssl=True if self._trust is None else self._trust)
            )
            session = self._sessions[place] = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        return session, "http://localhost" if is_unix else address.rstrip("/")

    def _name(self, path: Path) -> str:
        try:
            name = self._named.enter_context(short_name(path))
        except OSError:
            name = None
        if name is None:
            raise SiteUnreachable("a process of ours listens where this one cannot reach it")
        return name

    async def close(self) -> None:
        """Let go of every connection."""
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()
        self._named.close()


def _payload(body: bytes) -> bytes | io.BytesIO:
    """Long bodies as a file, which aiohttp writes piece by piece."""
    return body if len(body) < LONG_BYTES else io.BytesIO(body)


def _told(answer: bytes) -> PolysiteError:
    """What the other side said instead of an answer."""
    try:
        problem = msgspec.json.decode(answer, type=Problem)
    except msgspec.DecodeError:
        return OutcomeUnknown("a process of ours answered what nobody understands", reason="peer")
    return from_code(problem.code, problem.detail, problem.attributes)
