"""A history survives its writer: what was asked is on file before it is sent, torn lines are told from damage."""

import asyncio
import base64
import contextlib
import io
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polysite.errors import LockLost, OutcomeUnknown
from polysite.testing.history import Call, History, HistoryBroken, Recorder, ReferenceMark
from polysite.testing.loop import current_loop, run, seeded
from polysite.values.keys import LockKey, Reference, ReferenceSet
from tests.support.source import ROOT

SECRET = bytes(range(200, 216))
REFERENCE = Reference(LockKey("voting", "count", (b"ada", b"\x00\x07")), 5, SECRET)
MARK = ReferenceMark("voting", "count", (base64.b64encode(b"ada").decode(), base64.b64encode(b"\x00\x07").decode()), 5)


class Ticks:
    """A clock that shows 1.0, 2.0, 3.0 …"""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 1.0
        return self.now_s


def make_recorder(sink: io.StringIO | None = None, *, process: str = "p1") -> Recorder:
    return Recorder(sink, site="east", process=process, now_s=Ticks())


def make_call(**overrides: Any) -> Call:
    given: dict[str, Any] = {
        "call_id": "p1-1", "site": "east", "process": "p1", "client": "c", "verb": "get", "key": "k",
        "start_s": 1.0, "end_s": 2.0, "outcome": "done",
    }  # fmt: skip
    return Call(**{**given, **overrides})


def recorded() -> tuple[str, History]:
    """A file of three calls, one of them never ended, with text that UTF-8 writes in several bytes."""
    sink = io.StringIO()
    recorder = make_recorder(sink)
    put = recorder.begin(client="a", verb="put", key=["k", 1], argument={"täxt": "日本 🗳"}, reference=REFERENCE)
    get = recorder.begin(client="b", verb="get", key=["k", 1])
    put.end("done", round_trips=1)
    get.end("unknown", code="outcome_unknown")
    recorder.begin(client="a", verb="put", key=["k", 2], argument={"täxt": "nie\u2028beendet"})
    return sink.getvalue(), History.parse(sink.getvalue())


# -- writing ---------------------------------------------------------------------------------------------------------


def test_a_call_is_on_file_before_it_is_sent() -> None:
    """When `begin` returns, what is asked is flushed to the sink; when `end` returns, one line tells the whole call."""
    flushed: list[str] = []

    class Flushing(io.StringIO):
        def flush(self) -> None:
            flushed.append(self.getvalue())

    recorder = make_recorder(Flushing())
    call = recorder.begin(client="c", verb="put", key="k", argument={"votes": 3}, reference=REFERENCE)
    (begun,) = History.parse(flushed[-1])
    assert begun == make_call(
        verb="put", argument={"votes": 3}, references=(MARK,), end_s=None, outcome="unknown"
    )  # fmt: skip
    whole = call.end("done", value={"stamp": 9}, round_trips=2)
    assert flushed[-1].count("\n") == 2
    (ended,) = History.parse(flushed[-1].splitlines()[1])
    assert ended == whole == make_call(
        verb="put", argument={"votes": 3}, references=(MARK,), value={"stamp": 9}, round_trips=2
    )  # fmt: skip


def test_the_line_is_as_documented() -> None:
    """The bytes on file are the format that other programs read: pinned, so that a change of format is a decision."""
    sink = io.StringIO()
    make_recorder(sink).begin(client="c", verb="put", key=["k"], argument=1, reference=REFERENCE).end(
        "refused", code="lock_lost", round_trips=0
    )
    begun, ended = sink.getvalue().splitlines()
    who = '{"format":1,"call_id":"p1-1","site":"east","process":"p1","client":"c","verb":"put","key":["k"]'
    mark = '"references":[["voting","count",["YWRh","AAc="],5]],"argument":1'
    assert begun == f'{who},"start_s":1.0,"outcome":"unknown",{mark}}}'
    assert ended == (f'{who},"start_s":1.0,"outcome":"refused",{mark},"end_s":2.0,"code":"lock_lost","round_trips":0}}')


def test_secrets_are_never_written() -> None:
    """Of a reference, given as object, text or set, only key and ticket are written; its text in a value is refused."""
    sink = io.StringIO()
    recorder = make_recorder(sink)
    both = ReferenceSet((REFERENCE, REFERENCE._replace(ticket=6)))
    recorder.begin(client="c", verb="put", key="k", reference=str(REFERENCE)).end("done")
    recorder.begin(client="c", verb="acquire", key="k").end("done", reference=both)
    with recorder.begin(client="c", verb="acquire", key="k") as call:
        call.answer(True, reference=str(both), round_trips=3)
    written = sink.getvalue()
    for form in (SECRET.hex(), base64.b64encode(SECRET).decode()[:20], base64.urlsafe_b64encode(SECRET).decode()[:20]):
        assert form not in written
    assert [call.references for call in History.parse(written)] == [
        (MARK,),
        (MARK, ReferenceMark(MARK.keyspace, MARK.table, MARK.columns, 6)),
        (MARK, ReferenceMark(MARK.keyspace, MARK.table, MARK.columns, 6)),
    ]
    for hidden in (str(REFERENCE), [str(both)], {"a": {"b": str(REFERENCE)}}, {str(REFERENCE): 1}):
        with pytest.raises(ValueError, match="is a lock reference"):
            recorder.begin(client="c", verb="put", key="k", argument=hidden)
        with pytest.raises(ValueError, match="is a lock reference"):
            recorder.begin(client="c", verb="put", key=hidden)
        with pytest.raises(ValueError, match="is a lock reference"):
            recorder.begin(client="c", verb="get", key="k").end("done", value=hidden)
    for thing in (REFERENCE, both, [REFERENCE]):
        with pytest.raises(TypeError):
            recorder.begin(client="c", verb="put", key="k", argument=thing)
    assert "1.2.3" in recorder.begin(client="c", verb="put", key="k", argument="1.2.3").end("done").argument


@pytest.mark.parametrize(
    "nonsense", [b"bytes", float("nan"), float("inf"), 2**64, {1: 2}, {"a": {3}}, object(), "\ud800", [(b"",)]]
)
def test_what_is_no_json_is_refused_and_not_written(nonsense: object) -> None:
    """A value that would change on its way through the file is refused before anything is recorded."""
    sink = io.StringIO()
    with pytest.raises((TypeError, ValueError)):
        make_recorder(sink).begin(client="c", verb="put", key="k", argument=nonsense)
    assert sink.getvalue() == ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(key=JSON, argument=JSON, value=JSON)
def test_any_json_comes_back_equal(key: object, argument: object, value: object) -> None:
    """Every JSON value of key, argument and value is read back as it was, from the file and from its one-line form."""
    sink, memory = io.StringIO(), make_recorder()
    for recorder in (make_recorder(sink), memory):
        recorder.begin(client="c", verb="put", key=key, argument=argument).end("done", value=value)
    history = History.parse(sink.getvalue())
    assert [(call.key, call.argument, call.value) for call in history] == [(key, argument, value)]
    assert history == memory.history() == History.parse(history.encode())
    assert history.encode().count(b"\n") == 1
    assert len(history.for_key(key)) == 1


def test_later_changes_of_a_value_do_not_reach_the_history() -> None:
    """A list or dict that the caller goes on to change is recorded as it was."""
    recorder = make_recorder()
    votes: dict[str, Any] = {"ada": [1]}
    call = recorder.begin(client="c", verb="put", key="k", argument=votes)
    votes["ada"].append(2)
    call.end("done", value=votes["ada"])
    votes["ada"].append(3)
    (whole,) = recorder.history()
    assert (whole.argument, whole.value) == ({"ada": [1]}, [1, 2])


def test_a_call_ends_once() -> None:
    """The last word is the last."""
    call = make_recorder().begin(client="c", verb="get", key="k")
    call.end("done")
    with pytest.raises(RuntimeError, match="ended already"):
        call.end("unknown")


@pytest.mark.parametrize(
    ("error", "outcome", "code"),
    [
        (None, "done", None),
        (LockLost(), "refused", "lock_lost"),
        (OutcomeUnknown(), "unknown", "outcome_unknown"),
        (ConnectionResetError(), "unknown", None),
        (asyncio.CancelledError(), "unknown", None),
    ],
)
def test_the_body_tells_the_outcome(error: BaseException | None, outcome: str, code: str | None) -> None:
    """As a context manager a call ends as its body does; an error that says nothing of the outcome leaves it unknown."""
    recorder = make_recorder()

    def body() -> None:
        with recorder.begin(client="c", verb="put", key="k") as call:
            call.answer(7, round_trips=1)
            if error is not None:
                raise error

    if error is None:
        body()
    else:
        with pytest.raises(type(error)):
            body()
    (call,) = recorder.history()
    assert (call.outcome, call.code, call.ended, call.round_trips) == (outcome, code, True, 1)


def test_a_body_may_end_the_call_itself_and_an_exit_leaves_it_open() -> None:
    """An end inside the body stands, and a process on its way out says nothing."""
    recorder = make_recorder()
    with contextlib.suppress(LockLost), recorder.begin(client="c", verb="put", key="k") as call:
        call.end("done")
        raise LockLost
    with pytest.raises(SystemExit), recorder.begin(client="c", verb="put", key="k"):
        raise SystemExit
    assert [(call.outcome, call.ended) for call in recorder.history()] == [("done", True), ("unknown", False)]


@seeded
async def test_virtual_time_orders_a_history() -> None:
    """On the seeded loop all processes record by the loop's time, whatever their own clocks show."""
    recorders = [Recorder(site=site, process=site, now_s=current_loop().time) for site in ("east", "west")]

    async def call(recorder: Recorder, after_s: float) -> None:
        await asyncio.sleep(after_s)
        with recorder.begin(client="c", verb="get", key="k"):
            await asyncio.sleep(10)

    async with asyncio.TaskGroup() as group:
        group.create_task(call(recorders[0], 2))
        group.create_task(call(recorders[1], 1))
    merged = recorders[0].history().merged(recorders[1].history())
    assert [(call.site, call.start_s, call.end_s) for call in merged] == [("west", 1.0, 11.0), ("east", 2.0, 12.0)]


# -- killed writers --------------------------------------------------------------------------------------------------


def test_a_file_cut_anywhere_can_be_judged() -> None:
    """Cut after any byte, the file reads: whole lines count, a torn beginning is no call, a torn end leaves it unknown."""
    text, whole = recorded()
    data = text.encode()
    lines = data.splitlines(keepends=True)
    for cut in range(len(data) + 1):
        history = History.parse(data[:cut])
        complete = data[:cut].count(b"\n") + (data[cut : cut + 1] == b"\n")
        torn = cut > len(b"".join(lines[:complete]))
        assert history.torn == torn
        assert history == History.parse(b"".join(lines[:complete]))
        assert [call.call_id for call in history] == [call.call_id for call in whole][
            : min(complete, 2) + (complete > 4)
        ]
        assert all(call.outcome == "unknown" for call in history.pending())


def test_a_writer_that_goes_on_after_a_torn_line() -> None:
    """Started again on its file, a process appends calls with ids of their own; the torn line before is left out."""
    text, whole = recorded()
    for cut in (len(text), len(text) - 1, len(text) - 30):
        sink = io.StringIO()
        sink.write(text[:cut])
        recorder = make_recorder(sink)
        recorder.begin(client="a", verb="get", key=["k", 9]).end("done", value=4)
        history = History.parse(sink.getvalue())
        torn = cut < len(text) - 1
        assert history.torn == torn
        assert len(history) == len(whole) + 1 - torn
        assert len({call.call_id for call in history}) == len(history)
        assert history.for_key(["k", 9]).calls[0].value == 4


WRITER = """
import os, pathlib, signal, sys
from polysite.testing.history import Recorder
with open(sys.argv[1], "a", encoding="utf-8") as sink:
    recorder = Recorder(sink, site="east", process="p1", now_s=iter(range(10**6)).__next__)
    for number in range(50):
        with recorder.begin(client="c", verb="put", key="k", argument=number):
            if number == 42:
                os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_its_open_call(tmp_path: Path) -> None:
    """A process killed inside a call, twice on one file, leaves all calls it made, the open ones with what they asked."""
    path = tmp_path / "history.ndjson"
    for _ in range(2):
        command = [sys.executable, "-c", WRITER, str(path)]
        assert subprocess.run(command, cwd=ROOT, check=False, timeout=60).returncode == -9
    history = History.read(path)
    assert len(history) == 2 * 43
    assert [call.argument for call in history.pending()] == [42, 42]
    assert history.torn == 0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"format":1,"call\n{"format":1}\n', "line 1"),
        ("no json\n" + History([make_call()]).encode().decode(), "line 1"),
        ('{"format":2,"call_id":"p1-1"}\n', "line 1.*format"),
        ('{"format":1,"call_id":"p1-1"}\n', "line 1.*missing"),
        ("[1]\n", "line 1"),
    ],
)
def test_damage_is_told_from_a_torn_line(text: str, problem: str) -> None:
    """A line that is no line of a history and that no killed writer can have left is an error with its number."""
    with pytest.raises(HistoryBroken, match=problem):
        History.parse(text)


def test_contradictions_are_refused() -> None:
    """Lines that cannot both be true, and calls that contradict themselves, are no history to judge."""
    begun = make_call(end_s=None, outcome="unknown")
    contradictions: list[list[Call]] = [
        [make_call(), make_call()],
        [begun, begun],
        [make_call(), begun],
        [begun, make_call(key="other")],
        [begun, make_call(argument=1)],
        [begun, make_call(start_s=1.5)],
        [begun, make_call(client="other")],
        [make_call(end_s=None)],
        [make_call(end_s=0.5)],
    ]
    for calls in contradictions:
        with pytest.raises(HistoryBroken):
            History.parse(b"\n".join(History([call]).encode() if _alone(call) else _line(call) for call in calls))
    assert len(History.parse(_line(begun) + b"\n" + _line(make_call()))) == 1
    with pytest.raises(HistoryBroken):
        History([make_call(start_s=math.inf, end_s=None, outcome="unknown")])
    with pytest.raises(HistoryBroken, match="call_id"):
        History([make_call()]).merged(History([make_call()]))


def _alone(call: Call) -> bool:
    return call.ended and (call.end_s or 0) >= call.start_s


def _line(call: Call) -> bytes:
    recorder = io.StringIO()
    Recorder._write(make_recorder(recorder), call)
    return recorder.getvalue().strip().encode()


# -- reading ---------------------------------------------------------------------------------------------------------


def test_filters() -> None:
    """Calls are found by key, as JSON, and by any property; each result is a history again."""
    recorder = make_recorder()
    for number, key in enumerate([["t", 1], "1", 1, True, {"b": 1, "a": 2}, ["t", 1]]):
        recorder.begin(client=f"c{number}", verb="get", key=key).end("done")
    history = recorder.history()
    assert history.keys() == [["t", 1], "1", 1, True, {"b": 1, "a": 2}]
    assert [call.client for call in history.for_key(("t", 1))] == ["c0", "c5"]
    assert [call.client for call in history.for_key(1)] == ["c2"]
    assert [call.client for call in history.for_key({"a": 2, "b": 1})] == ["c4"]
    assert len(history.for_key("none")) == 0
    assert [call.client for call in history.where(lambda call: call.client == "c3")] == ["c3"]


def test_the_span_of_an_effect() -> None:
    """A done or refused call has its effect before its end; an unknown one at any time after, also if it returned."""
    assert make_call().effect_s_max == 2.0
    assert make_call(outcome="refused").effect_s_max == 2.0
    assert make_call(outcome="unknown").effect_s_max == math.inf
    assert make_call(outcome="unknown", end_s=None).effect_s_max == math.inf


def test_a_recorder_with_a_sink_keeps_nothing() -> None:
    """A long drill's recorder does not grow: what went to the sink is read from there."""
    recorder = make_recorder(io.StringIO())
    recorder.begin(client="c", verb="get", key="k").end("done")
    assert not recorder._calls
    with pytest.raises(RuntimeError, match="sink"):
        recorder.history()
    assert run(asyncio.sleep(0, "the loop is not needed for it"), seed=1)
