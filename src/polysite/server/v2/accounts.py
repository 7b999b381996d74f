"""Accounts of this interface: Basic credentials, and what each may do to which keyspace.

A permission is `type|instance|action` as MUSIC has them: the type begins with the namespace of the settings, the instance is a
keyspace, a list of them with colons between, or *, and the action is an HTTP method, or * (also ALL). Whoever sends a bearer
token of polysite's own may do what that may.
"""

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from polysite.errors import BadRequest, Forbidden, Unauthenticated
from polysite.server.auth import Principal, check_origin
from polysite.server.exchange import Exchange
from polysite.server.passwords import PasswordHash, parse_password_hash
from polysite.server.problems import HttpRefusal
from polysite.server.service import Service
from polysite.server.settings import AccountSettings
from polysite.server.v2.paths import Endpoint

ANY = "*"
_ALL = "ALL"
_CHALLENGE = ((b"www-authenticate", b'Basic realm="MUSIC", charset="UTF-8"'),)
_KNOWN_MAX = 1_024


class Permission(NamedTuple):
    keyspaces: frozenset[str]
    action: str

    def allows(self, keyspace: str, method: str) -> bool:
        """Whether it is for this keyspace and this method."""
        return (ANY in self.keyspaces or keyspace in self.keyspaces) and self.action in {ANY, _ALL, method}


class Account(Principal):
    """Somebody whose password was right."""

    __slots__ = ("_permissions",)

    def __init__(self, name: str, permissions: Sequence[Permission]) -> None:
        super().__init__(name, {"read": frozenset(), "write": frozenset(), "lock": frozenset(), "admin": frozenset()})
        self._permissions = permissions

    def require_method(self, keyspace: str, method: str) -> None:
        """Forbidden if no permission allows it."""
        if not any(permission.allows(keyspace, method) for permission in self._permissions):
            raise Forbidden("Please make sure you are onboarded and have proper access to MUSIC. ")


class Accounts:
    """Who may use this interface."""

    def __init__(self, service: Service) -> None:
        auth, namespace = service.settings.auth, service.settings.v2.permission_type
        self._access = service.access
        self._by_name = {account.name: _account(account, namespace) for account in auth.accounts}
        self._known: dict[bytes, Account] = {}
        """Headers that were found to be right, by their digest with a key of this process's own: stretching takes its time."""
        self._key = service.runtime.randomness.random_bytes(32)
        self._nobody = next(iter(self._by_name.values()))[1] if self._by_name else None

    async def identify(self, exchange: Exchange) -> Principal:
        """Who asks. HttpRefusal (401) if that cannot be told, Forbidden to a page of another origin."""
        header = exchange.headers.get(b"authorization", b"")
        scheme, _, credentials = header.partition(b" ")
        if not self._by_name or scheme.lower() == b"bearer":
            return self._access.identify(exchange.headers)
        if scheme.lower() != b"basic":
            raise _unknown("this server asks for Basic credentials")
        # A browser sends the credentials it was once given along with what pages of other origins ask for.
        check_origin(exchange.headers)
        digest = hashlib.blake2b(credentials, key=self._key).digest()
        known = self._known.get(digest)
        if known is None:
            known = await self._recognise(credentials)
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            self._known[digest] = known
        return known

    async def _recognise(self, credentials: bytes) -> Account:
        try:
            name, colon, password = base64.b64decode(credentials.strip(), validate=True).partition(b":")
            found = self._by_name.get(name.decode())
        except (binascii.Error, UnicodeDecodeError):
            raise _unknown("these are no Basic credentials") from None
        # A name that nobody has takes as long as one that somebody has.
        password_hash = found[1] if found is not None else self._nobody
        assert password_hash is not None
        fits = await asyncio.to_thread(password_hash.fits, password)
        if found is None or not colon or not fits:
            raise _unknown("no account has this name and password")
        return found[0]


def require(endpoint: Endpoint, principal: Principal, keyspace: str) -> None:
    """Forbidden if the principal may not do this to the keyspace."""
    assert endpoint.right is not None
    if isinstance(principal, Account):
        principal.require_method(keyspace, endpoint.method)
    else:
        principal.require(endpoint.right, keyspace)


def require_read(principal: Principal, keyspace: str) -> None:
    """Forbidden if a token may write and not learn what was there, which the outcome of a condition tells. An account may do
    with its method whatever the method does."""
    if not isinstance(principal, Account):
        principal.require("read", keyspace)


def _account(settings: AccountSettings, namespace: str) -> tuple[Account, PasswordHash]:
    permissions: list[Permission] = []
    for text in settings.permissions:
        parts = text.split("|")
        if len(parts) != 3:
            raise BadRequest(f"auth.accounts: a permission of {settings.name} is not of the form type|instance|action")
        kind, instance, action = parts
        if kind.startswith(namespace):
            keyspaces = frozenset(name.lower() for name in _decoded(instance).split(":"))
            permissions.append(Permission(keyspaces, _decoded(action).upper()))
    return Account(settings.name, permissions), parse_password_hash(settings.password)


def _decoded(text: str) -> str:
    """The three escapes that permissions may have."""
    for escape, sign in (("%2f", "/"), ("%2d", "-"), ("%2a", "*")):
        text = text.replace(escape, sign).replace(escape.upper(), sign)
    return text


def _unknown(message: str) -> HttpRefusal:
    return HttpRefusal(401, Unauthenticated(message), _CHALLENGE)
