"""Certificate authorities for tests, made as the page on sites says: its own commands are run, for an address instead of names."""

import re
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.source import ROOT

HOSTS = "ams.example.org bei.example.org irv.example.org"


class Issued(NamedTuple):
    """An authority, and a certificate that it signed."""

    authority: Path
    certificate: Path
    key: Path

    @property
    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.authority)


def issue(folder: Path, host: str = "127.0.0.1") -> Issued:
    """An authority of its own in a new folder, and a certificate for `host`."""
    if shutil.which("openssl") is None:
        pytest.skip("the command openssl, which makes certificates, is not here")
    page = (ROOT / "docs" / "sites.md").read_text()
    found = re.search(r"## TLS between sites\n.*?```sh\n(.*?)```", page, re.DOTALL)
    assert found is not None
    assert HOSTS in found[1]
    folder.mkdir()
    script = found[1].replace(HOSTS, host).replace("DNS:", "IP:")
    subprocess.run(["sh", "-e", "-c", script], cwd=folder, check=True, capture_output=True)
    return Issued(folder / "authority.pem", folder / f"{host}.pem", folder / f"{host}.key")
