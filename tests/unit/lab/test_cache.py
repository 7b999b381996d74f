"""The folder that engines are kept in: where it is, what counts as whole, and that one process at a time changes it."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from polysite.errors import Unavailable
from polysite.lab.engines.cache import cache_folder, cache_lock, flaws
from polysite.lab.engines.failures import CapabilityMissing
from polysite.lab.engines.releases import Jar

CONTENTS = {"a.jar": b"alpha", "b.jar": b"beta"}
JARS = [Jar(name, len(content), hashlib.sha256(content).hexdigest()) for name, content in CONTENTS.items()]


class Counted:
    """Time that goes on only where somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def sleep_s(self, duration_s: float) -> None:
        self.now_s += duration_s

    def monotonic_s(self) -> float:
        return self.now_s


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole set of jars."""
    (tmp_path / "set").mkdir()
    for name, content in CONTENTS.items():
        (tmp_path / "set" / name).write_bytes(content)
    return tmp_path / "set"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"POLYSITE_CACHE": "/x", "XDG_CACHE_HOME": "/y", "HOME": "/z"}, "/x"),
        ({"XDG_CACHE_HOME": "/y", "HOME": "/z"}, "/y/polysite"),
        ({"XDG_CACHE_HOME": "y", "HOME": "/z"}, "/z/.cache/polysite"),
        ({"POLYSITE_CACHE": "", "XDG_CACHE_HOME": "", "HOME": "/z"}, "/z/.cache/polysite"),
    ],
)
def test_where_it_is(environ: dict[str, str], expected: str) -> None:
    """Goal: our variable wins, then the desktop's, then the home folder; a relative XDG folder is ignored, as its specification says."""
    assert cache_folder(environ) == Path(expected)


def test_a_whole_set_has_no_flaw(folder: Path) -> None:
    """Goal: what is exactly the list counts."""
    assert flaws(JARS, folder, thorough=True) == []


@pytest.mark.parametrize(
    ("harm", "quick", "thorough"),
    [
        (lambda it: (it / "a.jar").write_bytes(b"alphb"), [], ["a.jar has another content than the list's"]),
        (lambda it: (it / "b.jar").unlink(), ["b.jar is missing"], ["b.jar is missing"]),
        (lambda it: (it / "c.jar").write_bytes(b""), ["c.jar is not on the list"], ["c.jar is not on the list"]),
        (lambda it: (it / "a.jar").write_bytes(b"alp"), ["a.jar has not 5 bytes"], ["a.jar has not 5 bytes"]),
    ],
    ids=["tampered", "missing", "surplus", "half"],
)
def test_what_is_wrong_is_told(
    folder: Path, harm: Callable[[Path], object], quick: list[str], thorough: list[str]
) -> None:
    """Goal: each way in which a set can be wrong is seen: names and sizes always, contents when every byte is read."""
    harm(folder)
    assert flaws(JARS, folder, thorough=False) == quick
    assert flaws(JARS, folder, thorough=True) == thorough


def test_no_set_at_all(tmp_path: Path) -> None:
    """Goal: an absent folder is a flaw, not an error."""
    assert flaws(JARS, tmp_path / "none", thorough=False) == ["it is not there"]


def test_one_at_a_time(tmp_path: Path) -> None:
    """Goal: two processes never change the cache at once, and who waits is told so once and not for ever. Method: try to take the lock a second time,
    on time that only sleeping moves; then after it was let go."""
    told: list[str] = []
    waiting = lambda: told.append("waiting")  # noqa: E731
    time = Counted()
    with cache_lock(tmp_path / "new", waiting=waiting):
        with (
            pytest.raises(Unavailable, match="for 5 s"),
            cache_lock(tmp_path / "new", waiting=waiting, wait_s=5, pace=time),
        ):
            pytest.fail("both have it")
        assert told == ["waiting"]
        assert time.now_s == pytest.approx(5, abs=0.5)
    with cache_lock(tmp_path / "new", waiting=waiting):
        assert told == ["waiting"]


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    """Goal: the message names the variable that helps. Method: a file stands where the folder should be."""
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(CapabilityMissing, match="set POLYSITE_CACHE to one that can"),
        cache_lock(tmp_path / "file", waiting=lambda: None),
    ):
        pytest.fail("there is no folder")
