"""What is in force, where it came from, and whether it works."""

import os
import platform
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import msgspec

from polysite.cli import URL_DEFAULT, exits
from polysite.cli.output import print_json, print_table
from polysite.cli.session import addresses, bearer, ca_option, trust
from polysite.errors import BadRequest, PolysiteError

if TYPE_CHECKING:
    import ssl

    from polysite.api import Health
    from polysite.server.settings import Settings

FREE_BYTES_MIN = 256 * 1024 * 1024
SECRET_MEMBERS = ("sha256", "secret", "password")


class Check(NamedTuple):
    """One thing looked at. `fine` None: it could not be looked at."""

    name: str
    fine: bool | None
    finding: str


@click.command()
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A TOML file of settings.")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="The data folder, as given to serve.")
@click.option("--url", envvar="POLYSITE_URL", default=URL_DEFAULT, show_default=True, help="Where the site is.")
@ca_option
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def doctor(config: Path | None, data: Path | None, url: str, ca: Path | None, as_json: bool) -> int:
    """Print the settings in force, where each came from, and check what can be checked.

    Ends with 10 if a check fails. A site that is not running is no failure.
    """
    from polysite.server.settings import load_settings, setting_names

    loaded = load_settings(
        path=config, environ=os.environ, flags={"store.data": str(data) if data is not None else None}
    )
    values = msgspec.to_builtins(loaded.settings)
    in_force = []
    for name, _ in setting_names():
        section, _, member = name.partition(".")
        if values[section] is not None:  # else the section is left out, and nothing of it in force
            in_force.append((name, _shown(values[section][member]), loaded.origins.get(name, "default")))
    checks = [
        *_of_machine(),
        *_of_data(Path(loaded.settings.store.data)),
        *_of_certificates(loaded.settings),
        *_of_engines(loaded.settings),
        *(_of_site(address, trust(ca)) for address in addresses(url)),
    ]
    if as_json:
        print_json(
            {
                "settings": [{"name": name, "value": value, "from": origin} for name, value, origin in in_force],
                "checks": [check._asdict() for check in checks],
            }
        )
    else:
        print_table(["setting", "value", "from"], in_force)
        click.echo()
        words = {True: "ok", False: "MEND", None: "-"}
        print_table(["check", "", "finding"], [[check.name, words[check.fine], check.finding] for check in checks])
    return exits.REFUSED if any(check.fine is False for check in checks) else exits.DONE


def _shown(value: Any) -> Any:
    """A setting's value without what only its owner should see."""
    if isinstance(value, dict):
        return {name: "…" if name in SECRET_MEMBERS else _shown(item) for name, item in value.items()}
    return [_shown(item) for item in value] if isinstance(value, list) else value


def _of_machine() -> list[Check]:
    from polysite import __version__

    found = [
        Check("python", sys.version_info >= (3, 11), platform.python_version()),
        Check("polysite", True, __version__),
    ]
    try:
        from polysite.engines.sqlite import driver_names

        found.append(Check("sqlite driver", True, ", ".join(driver_names())))
    except ImportError as error:
        found.append(Check("sqlite driver", False, str(error)))
    return found


def _of_engines(settings: "Settings") -> list[Check]:
    """Whether the engines that hold rows and cells are reached, and set as they must be; the embedded one is its file."""
    from polysite._open.looking import look_at_engines

    return [Check(f"engine {looked.engine}", looked.fine, looked.finding) for looked in look_at_engines(settings)]


def _of_data(folder: Path) -> list[Check]:
    """The data folder: whether it can be written, and how much room there is."""
    nearest = folder.absolute()
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    there = "is there" if folder.exists() else f"will be made in {nearest}"
    writable = os.access(nearest, os.W_OK | os.X_OK)
    free = shutil.disk_usage(nearest).free
    return [
        Check("data folder", writable, f"{folder} {there}" if writable else f"{nearest} cannot be written"),
        Check("room for data", free >= FREE_BYTES_MIN, f"{free // 2**20} MiB free"),
    ]


def _of_certificates(settings: "Settings") -> list[Check]:
    """The files of TLS, if any are set."""
    from polysite.server.tls import check_files

    if not (settings.server.tls_certificate or settings.site.peer_authority):
        return []
    try:
        check_files(settings)
    except BadRequest as error:
        return [Check("certificates", False, error.message)]
    return [Check("certificates", True, "can be read")]


def _of_site(url: str, trust: "ssl.SSLContext | None") -> Check:
    """Whether a site answers at `url` and is ready."""
    from polysite.sync import connect

    try:
        with connect(url, bearer=bearer(), retries=0, answer_s=5.0, ssl_context=trust) as site:
            health = site.health()
    except PolysiteError as error:
        return Check(f"site at {url}", None, f"does not answer: {error.message}")
    about = f"site {health.site}, process {health.process}, version {health.version}{_of_other_sites(health)}"
    return Check(f"site at {url}", health.ready, about if health.ready else f"{about}: {'; '.join(health.reasons)}")


def _of_other_sites(health: "Health") -> str:
    """How the site reaches the others, if there are any; for information, as one that is gone makes no other one unready."""
    if not health.sites:
        return ""
    silent = [
        site.site if site.reason is None else f"{site.site} ({site.reason})"
        for site in health.sites
        if not site.answers
    ]
    told = f", {health.majority_rtt_ms} ms to the nearest majority of sites"
    return f"{told}, no answer from {', '.join(silent)}" if silent else told
