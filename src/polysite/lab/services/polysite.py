"""The polysite process of a site: its settings file and command line."""

import json
import sys

from polysite.lab.services.service import POLYSITE, Command, HttpProbe, Service
from polysite.lab.skew import SKEW_VARIABLE
from polysite.lab.state import EMBEDDED, LabFolder, Plan

READY_PATH = "/v3/health/ready"
SECRET_FILE = "peer.secret"  # noqa: S105  # the name of a file
SKEW_FILE = "skew"
ZOOKEEPER_PORT = 2181
TRY_AGAIN = 11
"""What `polysite serve` ends with when it could not start for a passing reason."""


def polysite_service(plan: Plan, site: str, folder: LabFolder) -> Service:
    """The process that serves a site."""
    place = folder.site(site)
    settings = place / "settings.toml"
    address = plan.topology.address(site)
    return Service(
        site=site,
        name=POLYSITE,
        command=Command(
            argv=[sys.executable, "-m", "polysite.cli", "serve", "--config", str(settings)],
            folder=place,
            log=place / f"{POLYSITE}.log",
            variables={SKEW_VARIABLE: str(place / SKEW_FILE)},
        ),
        files={settings: settings_text(plan, site, folder)},
        probe=HttpProbe(address, plan.port, READY_PATH),
        # Where sites share an engine, the first one makes what all need there, and the others find it.
        stage=_engines_end(plan) + (0 if plan.store == EMBEDDED or plan.topology.index(site) == 0 else 1),
        passing_code=TRY_AGAIN,
    )


def _engines_end(plan: Plan) -> int:
    """The first stage in which all engines are ready: Cassandra nodes with Accord are started one after the other."""
    return len(plan.topology.sites) if plan.cells == "accord" else 1


def settings_text(plan: Plan, site: str, folder: LabFolder) -> str:
    """The settings of a site, as TOML. A site on the embedded engine stands alone; on others it knows its peers."""
    urls = {place.name: url_of(plan, place.name) for place in plan.topology.sites}
    settings: dict[str, dict[str, object]] = {
        "site": {"name": site, "advertise": urls[site]},
        "store": {"engine": plan.store, "data": str(folder.site(site) / "data")},
        "cells": {"engine": plan.cells},
        # Whoever reaches this address is inside the lab.
        "server": {"host": plan.topology.address(site), "port": plan.port, "insecure": True},
    }
    if plan.store != EMBEDDED:
        settings["site"]["secret_file"] = str(folder.path / SECRET_FILE)
        settings["site.peers"] = {name: url for name, url in urls.items() if name != site}
    address = plan.topology.address(site)
    if "cassandra" in (plan.store, plan.cells):
        settings["cassandra"] = {"contact_points": [address], "data_center": site}
        if plan.driver:
            settings["cassandra"]["driver"] = plan.driver
        settings["cassandra.replicas"] = dict.fromkeys(urls, 1)
    if plan.cells == "zookeeper":
        settings["zookeeper"] = {"servers": [f"{address}:{ZOOKEEPER_PORT}"]}
    return "\n".join(
        f"[{section}]\n" + "".join(f"{name} = {_toml(value)}\n" for name, value in members.items())
        for section, members in settings.items()
    )


def url_of(plan: Plan, site: str) -> str:
    """Where a site is spoken to, by whoever is inside the lab."""
    return f"http://{plan.topology.address(site)}:{plan.port}"


def _toml(value: object) -> str:
    """A text, number, truth value or list of them; TOML writes these as JSON does."""
    return json.dumps(value)
