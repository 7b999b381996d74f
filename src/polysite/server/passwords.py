"""Passwords of accounts as they stand in the settings: salted and stretched, so that who reads the settings has none of them."""

import base64
import binascii
import hashlib
import hmac
from typing import NamedTuple

from polysite.clock import Randomness
from polysite.errors import BadRequest

NAME = "scrypt"
_LOG_N, _R, _P = 14, 8, 1
"""Sixteen megabytes and about 40 ms of one core."""
_LOG_N_MAX, _R_MAX, _P_MAX = 18, 16, 4
_SALT_BYTES, _KEY_BYTES = 16, 32


class PasswordHash(NamedTuple):
    """`scrypt$14$8$1$SALT$KEY`: cost (a power of two), block size, parallelism, then salt and key in base64."""

    log_n: int
    r: int
    p: int
    salt: bytes
    key: bytes

    def __str__(self) -> str:
        salt, key = (base64.b64encode(part).decode() for part in (self.salt, self.key))
        return f"{NAME}${self.log_n}${self.r}${self.p}${salt}${key}"

    def __repr__(self) -> str:
        return f"PasswordHash(log_n={self.log_n})"

    def fits(self, password: bytes) -> bool:
        """Whether this is the hash of the password. It takes its time: not for the event loop."""
        return hmac.compare_digest(_stretch(password, self.log_n, self.r, self.p, self.salt), self.key)


def hash_password(password: str, randomness: Randomness) -> str:
    """What stands in the settings for a password."""
    salt = randomness.random_bytes(_SALT_BYTES)
    return str(PasswordHash(_LOG_N, _R, _P, salt, _stretch(password.encode(), _LOG_N, _R, _P, salt)))


def parse_password_hash(text: str) -> PasswordHash:
    """BadRequest if it is none, or one that would take too long."""
    try:
        name, log_n, r, p, salt, key = text.split("$")
        found = PasswordHash(
            int(log_n), int(r), int(p), base64.b64decode(salt, validate=True), base64.b64decode(key, validate=True)
        )
    except (ValueError, binascii.Error):
        raise BadRequest("a password stands in the settings as `polysite hash-password` prints it") from None
    bounds = 1 <= found.log_n <= _LOG_N_MAX and 1 <= found.r <= _R_MAX and 1 <= found.p <= _P_MAX
    if name != NAME or not bounds or len(found.salt) < _SALT_BYTES or len(found.key) != _KEY_BYTES:
        raise BadRequest("a password stands in the settings as `polysite hash-password` prints it")
    return found


def _stretch(password: bytes, log_n: int, r: int, p: int, salt: bytes) -> bytes:
    n = 1 << log_n
    return hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=256 * n * r, dklen=_KEY_BYTES)
