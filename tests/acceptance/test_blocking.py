"""The client without await over a coordinator of this process: `polysite.sync.open`, on a file and in memory.

Method: threads that wait for events with a limit; the coordinator runs on its own thread as it does for users.
"""
# ruff: noqa: PT012  # what raises is the end of the section's block

import threading
from pathlib import Path

import pytest

import polysite.sync
from polysite.clock import Runtime, SystemClock
from polysite.errors import AcquireTimeout, BadRequest, LockLost, UnknownKey

WAIT_S = 30
THREADS = 4
ROUNDS = 10


def make_votes(site: polysite.sync.Site) -> polysite.sync.Table:
    site.create_keyspace("voting")
    site.create_table("voting", "votes", {"name": "text", "count": "int"}, partition_key="name")
    return site.table("voting", "votes")


def test_what_was_written_is_there_after_opening_again(tmp_path: Path) -> None:
    """A section's write is on the file when the program is over; the folder of a server can be opened by its name."""
    path = tmp_path / "state.db"
    with polysite.sync.open(path) as site, make_votes(site).section("ana") as section:
        assert section.get() is None
        section.put({"count": 1})
    with polysite.sync.open(path) as site:
        assert site.table("voting", "votes").get("ana") == {"name": "ana", "count": 1}
        with pytest.raises(UnknownKey):
            site.table("voting", "nothing").get("ana")
    (tmp_path / "folder").mkdir()
    with polysite.sync.open(tmp_path / "folder") as site:
        make_votes(site)
    assert (tmp_path / "folder" / "polysite.db").exists()


def test_threads_take_turns() -> None:
    """Several threads on one key lose no vote, over one site object."""
    with polysite.sync.open() as site:
        votes = make_votes(site)

        def vote() -> None:
            for _ in range(ROUNDS):
                with votes.section("ana", wait_s=WAIT_S) as section:
                    row = section.get()
                    section.put({"count": (row["count"] if row else 0) + 1})

        threads = [threading.Thread(target=vote) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
        assert votes.get("ana", level="quorum") == {"name": "ana", "count": THREADS * ROUNDS}


@pytest.mark.parametrize("depth", [0, 220], ids=["near", "deep"])
def test_two_programs_on_one_file(tmp_path: Path, depth: int) -> None:
    """They are two processes of one site: one waits for the other's lock, and may use its reference; also where the path is
    longer than the name of a socket may be."""
    path = tmp_path / ("d" * depth) / "state.db"
    with polysite.sync.open(path) as first, polysite.sync.open(path) as second:
        votes, same = make_votes(first), second.table("voting", "votes")
        with votes.section("ana", lease_s=WAIT_S) as section:
            section.put({"count": 1})
            with pytest.raises(AcquireTimeout), same.section("ana", wait_s=0):
                raise AssertionError("two holders")
            assert same.get("ana", level="critical", reference=section.reference) == {"name": "ana", "count": 1}
        with same.section("ana", wait_s=WAIT_S) as section:
            assert section.get() == {"name": "ana", "count": 1}


class ClockAhead(SystemClock):
    """The machine's clock, two seconds ahead."""

    def wall_us(self) -> int:
        return super().wall_us() + 2_000_000


def test_a_program_whose_clock_is_off_says_so(tmp_path: Path) -> None:
    """Goal: over the socket beside the file, too, a process measures how far its clock is off the others'. Method: a second program
    with a clock of its own; both are asked until they say that they are not ready."""
    path = tmp_path / "state.db"
    runtime = Runtime(clock=ClockAhead())
    with polysite.sync.open(path, hello_s=0.1) as first:
        assert first.health().ready
        with polysite.sync.open(path, runtime=runtime) as second:
            for site in (second, first):
                for _ in range(WAIT_S * 20):
                    if not site.health().ready:
                        break
                    threading.Event().wait(0.05)
                assert "clock" in site.health().reasons[0]
        for _ in range(WAIT_S * 20):
            if first.health().ready:
                break
            threading.Event().wait(0.05)
        assert first.health().ready


def test_a_blocking_body_is_told_of_the_loss() -> None:
    """The callback comes from another thread, `is_lost` turns true, and the next call raises; so does the end of the body."""
    told = threading.Event()
    with polysite.sync.open() as site:
        votes = make_votes(site)
        with pytest.raises(LockLost), votes.section("ana", lease_s=0.6, on_lost=lambda _: told.set()) as section:
            votes.preempt("ana")
            assert told.wait(WAIT_S)
            assert section.is_lost
            with pytest.raises(LockLost):
                section.put({"count": 2})
        assert votes.get("ana", level="quorum") is None


def test_events_of_a_blocking_site() -> None:
    """One at a time, from when the reading began."""
    with polysite.sync.open() as site:
        votes = make_votes(site)
        found: list[str] = []
        granted = threading.Event()

        def read() -> None:
            for event in site.events(keyspace="voting"):
                found.append(event.kind)
                if event.kind == "granted":
                    granted.set()
                    return

        reading = threading.Thread(target=read)
        reading.start()
        while not granted.wait(0.05) and reading.is_alive():
            with votes.section("ana", wait_s=WAIT_S):
                pass
        reading.join(WAIT_S)
        assert "granted" in found


def test_a_closed_site_is_closed() -> None:
    """Closing twice is fine; an unknown setting is refused before anything is started."""
    site = polysite.sync.open()
    site.close()
    site.close()
    with pytest.raises(BadRequest, match="colour"):
        polysite.sync.open(colour="blue")
