"""The package is what pyproject.toml says, and stays light to import.

Method: compare the locks and the version with pyproject.toml, and import polysite in a fresh interpreter.
"""

import ast
import re
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import polysite
from tests.support.source import ROOT, SOURCE, python_files

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
HEAVY = (
    "aiohttp",
    "apsw",
    "asyncio",
    "click",
    "prometheus_client",
    "rich",
    "starlette",
    "structlog",
    "uvicorn",
    "uvloop",
)


def locked(name: str) -> dict[str, Version]:
    """What a lock pins."""
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    return {
        canonicalize_name(found[1]): Version(found[2])
        for found in re.finditer(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)
    }


def wanted(name: str) -> list[str]:
    """What pyproject.toml asks for in the environment of that name."""
    groups = PROJECT["dependency-groups"]
    return [*PROJECT["project"]["dependencies"], *groups["build"], *(groups["dev"] if name == "dev" else [])]


@pytest.mark.parametrize("name", ["run", "dev"])
def test_locks_are_current(name: str) -> None:
    """Every dependency of pyproject.toml is pinned, at a version it allows; `make lock` mends it."""
    pinned = locked(name)
    for text in wanted(name):
        requirement = Requirement(text)
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None and requirement.specifier.contains(version, prereleases=True), f"make lock: {text}"


@pytest.mark.parametrize("name", ["bootstrap", "run", "dev"])
def test_every_pin_has_hashes(name: str) -> None:
    """No pin goes without a hash, or installing would trust whoever answers."""
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    pins = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
    assert pins
    assert all("--hash=sha256:" in pin for pin in pins)


def test_the_extra_for_the_suites_is_what_they_import() -> None:
    """Goal: whoever installs `polysite[testing]` can run the shipped suites. Method: every package that a module of
    `polysite.testing` imports is one of its dependencies or of the extra, as is the plugin that runs coroutines; the extra asks for
    no other versions than our own tests are run with."""
    extra = PROJECT["project"]["optional-dependencies"]["testing"]
    named = {Requirement(text).name for text in [*extra, *PROJECT["project"]["dependencies"]]}
    imported: set[str] = set()
    for path in python_files(SOURCE / "testing"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            imported |= {name.partition(".")[0] for name in names}
    foreign = imported - sys.stdlib_module_names - {"polysite"}
    assert {"hypothesis", "pytest"} <= foreign
    assert foreign | {"anyio"} <= named
    assert set(extra) <= set(PROJECT["dependency-groups"]["dev"])


def test_one_version() -> None:
    """The package tells the version that it was built as."""
    assert polysite.__version__ == PROJECT["project"]["version"]


def test_import_is_light() -> None:
    """`import polysite` loads nothing heavy: a command line or a script that only wants a name starts at once."""
    program = f"import sys, polysite; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
