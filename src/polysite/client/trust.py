"""Whom a client or process trusts, where that is an authority of one's own and not whom the machine trusts."""

import ssl
from pathlib import Path

from polysite.errors import BadRequest


def trusting(authority: Path, named: str) -> ssl.SSLContext:
    """TLS towards servers whose certificate was signed by one of those in a PEM file, and by nobody else.

    `named` is where the file was named: BadRequest says so instead of the path, if it cannot be read or holds no certificate.
    """
    try:
        return ssl.create_default_context(cafile=authority)
    except ssl.SSLError:
        raise BadRequest(f"{named}: the file holds no certificate in PEM") from None
    except OSError as error:
        raise BadRequest(f"{named}: the file cannot be read: {error.strerror}") from None
