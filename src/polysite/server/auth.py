"""Who is asking, and what they may do.

Bearer tokens are kept as SHA-256 digests: they are long random texts, so there is nothing a slow hash would protect.
Each has four rights, each on named keyspaces or on all ("*"): read rows and queues, write rows, take locks, and
administer (schema, preempt). Without tokens everybody who reaches the server may do everything, so then it listens
on loopback only and refuses what a web page of another origin could make a browser send to it.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

from polysite.errors import Forbidden, Unauthenticated
from polysite.server.problems import HttpRefusal
from polysite.server.settings import Settings, TokenSettings, is_loopback

Right = Literal["read", "write", "lock", "admin"]
EVERY_KEYSPACE = "*"
_CHALLENGE = ((b"www-authenticate", b'Bearer realm="polysite"'),)
_HOSTS_MAX = 256


def hash_token(secret: str) -> str:
    """What stands in the settings for the bearer token `secret`."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Principal:
    """Somebody who was recognised, and their rights."""

    __slots__ = ("_rights", "name")

    def __init__(self, name: str, rights: Mapping[Right, frozenset[str]]) -> None:
        self.name = name
        self._rights = rights

    def may(self, right: Right, keyspace: str) -> bool:
        """Whether they have the right on the keyspace; `keyspace` "*" asks for the right on all of them."""
        granted = self._rights[right]
        return EVERY_KEYSPACE in granted or keyspace in granted

    def require(self, right: Right, keyspace: str) -> None:
        """Return if they may; else Forbidden."""
        if not self.may(right, keyspace):
            raise Forbidden(f"this needs the right {right} on the keyspace", right=right)


class Anybody(Principal):
    """Whoever asks, where no tokens are set."""

    __slots__ = ()

    def __init__(self) -> None:
        everything = frozenset({EVERY_KEYSPACE})
        super().__init__("anybody", dict.fromkeys(("read", "write", "lock", "admin"), everything))

    def may(self, right: Right, keyspace: str) -> bool:  # noqa: ARG002
        return True

    def require(self, right: Right, keyspace: str) -> None:
        """Nothing is refused."""


class Access:
    """Recognises who sent a request."""

    def __init__(self, settings: Settings) -> None:
        self._by_digest = {bearer.sha256: (bearer.sha256, _principal(bearer)) for bearer in settings.auth.tokens}
        self._has_accounts = bool(settings.auth.accounts)
        self._any_host = settings.server.insecure or not is_loopback(settings.server.host)
        self._names = {settings.server.host.lower(), *(name.lower() for name in settings.server.hosts)}
        self._hosts_seen: set[bytes] = set()
        self._anybody = Anybody()

    @property
    def needs_token(self) -> bool:
        """Whether anybody must say who they are."""
        return bool(self._by_digest) or self._has_accounts

    def identify(self, headers: Mapping[bytes, bytes]) -> Principal:
        """Who sent a request with these headers. Unauthenticated (401) or Forbidden (a page of another origin)."""
        if not self.needs_token:
            self._refuse_browsers(headers)
            return self._anybody
        scheme, _, secret = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not secret:
            raise _unauthenticated("this server asks for a bearer token")
        digest = hashlib.sha256(secret.strip()).hexdigest()
        known = self._by_digest.get(digest)
        if known is None or not hmac.compare_digest(known[0], digest):
            raise _unauthenticated("no such bearer token")
        return known[1]

    def _refuse_browsers(self, headers: Mapping[bytes, bytes]) -> None:
        """A page of another origin can make a browser on this machine send requests, and a name it owns can be made to
        mean 127.0.0.1. The first carries `Origin`, the second a foreign name in `Host`."""
        check_origin(headers)
        host = headers.get(b"host", b"")
        if host in self._hosts_seen or self._any_host:
            return
        if not self._is_ours(host):
            raise Forbidden("the server is not known by the name in the header Host: see the setting server.hosts")
        if len(self._hosts_seen) < _HOSTS_MAX:
            self._hosts_seen.add(host)

    def _is_ours(self, host: bytes) -> bool:
        if not host:
            return True  # HTTP/1.0; a browser always sends one
        try:
            name = urlsplit(b"//" + host).hostname
        except ValueError:
            return False
        text = (name or b"").decode("latin-1")
        return text in self._names or is_loopback(text)


def check_origin(headers: Mapping[bytes, bytes]) -> None:
    """Forbidden to a page of another origin."""
    origin = headers.get(b"origin")
    if origin is None:
        return
    try:
        place = urlsplit(origin).netloc.lower()
    except ValueError:
        place = b"-"
    if place != headers.get(b"host", b"").lower():
        raise Forbidden("requests of pages of another origin are refused: set [auth] tokens")


def _principal(bearer: TokenSettings) -> Principal:
    rights: dict[Right, frozenset[str]] = {
        "read": frozenset(bearer.read),
        "write": frozenset(bearer.write),
        "lock": frozenset(bearer.lock),
        "admin": frozenset(bearer.admin),
    }
    return Principal(bearer.name, rights)


def _unauthenticated(message: str) -> HttpRefusal:
    return HttpRefusal(401, Unauthenticated(message), _CHALLENGE)
