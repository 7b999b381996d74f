"""What the commands of a running lab order its keeper to do.

Method: a control that keeps the orders instead of sending them; commands as people type them.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from polysite.cli import commands, exits
from polysite.lab import control, orders
from polysite.lab.state import Mode, Plan, State
from polysite.lab.topology import plan as plan_topology


class KeptOrders:
    """Stands for the control of a lab of three sites on Cassandra."""

    mode: Mode = "network"
    kept: list[tuple[str, orders.AnyOrder]]

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def state(self) -> State:
        topology = plan_topology(lab="abc")
        return State(plan=Plan(lab="abc", mode=self.mode, why_loopback="root", topology=topology, store="cassandra"))

    def order(self, order: orders.AnyOrder, *, answer_s: float = 0.0) -> Any:
        self.kept.append((str(self.folder), order))
        return []


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, orders.AnyOrder]]:
    KeptOrders.kept = []
    monkeypatch.setattr(KeptOrders, "mode", "network")
    monkeypatch.setattr(control, "Control", KeptOrders)
    return KeptOrders.kept


def ended(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        commands.run(["lab", *arguments])
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.mark.parametrize(
    ("line", "order"),
    [
        ("cut ams", orders.Cut(sites=("ams",))),
        ("cut ams bei", orders.Cut(sites=("ams", "bei"))),
        ("cut --one-way ams bei", orders.Cut(sites=("ams", "bei"), one_way=True)),
        ("heal", orders.Heal()),
        ("heal ams", orders.Heal(sites=("ams",))),
        ("loss 12.5 ams bei", orders.Loss(share=0.125, sites=("ams", "bei"))),
        ("reorder 50", orders.Reorder(share=0.5)),
        ("freeze ams", orders.Freeze(site="ams")),
        ("freeze ams --polysite", orders.Freeze(site="ams", services=("polysite",))),
        ("kill ams --engine", orders.Kill(site="ams", services=("engine",))),
        ("kill ams --engine --polysite", orders.Kill(site="ams", services=("engine", "polysite"))),
        ("start ams", orders.Start(site="ams")),
        ("skew ams -3600", orders.Skew(site="ams", ahead_s=-3600)),
        ("skew ams 0.5", orders.Skew(site="ams", ahead_s=0.5)),
    ],
)
def test_lines_and_their_orders(kept: list[tuple[str, orders.AnyOrder]], line: str, order: orders.AnyOrder) -> None:
    """Goal: each command means the order it says, in the folder it is told; negative numbers are no options."""
    assert ended(*line.split(), "--dir", "there") == exits.DONE
    assert kept == [("there", order)]
    decoded = msgspec.json.decode(msgspec.json.encode(order), type=orders.AnyOrder)
    assert decoded == order, "the keeper reads what was meant"


def test_programs_are_told_as_json(kept: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Goal: `--json` is one JSON text for every fault. Method: one that is done."""
    assert ended("cut", "ams", "--json") == exits.DONE
    assert json.loads(capsys.readouterr().out) == {"outcome": "done"}


@pytest.mark.parametrize(
    "line", ["cut", "cut ams bei irv irv2 --one-way=1", "loss 101", "loss -1", "skew ams", "exec ams", "distance"]
)
def test_malformed_lines_order_nothing(kept: list[Any], line: str) -> None:
    """Goal: a line that lacks something, or says too much, is a usage error before anything is sent."""
    assert ended(*line.split()) == exits.USAGE
    assert kept == []


def test_faults_that_a_lab_on_loopback_has_not(
    kept: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Goal: what is not available is refused with what is missing for it, and what is available goes on. Method: a lab that is on
    loopback for want of root."""
    monkeypatch.setattr(KeptOrders, "mode", "loopback")
    for line in ("cut ams", "loss 5", "reorder 5"):
        assert ended(*line.split()) == exits.REFUSED
        assert "missing here: root" in capsys.readouterr().err
    assert kept == []
    assert ended("freeze", "ams") == exits.DONE


def test_no_lab_is_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Goal: without a lab every command says where it looked and how to start one; `down` is done already. Method: an empty
    folder, which stays empty."""
    for line in ("status", "rtt", "cut ams", "exec ams -- true"):
        verb, *rest = line.split()
        assert ended(verb, "--dir", str(tmp_path), *rest) == exits.REFUSED
        assert "polysite lab up" in capsys.readouterr().err
    assert ended("down", "--dir", str(tmp_path)) == exits.DONE
    assert ended("logs", "--dir", str(tmp_path)) == exits.REFUSED
    assert list(tmp_path.iterdir()) == []
