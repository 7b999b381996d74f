"""Fetching: only what is exactly the list is ever installed, whatever Maven brings and whenever it is interrupted.

Maven and Java are small scripts: this `mvn` copies the jars of a folder to where it is told, and writes down that it was run. The release is
two tiny jars. Its Java is an 11, which makes no archives of loaded classes, so that no engine is started.
"""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from polysite.lab.engines.failures import CapabilityMissing, FetchFailed, WrongJars
from polysite.lab.engines.fetching import GOAL, fetch, follow, installed, without_credentials
from polysite.lab.engines.releases import Jar, Release
from polysite.lab.engines.specs import Installation
from tests.support.source import ROOT

CONTENTS = {"a-1.jar": b"alpha", "b-1.jar": b"beta"}
MVN = """\
echo "$@" >> "{folder}/runs"
for argument in "$@"; do
    case "$argument" in -DoutputDirectory=*) output="${{argument#*=}}" ;; esac
done
{before}
mkdir -p "$output" && cp "{folder}"/brought/* "$output"
echo "[INFO] Downloaded from mirror: http://mirror.example/x/a-1.jar (5 B at 1 B/s)"
{after}
"""


class Tiny(Release):
    """Two jars; a release of its own name."""

    @property
    def jars(self) -> tuple[Jar, ...]:
        return tuple(Jar(name, len(content), hashlib.sha256(content).hexdigest()) for name, content in CONTENTS.items())

    @property
    def pom(self) -> str:
        return "<project/>"


TINY = Tiny("tiny", "1", "Tiny", java_min=11, java_max=None)


class Told:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.counts: list[tuple[int, int]] = []
        self.notes: list[str] = []

    def arrived(self, count: int, total: int) -> None:
        self.counts.append((count, total))

    def note(self, text: str) -> None:
        self.notes.append(text)


class Bench:
    """A machine with a scripted Java and Maven, and an empty cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        (folder / "brought").mkdir()
        self.bring(CONTENTS)
        self.script("java", "echo 'openjdk version \"11.0.1\"' >&2")
        self.maven()
        self.environ = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "POLYSITE_CACHE": str(folder / "cache")}
        self.told = Told()

    def script(self, name: str, body: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def maven(self, *, before: str = "", after: str = "") -> None:
        self.script("mvn", MVN.format(folder=self.folder, before=before, after=after))

    def bring(self, contents: dict[str, bytes]) -> None:
        """What Maven will bring from now on."""
        for path in (self.folder / "brought").iterdir():
            path.unlink()
        for name, content in contents.items():
            (self.folder / "brought" / name).write_bytes(content)

    def fetch(self, *, verify: bool = False, silence_s: float = 60) -> Installation:
        return fetch(TINY, self.environ, verify=verify, progress=self.told, silence_s=silence_s)

    def is_installed(self) -> bool:
        return installed(TINY, self.environ)

    @property
    def runs(self) -> int:
        """How often Maven was run."""
        path = self.folder / "runs"
        return len(path.read_text().splitlines()) if path.exists() else 0

    @property
    def kept(self) -> set[str]:
        """What the cache holds, but for its lock and what was remembered of archives."""
        names = {path.name for path in (self.folder / "cache").iterdir()}
        return {name for name in names if name != "engines.lock" and not name.endswith(".no-jsa")}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_fetched_once(bench: Bench) -> None:
    """Goal: what is there is not fetched again, and what is missing of speed is said. Method: fetch twice; Maven ran once, the jars are in the order of the
    list, and the Java that makes no archive is told of once."""
    first = bench.fetch()
    assert [path.read_bytes() for path in first.jars] == list(CONTENTS.values())
    assert first.archive is None
    assert bench.told.counts == [(0, 2), (1, 2), (2, 2)]
    assert bench.told.notes == ["there will be no archive of loaded classes, so starts take longer: Java 11 makes none"]
    assert bench.fetch() == first
    assert bench.runs == 1
    assert len(bench.told.notes) == 1
    assert bench.kept == {"tiny-1"}


@pytest.mark.parametrize(
    ("brought", "complaint"),
    [
        ({**CONTENTS, "a-1.jar": b"alphb"}, "a-1.jar has another content"),
        ({"a-1.jar": b"alpha"}, "b-1.jar is missing"),
        ({**CONTENTS, "c-1.jar": b""}, "c-1.jar is not on the list"),
        ({**CONTENTS, "b-1.jar": b"be"}, "b-1.jar has not 4 bytes"),
    ],
    ids=["tampered", "missing", "surplus", "half"],
)
def test_wrong_jars_are_never_installed(bench: Bench, brought: dict[str, bytes], complaint: str) -> None:
    """Goal: what is not the list does not count, and leaves nothing; the same command later makes it good."""
    bench.bring(brought)
    with pytest.raises(WrongJars, match=complaint):
        bench.fetch()
    assert not bench.is_installed()
    assert bench.kept == set()
    bench.bring(CONTENTS)
    bench.fetch()
    assert bench.is_installed()


def test_verify_finds_what_sizes_do_not_tell(bench: Bench) -> None:
    """Goal: `--verify` reads every byte. Method: change a byte of an installed jar; the quick way does not see it, the thorough one fetches anew and says so."""
    bench.fetch()
    jar = bench.folder / "cache" / "tiny-1" / "a-1.jar"
    jar.write_bytes(b"alphb")
    bench.fetch()
    assert bench.runs == 1
    bench.fetch(verify=True)
    assert bench.runs == 2
    assert jar.read_bytes() == b"alpha"
    assert any("a-1.jar has another content than the list's; it is fetched anew" in note for note in bench.told.notes)
    bench.fetch(verify=True)
    assert bench.runs == 2


def test_a_wrong_download_keeps_what_was_there(bench: Bench) -> None:
    """Goal: a fetch that fails takes nothing away. Method: one jar of an installed set is damaged, and Maven brings rubbish; the undamaged one is still
    there."""
    bench.fetch()
    (bench.folder / "cache" / "tiny-1" / "a-1.jar").write_bytes(b"al")
    bench.bring({"a-1.jar": b"alpha"})
    with pytest.raises(WrongJars):
        bench.fetch()
    assert (bench.folder / "cache" / "tiny-1" / "b-1.jar").read_bytes() == b"beta"
    assert bench.kept == {"tiny-1"}


def test_maven_fails(bench: Bench) -> None:
    """Goal: Maven's reason is passed on, without what an address may carry of credentials, and nothing stays behind."""
    bench.maven(before="echo '[ERROR] cannot reach https://ana:secret@mirror.example/x?key=1 now -> [Help 1]'; exit 3")
    with pytest.raises(FetchFailed, match=r"it ended with 3\): cannot reach https://mirror.example/x now\. ") as caught:
        bench.fetch()
    assert caught.value.retry
    assert bench.kept == set()


def test_a_silent_maven_is_given_up(bench: Bench) -> None:
    """Goal: a mirror that never answers does not hold a test run for ever. Method: a Maven that says one thing and then nothing."""
    bench.maven(before="echo '[INFO] Downloading'; exec sleep 600")
    with pytest.raises(FetchFailed, match=r"said nothing for 0\.2 s and was ended"):
        bench.fetch(silence_s=0.2)
    assert bench.kept == set()


def test_how_maven_is_asked(bench: Bench) -> None:
    """Goal: Maven asks nobody anything, and brings the runtime jars alone."""
    bench.fetch()
    (asked,) = [line.split() for line in (bench.folder / "runs").read_text().splitlines()]
    assert {"-B", GOAL, "-DincludeScope=runtime"} <= set(asked)


def test_no_maven(bench: Bench) -> None:
    """Goal: an installed engine needs no Maven, a missing one says that it does."""
    bench.fetch()
    bench.environ["PATH"] = str(bench.folder / "bin")
    (bench.folder / "bin" / "mvn").unlink()
    bench.fetch()
    (bench.folder / "cache" / "tiny-1" / "a-1.jar").unlink()
    with pytest.raises(CapabilityMissing, match="capability missing: maven"):
        bench.fetch()


KILLED = """
import os, sys
from tests.unit.lab.test_fetching import TINY
from polysite.lab.engines.fetching import fetch
fetch(TINY, os.environ)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_fetch_leaves_nothing_that_counts(bench: Bench, how: signal.Signals) -> None:
    """Goal: a fetch that dies half-way installs nothing and stands in nobody's way. Method: a process whose Maven has brought one jar and then waits on a
    pipe; it is ended there; the next fetch succeeds and clears up."""
    pipe = bench.folder / "pipe"
    os.mkfifo(pipe)
    before = f'mkdir -p "$output"; cp "{bench.folder}/brought/a-1.jar" "$output"; exec cat > "{pipe}"'
    bench.maven(before=f'echo half > "{pipe}"; {before}')
    environment = {**bench.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    fetching = subprocess.Popen(
        [sys.executable, "-c", KILLED], env=environment, stderr=subprocess.DEVNULL, process_group=0
    )
    with pipe.open() as told:
        assert told.readline() == "half\n"
        fetching.send_signal(how)
        assert fetching.wait(30) != 0
    with contextlib.suppress(ProcessLookupError):
        os.killpg(fetching.pid, signal.SIGKILL)  # a Maven whose parent was killed waits on
    assert not bench.is_installed()
    bench.maven()
    bench.fetch()
    assert bench.is_installed()
    assert bench.kept == {"tiny-1"}


def test_two_at_once(bench: Bench) -> None:
    """Goal: two processes that fetch at once do not disturb each other, and Maven runs once. Method: the first waits inside Maven until the second is told
    that it waits; both get the same."""
    pipe = bench.folder / "pipe"
    os.mkfifo(pipe)
    bench.maven(before=f'cat "{pipe}" > /dev/null')
    second_waits = threading.Event()

    class Second(Told):
        def note(self, text: str) -> None:
            second_waits.set()

    got: list[Installation] = []
    second = Second()
    threads = [
        threading.Thread(target=lambda: got.append(bench.fetch())),
        threading.Thread(target=lambda: got.append(fetch(TINY, bench.environ, progress=second))),
    ]
    threads[0].start()
    with pipe.open("w"):  # opened as soon as the first Maven reads it
        threads[1].start()
        assert second_waits.wait(30)
    for thread in threads:
        thread.join(30)
    assert len(got) == 2 and got[0] == got[1]
    assert bench.runs == 1


def test_progress_is_read_from_maven() -> None:
    """Goal: each jar of the list is counted once as it arrives, nothing else is, and all have arrived when Maven is done without an error."""
    counts: list[tuple[int, int]] = []
    lines = [
        "[INFO] Downloading from central: http://mirror.example/a/a-1.jar\n",
        "[INFO] Downloaded from central: http://mirror.example/a/a-1.jar (5 B at 1 B/s)\n",
        "[INFO] Downloaded from central: http://mirror.example/a/a-1.jar (5 B at 1 B/s)\n",
        "[INFO] Downloaded from central: http://mirror.example/p/plugin-3.jar (5 B at 1 B/s)\n",
        "[INFO] Downloaded from central: http://mirror.example/a/a-1.pom (5 B at 1 B/s)\n",
    ]
    note: Callable[[int, int], None] = lambda count, total: counts.append((count, total))  # noqa: E731
    assert follow(lines, {"a-1.jar", "b-1.jar"}, note) == []
    assert counts == [(0, 2), (1, 2), (1, 2), (2, 2)]
    assert follow(["[ERROR] no\n", "[ERROR] \n", "[ERROR]\n"], {"a-1.jar"}, note) == ["no"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("from https://ana:pa@x.example/a", "from https://x.example/a"),
        ("(https://x.example/a?sig=abc)", "(https://x.example/a)"),
        ("nothing to hide: a@b?", "nothing to hide: a@b?"),
    ],
)
def test_addresses_lose_their_credentials(text: str, shown: str) -> None:
    """Goal: no user, password or query of a mirror's address is shown."""
    assert without_credentials(text) == shown
