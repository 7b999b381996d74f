"""One site's coordinator in process: sessions, waiting, combining, janitor, and what processes of a site say to each other."""

from polysite.site.coordinator import SiteCoordinator
from polysite.site.settings import SiteSettings

__all__ = ["SiteCoordinator", "SiteSettings"]
