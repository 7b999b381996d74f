"""What is said of a certificate that is not accepted."""

import ssl

import pytest

from polysite.server.tls import what_is_wrong


@pytest.mark.parametrize(
    ("code", "own_authority", "says"),
    [
        (18, True, "is not signed by an authority of site.peer_authority"),
        (19, True, "is not signed by an authority of site.peer_authority"),
        (20, False, "is not signed by an authority that this machine trusts"),
        (62, True, "names another host than its address"),
        (64, False, "names another host than its address"),
        (10, True, "has expired"),
        (9, True, "is not valid yet"),
        (23, True, "is not accepted"),
    ],
)
def test_what_is_wrong_with_a_certificate(code: int, own_authority: bool, says: str) -> None:
    """Goal: an operator knows what to mend, and nothing of the error's own text is shown. Method: OpenSSL's numbers."""
    error = ssl.SSLCertVerificationError("certificate verify failed for db.example.org")
    error.verify_code = code
    assert what_is_wrong(error, own_authority=own_authority) == f"its certificate {says}"
