"""What `polysite doctor` says of a site."""

from polysite.api import Health, SiteReach
from polysite.cli.doctor import _of_other_sites


def test_other_sites_are_told_of() -> None:
    """Goal: an operator sees W and which sites do not answer, and nothing of that with one site. Method: healths made by hand."""
    alone = Health(ready=True, site="ams", process="p1", version="1")
    assert _of_other_sites(alone) == ""
    near, gone = SiteReach(site="irv", answers=True, rtt_ms=150.2), SiteReach(site="bei", answers=False)
    three = Health(ready=True, site="ams", process="p1", version="1", sites=[near, gone], majority_rtt_ms=160)
    assert _of_other_sites(three) == ", 160 ms to the nearest majority of sites, no answer from bei"
    refused = SiteReach(site="bei", answers=False, reason="its certificate has expired")
    said = _of_other_sites(
        Health(ready=True, site="ams", process="p1", version="1", sites=[refused], majority_rtt_ms=160)
    )
    assert said.endswith(", no answer from bei (its certificate has expired)")
    two = Health(ready=True, site="ams", process="p1", version="1", sites=[near], majority_rtt_ms=160)
    assert _of_other_sites(two) == ", 160 ms to the nearest majority of sites"
