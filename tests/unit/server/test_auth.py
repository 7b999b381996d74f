"""Who is recognised, and what they may do."""

import pytest

from polysite.errors import Forbidden
from polysite.server.auth import Access, hash_token
from polysite.server.problems import HttpRefusal
from polysite.server.settings import load_settings

TOKEN = {
    "name": "app",
    "sha256": hash_token("secret"),
    "read": ["*"],
    "write": ["votes"],
    "lock": ["votes"],
    "admin": [],
}


def access(**flags: object) -> Access:
    return Access(load_settings(flags={name.replace("__", "."): value for name, value in flags.items()}).settings)


def test_a_token_has_its_rights_on_its_keyspaces() -> None:
    """The right token is recognised, whatever the case of the scheme; each right is asked for on two keyspaces."""
    principal = access(auth__tokens=[TOKEN]).identify({b"authorization": b"bearer secret"})
    assert principal.name == "app"
    assert [principal.may(right, "votes") for right in ("read", "write", "lock", "admin")] == [True, True, True, False]
    assert [principal.may(right, "other") for right in ("read", "write", "lock", "admin")] == [
        True,
        False,
        False,
        False,
    ]
    with pytest.raises(Forbidden):
        principal.require("admin", "votes")


@pytest.mark.parametrize(
    "header",
    [None, b"", b"Bearer", b"Bearer wrong", b"Basic secret", b"Basic c2VjcmV0", b"secret", b"Bearer " + b"0" * 64],
)
def test_anything_else_is_401_and_says_how_to_identify(header: bytes | None) -> None:
    """No token, a wrong one, another scheme, and the digest in place of the secret."""
    headers = {} if header is None else {b"authorization": header}
    with pytest.raises(HttpRefusal) as refused:
        access(auth__tokens=[TOKEN]).identify(headers)
    assert refused.value.status == 401
    assert refused.value.headers[0][0] == b"www-authenticate"


def test_the_digest_is_no_credential() -> None:
    """Whoever reads the settings cannot use what stands there."""
    with pytest.raises(HttpRefusal):
        access(auth__tokens=[TOKEN]).identify({b"authorization": b"Bearer " + hash_token("secret").encode()})


@pytest.mark.parametrize("host", [b"127.0.0.1:8390", b"localhost", b"LOCALHOST:1", b"[::1]:8390", b""])
def test_without_tokens_this_machine_may_do_everything(host: bytes) -> None:
    """Loopback names in `Host` are ours."""
    assert access().identify({b"host": host}).may("admin", "anything")


@pytest.mark.parametrize(
    "host", [b"evil.example", b"evil.example:8390", b"127.0.0.1.evil.example", b"[::1", b"192.0.2.7"]
)
def test_a_foreign_name_is_refused_without_tokens(host: bytes) -> None:
    """A page whose name was pointed at 127.0.0.1 cannot use the server through the browser of its victim."""
    with pytest.raises(Forbidden, match="Host"):
        access().identify({b"host": host})


def test_a_page_of_another_origin_is_refused_without_tokens() -> None:
    """`Origin` must be the server itself; names set by hand count as ours."""
    ours = access(server__hosts=["polysite.internal"])
    ours.identify({b"host": b"polysite.internal:80", b"origin": b"http://polysite.internal:80"})
    with pytest.raises(Forbidden, match="origin"):
        ours.identify({b"host": b"127.0.0.1:8390", b"origin": b"http://evil.example"})
    with pytest.raises(Forbidden, match="origin"):
        ours.identify({b"host": b"127.0.0.1:8390", b"origin": b"null"})
