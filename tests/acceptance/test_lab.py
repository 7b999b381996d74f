"""A lab from `up` to `down`, on this machine: how far its sites are apart, what a cut does, and that nothing of it is left.

Method: the real command; sockets of the test inside the sites' networks; a look at the machine before and after. Needs root
and a TUN device, but for the lab on loopback.
"""

import contextlib
import datetime as dt
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from polysite.errors import UnknownKey
from polysite.lab.control import Control
from polysite.lab.network import capability
from polysite.lab.state import LabFolder, identify
from tests.support.labs import PORT, Lab, running_lab, traces

MISSING = capability.missing()
needs_networks = pytest.mark.skipif(MISSING is not None, reason=f"missing: {MISSING}")

LOST_S = 0.3
GONE_S = 20.0


def hears(lab: Lab, source: str, target: str, text: bytes) -> bool:
    """Whether a packet gets from one site to another within LOST_S."""
    with contextlib.closing(lab.socket(source)) as sender, contextlib.closing(lab.socket(target)) as receiver:
        receiver.settimeout(LOST_S)
        sender.sendto(text, (lab.address(target), PORT))
        try:
            return receiver.recv(100) == text
        except TimeoutError:
            return False


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Three networks, 30 ms apart, in which nothing runs. Every test heals what it broke."""
    with running_lab(tmp_path_factory.mktemp("lab") / "bare", "--run", "nothing", "--rtt-ms", "30") as lab:
        yield lab


@needs_networks
def test_round_trips_are_as_planned(bare: Lab) -> None:
    """Goal: every pair of sites is as far apart as asked, and `distance` changes that while the lab runs. Method: echoes."""
    for pair in bare.control.rtt(7):
        assert pair.lost == 0
        assert pair.median_ms is not None and 30 <= pair.median_ms < 35, pair
    bare.run("distance", "--rtt-ms", "60")
    assert all(60 <= pair["median_ms"] < 65 for pair in bare.json("rtt", "--count", "5"))
    bare.run("distance", "--rtt-ms", "30")


@needs_networks
def test_cuts_and_healing(bare: Lab) -> None:
    """Goal: a one-way cut silences one direction, a cut of a site all of its own, and healing ends both."""
    bare.run("cut", "--one-way", "ams", "bei")
    assert not hears(bare, "ams", "bei", b"cut")
    assert hears(bare, "bei", "ams", b"open")
    bare.run("heal")
    assert hears(bare, "ams", "bei", b"healed")
    bare.run("cut", "irv")
    told = bare.json("status")
    assert {(link["source"], link["target"]) for link in told["links"] if link["cut"]} == {
        ("irv", "ams"), ("ams", "irv"), ("irv", "bei"), ("bei", "irv"),
    }  # fmt: skip
    assert not hears(bare, "ams", "irv", b"cut")
    assert hears(bare, "ams", "bei", b"others")
    bare.run("heal", "irv")
    assert hears(bare, "irv", "bei", b"back")
    bare.run("loss", "100", "ams", "irv")
    assert not hears(bare, "ams", "irv", b"lost")
    bare.run("loss", "0")
    assert hears(bare, "ams", "irv", b"kept")


@needs_networks
def test_a_command_at_a_site(bare: Lab) -> None:
    """Goal: what is run at a site sees that site's network, finds its process, and ends as it would anywhere."""
    seen = bare.run("exec", "bei", "--", "sh", "-c", "cat /proc/net/fib_trie; echo $POLYSITE_URL; pwd")
    assert bare.address("bei") in seen.out
    assert f"http://{bare.address('bei')}:8390" in seen.out
    assert os.getcwd() in seen.out
    assert bare.run("exec", "bei", "--", "sh", "-c", "exit 7", fine=False).code == 7
    assert bare.run("exec", "bei", "--", "sh", "-c", "kill -9 $$", fine=False).code == 137
    assert bare.run("exec", "bei", "--", "no-such-command", fine=False).code == 127
    wrong = bare.run("exec", "nyc", "--", "true", fine=False)
    assert (wrong.code, "ams, bei, irv" in wrong.error) == (10, True)


@needs_networks
def test_orders_that_a_bare_lab_cannot_obey(bare: Lab) -> None:
    """Goal: faults of processes are refused with what is missing where no process runs; so is a lab in a lab's folder."""
    refused = bare.run("freeze", "ams", fine=False)
    assert (refused.code, "networks alone" in refused.error) == (10, True)
    again = bare.run("up", fine=False)
    assert (again.code, "a lab is up in this folder" in again.error) == (10, True)
    assert hears(bare, "ams", "bei", b"still there")


@needs_networks
def test_two_labs_do_not_disturb_each_other(bare: Lab, tmp_path: Path) -> None:
    """Goal: a cut in one lab is none in the other, and the end of one leaves the other up. Method: a second lab beside."""
    with running_lab(tmp_path / "other", "--run", "nothing", "--rtt-ms", "0", "--sites", "ams,bei") as other:
        other.run("cut", "ams")
        assert not hears(other, "ams", "bei", b"cut")
        assert hears(bare, "ams", "bei", b"open")
        assert other.json("status")["lab"] != bare.json("status")["lab"]
    assert hears(bare, "ams", "bei", b"open")


@needs_networks
def test_nothing_is_left_after_down(tmp_path: Path) -> None:
    """Goal: `down` leaves names, devices, networks and processes as they were. Method: a look before and after, with a command
    left running at a site."""
    folder = tmp_path / "lab"
    before = traces(folder)
    with running_lab(folder, "--run", "nothing") as lab:
        lab.run("exec", "ams", "--", "sh", "-c", f"(sleep 1000; : {folder}) >/dev/null 2>&1 &")
        during = traces(folder)
        assert len(during.networks) > len(before.networks)
        assert len(during.keepers) >= 2
        assert during.devices == before.devices, "devices of a lab are in its own networks"
    assert traces(folder) == before
    assert lab.run("down").out.strip() == "no lab is up there"


@needs_networks
def test_nothing_is_left_after_a_killed_keeper(tmp_path: Path) -> None:
    """Goal: a lab whose keeper is killed is gone as a whole, and its folder takes the next one. Method: SIGKILL, with a command
    left running at a site, and a look at the machine."""
    folder = tmp_path / "lab"
    before = traces(folder)
    lab = Lab(folder)
    lab.run("up", "--run", "nothing", "--sites", "ams,bei")
    lab.run("exec", "ams", "--", "sh", "-c", f"(sleep 1000; : {folder}) >/dev/null 2>&1 &")
    pid = lab.control.keeper_pid()
    keeper = LabFolder(folder).read()
    assert keeper is not None and keeper.keeper == identify(pid), "the folder says which process keeps the lab"
    watched = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    wait_for_end(watched)
    assert traces(folder) == before
    with pytest.raises(UnknownKey):
        Control(folder)
    assert lab.run("status", fine=False).code == 10
    with running_lab(folder, "--run", "nothing", "--sites", "ams,bei"):
        assert hears(lab, "ams", "bei", b"anew")


@needs_networks
def test_a_lab_without_its_carrier_ends(tmp_path: Path) -> None:
    """Goal: sites that no packet can leave are no lab: it ends as a whole and its log says why. Method: kill the carrier."""
    lab = Lab(tmp_path / "lab")
    lab.run("up", "--run", "nothing", "--sites", "ams,bei")
    watched = os.pidfd_open(lab.control.keeper_pid())
    lab.run("exec", "ams", "--", "sh", "-c", "kill -9 2")
    wait_for_end(watched)
    assert "carries the packets has ended" in lab.run("logs").out


@needs_networks
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_when_up_is_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    """Goal: a lab that nobody waits for any more does not come up. Method: a signal to `up` once it has told of the networks,
    while the sites' processes start; then until the last process of the lab has ended."""
    folder = tmp_path / "lab"
    before = traces(folder)
    command = [sys.executable, "-m", "polysite.cli", "lab", "up", "--dir", str(folder), "--sites", "ams,bei"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as up:
        assert up.stdout is not None
        assert b"joined" in up.stdout.readline()
        state = LabFolder(folder).read()
        assert state is not None and state.keeper is not None
        watched = os.pidfd_open(state.keeper.pid)
        up.send_signal(number)
    assert up.returncode != 0
    wait_for_end(watched)
    assert traces(folder) == before


def wait_for_end(watched: int) -> None:
    """Until a process has ended; closes the open file that stands for it."""
    try:
        assert select.select([watched], [], [], GONE_S)[0], "it goes on"
    finally:
        os.close(watched)


@needs_networks
@pytest.mark.slow
def test_sites_are_frozen_killed_skewed_and_started(tmp_path: Path) -> None:
    """Goal: faults of one site's process leave the others alone, and each is healed by its own verb. Method: three sites on the
    embedded engine; what the process answers at the site, and the stamp that its clock gives a row."""
    with running_lab(tmp_path / "lab", "--rtt-ms", "10") as lab:

        def at(site: str, *command: str, fine: bool = True) -> str:
            ended = lab.run("exec", site, "--", "polysite", *command, fine=False)
            assert not fine or ended.code == 0, ended
            return ended.out if ended.code == 0 else ended.error

        def state(site: str) -> str:
            there = {one.name: one.services[0].state for one in lab.control.status().sites}
            return there[site]

        for site in ("ams", "bei"):
            at(site, "keyspace", "create", "voting")
            at(
                site,
                "table",
                "create",
                "voting/votes",
                "name:text",
                "count:int",
                "--key",
                "name",
                "--writes",
                "eventual",
            )
        lab.run("kill", "ams")
        assert state("ams") == "ended"
        assert "site_unreachable" in at("ams", "get", "voting/votes/ana", fine=False)
        at("bei", "put", "voting/votes/ana", "count=1")
        lab.run("start", "ams", "--polysite")
        assert "name" in at("ams", "table", "show", "voting/votes"), "the data is what it was before the kill"
        lab.run("freeze", "bei")
        assert state("bei") == "frozen"
        pid = next(one["services"][0]["pid"] for one in lab.json("status")["sites"] if one["name"] == "bei")
        assert Path(f"/proc/{pid}/stat").read_text().rsplit(") ")[1][0] == "T", "stopped, as the machine sees it"
        lab.run("start", "bei")
        assert state("bei") == "ready"
        assert "ana" in at("bei", "get", "voting/votes/ana")
        lab.run("skew", "bei", "-3600")
        told = lab.json("status")
        assert [site["skew_s"] for site in told["sites"]] == [0, -3600, 0]
        at("bei", "put", "voting/votes/bob", "count=1")
        before = time.time() - 3600
        stopped = [lab.folder / "sites" / site / "polysite.log" for site in ("ams", "bei")]
    ams, bei = ((_last_moment(path)) for path in stopped)
    assert abs(bei - before) < 60 < abs(ams - before)


def _last_moment(log: Path) -> float:
    """When a process says that it stopped, in seconds since 1970, by its own clock."""
    events = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert events[-1]["event"] == "stopped"
    return dt.datetime.fromisoformat(events[-1]["at"]).timestamp()


@pytest.mark.slow
def test_a_lab_on_loopback(tmp_path: Path) -> None:
    """Goal: without the means for networks there is a lab all the same, which says what it cannot, and ends with its keeper.
    Method: `--loopback`; a cut; SIGKILL of the keeper while a site's process runs."""
    lab = Lab(tmp_path / "lab")
    said = lab.run("up", "--loopback", "--sites", "ams,bei")
    assert "on loopback" in said.out
    refused = lab.run("cut", "ams", fine=False)
    assert (refused.code, "networks of their own" in refused.error) == (10, True)
    assert "voting" in lab.run("exec", "bei", "--", "polysite", "keyspace", "create", "voting").out
    pid = lab.json("status")["sites"][0]["services"][0]["pid"]
    watched = os.pidfd_open(pid)
    os.kill(lab.control.keeper_pid(), signal.SIGKILL)
    wait_for_end(watched)
    assert lab.run("status", fine=False).code == 10
