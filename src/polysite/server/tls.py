"""The files of TLS that settings name, looked at before anything is served."""

import ssl
from pathlib import Path

from polysite.client.trust import trusting
from polysite.errors import BadRequest
from polysite.server.settings import Settings

PEER_AUTHORITY = "site.peer_authority"
FILES = "server.tls_certificate, server.tls_key"

UNTRUSTED = frozenset({2, 18, 19, 20, 21})
"""What OpenSSL answers when a chain ends at nobody who is trusted (`X509_V_ERR_…` of its x509_vfy.h)."""
WRONG_NAME = frozenset({62, 64})
NOT_YET, EXPIRED = 9, 10


def peer_context(settings: Settings) -> ssl.SSLContext | None:
    """How other processes of ours are spoken to over TLS; None: whom the machine trusts is trusted. BadRequest: the file does not do."""
    named = settings.site.peer_authority
    return trusting(Path(named), PEER_AUTHORITY) if named else None


def check_files(settings: Settings) -> None:
    """Return if every file of TLS that is set can be used; else BadRequest that names the setting, not the file."""
    peer_context(settings)
    server = settings.server
    if not server.tls_certificate:
        return
    for name, path in (("server.tls_certificate", server.tls_certificate), ("server.tls_key", server.tls_key)):
        try:
            Path(path).read_bytes()
        except OSError as error:
            raise BadRequest(f"{name}: the file cannot be read: {error.strerror}") from None
    try:
        # A password that nobody is asked for: a server starts without a terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            server.tls_certificate, server.tls_key, password=lambda: ""
        )
    except (ssl.SSLError, ValueError):
        raise BadRequest(f"{FILES}: they are not a certificate and its key in PEM (a key without a password)") from None


def what_is_wrong(error: ssl.SSLCertVerificationError, *, own_authority: bool) -> str:
    """What is wrong with a peer's certificate, in words that show no name of a host; `own_authority`: the setting is in force."""
    code = error.verify_code
    if code in UNTRUSTED:
        by = f"an authority of {PEER_AUTHORITY}" if own_authority else "an authority that this machine trusts"
        return f"its certificate is not signed by {by}"
    if code in WRONG_NAME:
        return "its certificate names another host than its address"
    if code in {NOT_YET, EXPIRED}:
        return "its certificate has expired" if code == EXPIRED else "its certificate is not valid yet"
    return "its certificate is not accepted"
