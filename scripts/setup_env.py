"""Make `.venv` ready: the locked dependencies, then polysite itself, editable.

Runs on any Python from 3.11 with the standard library alone, and does nothing when nothing changed. Usage:

    python3 scripts/setup_env.py run     what `make run` needs
    python3 scripts/setup_env.py dev     that, and what tests and checks need
    python3 scripts/setup_env.py lock    write requirements/*.lock anew from pyproject.toml
"""

from __future__ import annotations  # so that an older Python gets as far as being told

import contextlib
import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UV_HOME = VENV / "uv"
"""uv lives beside the site-packages, not in them, so that `uv pip sync` does not remove it."""
STAMP = VENV / "ready"
BOOTSTRAP = ROOT / "requirements" / "bootstrap.lock"
LOCKS = {
    "bootstrap": ["requirements/bootstrap.in"],
    "run": ["pyproject.toml", "--group", "build"],
    "dev": [
        *("pyproject.toml", "--group", "build", "--group", "dev"),
        *("--extra", "cassandra", "--extra", "fast", "--extra", "zookeeper"),
    ],
}


def main(arguments: list[str]) -> int:
    """Do what the only argument says; 0 when it is done."""
    if sys.version_info < (3, 11):  # noqa: UP036 (whoever has an older one gets a clear word)
        return complain(f"polysite needs Python 3.11 or later; {sys.executable} is {sys.version.split()[0]}")
    if len(arguments) != 1 or arguments[0] not in ("run", "dev", "lock"):
        return complain(__doc__ or "")
    with one_at_a_time():
        try:
            if arguments[0] == "lock":
                write_locks()
            else:
                prepare(arguments[0])
        except subprocess.CalledProcessError as error:
            return complain(f"setup failed: {' '.join(map(str, error.cmd))} ended with {error.returncode}")
    return 0


def prepare(level: str) -> None:
    """Bring `.venv` to `level`; a `dev` environment also serves `run`."""
    wanted = digest()
    if STAMP.is_file() and PYTHON.exists():
        found = STAMP.read_text().split()
        if found in ([level, wanted], ["dev", wanted]):
            return
        if found[:1] == ["dev"]:
            level = "dev"  # never take the tools away again because somebody ran `make run`
    make_venv()
    STAMP.unlink(missing_ok=True)
    lock = ROOT / "requirements" / f"{level}.lock"
    print(f"setting up .venv from requirements/{lock.name}", file=sys.stderr, flush=True)
    editable = ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    try:
        make_uv()
        uv("pip", "sync", "--quiet", "--python", str(PYTHON), "--require-hashes", str(lock))
        uv("pip", "install", "--quiet", "--python", str(PYTHON), *editable)
    except subprocess.CalledProcessError:
        # pip knows every setting of this machine (proxy, index, certificates), uv only some of them.
        print("uv could not install; trying pip with the same lock", file=sys.stderr, flush=True)
        pip("install", "--require-hashes", "--requirement", str(lock))
        pip("install", *editable)
    STAMP.write_text(f"{level} {wanted}\n")


def digest() -> str:
    """Of everything that decides what stands in `.venv`."""
    of = hashlib.sha256(sys.version.encode())
    for path in (
        BOOTSTRAP,
        *(ROOT / "requirements" / f"{name}.lock" for name in ("run", "dev")),
        ROOT / "pyproject.toml",
    ):
        of.update(path.read_bytes())
    return of.hexdigest()


def make_venv() -> None:
    """Create `.venv` unless it is there with this Python's version and pip."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    probe = "import sys, pip; print('%d.%d' % sys.version_info[:2])"
    if PYTHON.exists():
        found = subprocess.run([PYTHON, "-c", probe], capture_output=True, text=True, check=False)
        if found.returncode == 0 and found.stdout.strip() == version:
            return
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        raise SystemExit(
            f"{sys.executable} cannot make a virtual environment; on Debian and Ubuntu: apt-get install python{version}-venv"
        ) from None
    subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)


def make_uv() -> None:
    """Install the pinned uv, by hash, unless this very one is there."""
    wanted = hashlib.sha256(BOOTSTRAP.read_bytes()).hexdigest()
    mark = UV_HOME / "installed"
    if mark.is_file() and mark.read_text() == wanted:
        return
    pip("install", "--upgrade", "--target", str(UV_HOME), "--require-hashes", "--requirement", str(BOOTSTRAP))
    mark.write_text(wanted)


def pip(*arguments: str) -> None:
    """Run the environment's pip quietly."""
    subprocess.run([PYTHON, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments], check=True, cwd=ROOT)


def uv(*arguments: str) -> None:
    """Run the pinned uv with what pip is set to on this machine, where uv would not look there itself."""
    environment = dict(os.environ)
    for setting, variable in (
        ("index-url", "UV_DEFAULT_INDEX"),
        ("extra-index-url", "UV_INDEX"),
        ("cert", "SSL_CERT_FILE"),
    ):
        value = pip_setting(setting)
        if value and variable not in environment:
            environment[variable] = value
    subprocess.run([UV_HOME / "bin" / "uv", *arguments], check=True, cwd=ROOT, env=environment)


def pip_setting(name: str) -> str | None:
    """What the environment or pip's configuration files say for `name`; None if nothing."""
    for section in (":env:", "install", "global"):
        found = subprocess.run(
            [PYTHON, "-m", "pip", "config", "get", f"{section}.{name}"], capture_output=True, text=True, check=False
        )
        if found.returncode == 0 and found.stdout.strip():
            return " ".join(found.stdout.split())
    return None


def write_locks() -> None:
    """Resolve anew for every platform and Python we support; hashes, and no word about where packages come from."""
    make_venv()
    make_uv()
    for name, sources in LOCKS.items():
        uv(
            "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes",
            "--no-emit-index-url", "--no-emit-find-links", "--custom-compile-command", "make lock",
            *sources, "--output-file", f"requirements/{name}.lock",
        )  # fmt: skip


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Two makes in one checkout take turns."""
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    with (cache / "setup.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def complain(message: str) -> int:
    """Say what is wrong; 1 for the caller to exit with."""
    print(message, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
