"""The history of a run: one line of JSON per client call, for a judge to read, now or later.

A client writes down what it asked before it asks, and what came of it once it knows:

    recorder = Recorder(sink, site="east", process="voter-1", now_s=clock.monotonic_s)
    with recorder.begin(client="task-7", verb="put", key=["voting", "count", "ada"], argument={"votes": 3}) as call:
        await table.put("ada", {"votes": 3}, level="critical", reference=reference)

The file is NDJSON. A call that has begun is a line without `end_s`, flushed before anything is sent; when it ends, a second
line with the same `call_id` tells the whole call again, with the outcome, and takes the place of the first. So a client that
is killed leaves a file that can be judged: whatever may have reached the service is in it, and what has no last word counts
as unknown. `History` reads that, and `History.encode` writes it with exactly one line per call.

`start_s` and `end_s` are seconds on one clock that all writers share whose calls are compared: a loop's virtual time in
simulation, the machine's monotonic clock for processes of one machine. A judge takes from them which call ended before which
began, so `start_s` is read before anything is sent and `end_s` after the answer is in hand.

A lock reference is written as its lock key and ticket, never with its secret.
"""

import base64
import itertools
import math
from asyncio import CancelledError
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec

from polysite.errors import BadRequest, Outcome, PolysiteError
from polysite.values.keys import Reference, ReferenceSet, parse_reference

FORMAT = 1


class HistoryBroken(ValueError):
    """The text is no history: a line inside it is damaged, of another format, or contradicts another line."""


class Sink(Protocol):
    """Where a recorder writes: a text file opened to append (`encoding="utf-8"`), or an `io.StringIO`."""

    def write(self, text: str, /) -> Any: ...

    def flush(self) -> Any: ...

    def tell(self) -> int: ...


class ReferenceMark(msgspec.Struct, frozen=True, array_like=True):
    """What a history keeps of one lock reference.

    `columns` are the serialised lock columns, each in base64, in the order of the table's lock columns.
    """

    keyspace: str
    table: str
    columns: tuple[str, ...]
    ticket: int


class Call(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="format", tag=FORMAT):
    """One call of one client, as one line of a history.

    * `call_id`: unique in a history. `site`, `process`, `client`: who called; a client is one thread of control.
    * `verb`: put, get, acquire …: the name of the verb of the protocol, or a name that the drill and its judge agree on.
    * `key`: what the call is about, as JSON; calls with equal keys are judged together.
    * `argument`: what was asked, as JSON: what a put writes, what a compare expects. Known from the start, so also there
      for a call that never ended. None if the verb and the key say it all.
    * `references`: the lock references the call was made under or was given; several for a lock set.
    * `start_s`, `end_s`: see the module; `end_s` is None if the client never learnt how the call ended.
    * `outcome`: done (it happened), refused (it did not, and never will), unknown (it may have, or may yet).
    * `value`: what was answered, as JSON. `code`: the error code of an outcome that is not done.
    * `round_trips`: wide-area round trips waited for, as the answer says; None if it does not say.
    """

    call_id: str
    site: str
    process: str
    client: str
    verb: str
    key: Any
    start_s: float
    outcome: Outcome
    references: tuple[ReferenceMark, ...] = ()
    argument: Any = None
    end_s: float | None = None
    value: Any = None
    code: str | None = None
    round_trips: int | None = None

    @property
    def ended(self) -> bool:
        """False for a call whose client was killed, or the history cut off, before it returned."""
        return self.end_s is not None

    @property
    def effect_s_max(self) -> float:
        """The latest moment at which the call may take effect: its end if that told the outcome, else infinity."""
        return math.inf if self.outcome == "unknown" or self.end_s is None else self.end_s


class Recorder:
    """Writes the calls of one process.

    With a `sink` every line is written whole and flushed before `begin` or `end` returns. A sink that already has content (a
    process that was killed and started again goes on with its file) is first given an empty line, which closes a line that
    may have been torn. Without a sink the calls are kept in memory, and `history()` gives them.

    `process` must differ between recorders whose files are read together; a process that goes on with its own file keeps its
    name. A recorder is for one thread.
    """

    def __init__(self, sink: Sink | None = None, *, site: str, process: str, now_s: Callable[[], float]) -> None:
        self.site = site
        self.process = process
        self._sink = sink
        self._now_s = now_s
        self._numbers = itertools.count(1)
        self._calls: dict[str, Call] = {}
        self._id_prefix = process
        written = _position(sink)
        if sink is not None and written:
            # A line that was torn here ends at the first of the two; the second marks for the reader that it may be torn.
            sink.write("\n\n")
            self._id_prefix = f"{process}@{written}"

    def begin(
        self,
        *,
        client: str,
        verb: str,
        key: object,
        argument: object = None,
        reference: "str | Reference | ReferenceSet | None" = None,
    ) -> "OpenCall":
        """Write down that the call is about to be made; make it only after this has returned.

        `key` and `argument` are JSON values: None, booleans, integers of 64 bits, finite floats, text, lists (tuples become
        lists) and mappings with text keys. `TypeError` or `ValueError` tells what is none, or is the text of a lock reference,
        whose secret must not be written down; nothing is recorded then. `reference` is the lock reference of a call under a
        lock: as an object or as text, for its key and ticket.
        """
        call = Call(
            call_id=f"{self._id_prefix}-{next(self._numbers)}",
            site=self.site,
            process=self.process,
            client=client,
            verb=verb,
            key=_plain(key),
            argument=_plain(argument),
            references=_marks(reference),
            start_s=self._now_s(),
            outcome="unknown",
        )
        self._write(call)
        return OpenCall(self, call)

    def history(self) -> "History":
        """What was recorded so far; only for a recorder without a sink."""
        if self._sink is not None:
            raise RuntimeError("the calls went to the sink; read them from there")
        return History(self._calls.values())

    def _end(self, call: Call, **last_word: Any) -> Call:
        call = msgspec.structs.replace(call, end_s=self._now_s(), **last_word)
        self._write(call)
        return call

    def _write(self, call: Call) -> None:
        line = msgspec.json.encode(call).decode() + "\n"
        if self._sink is None:
            self._calls[call.call_id] = call
            return
        self._sink.write(line)
        self._sink.flush()


class OpenCall:
    """A call under way, as `Recorder.begin` returns it: `end` it once, or use it as a context manager.

    As a context manager it ends the call by what the body does: done if it returns, the error's own outcome and code for an
    error of polysite, unknown for any other error or a cancellation (something may have been sent). What the process does not
    live to see stays without an end. A call that the body has ended itself is left as it is.
    """

    def __init__(self, recorder: Recorder, call: Call) -> None:
        self._recorder = recorder
        self._call = call
        self._answer: dict[str, Any] = {}

    @property
    def call(self) -> Call:
        """The call as it is written down so far."""
        return self._call

    @property
    def ended(self) -> bool:
        return self._call.ended

    def answer(
        self,
        value: object = None,
        *,
        reference: "str | Reference | ReferenceSet | None" = None,
        round_trips: int | None = None,
    ) -> None:
        """Remember what the call answered, for the end that the context manager will write."""
        self._answer = self._checked(value, reference, round_trips)

    def end(
        self,
        outcome: Outcome,
        *,
        value: object = None,
        code: str | None = None,
        reference: "str | Reference | ReferenceSet | None" = None,
        round_trips: int | None = None,
    ) -> Call:
        """Write the last word about the call and return it whole. `reference` is one that was answered (as by an acquire).

        Raises `RuntimeError` if the call has ended already, and what `Recorder.begin` raises for a value that is no JSON; the
        call then has no end and counts as unknown.
        """
        if self.ended:
            raise RuntimeError(f"the call {self._call.call_id} has ended already")
        answer = self._checked(value, reference, round_trips)
        self._call = self._recorder._end(self._call, outcome=outcome, code=code, **answer)  # noqa: SLF001
        return self._call

    def _checked(self, value: object, reference: Any, round_trips: int | None) -> dict[str, Any]:
        references = self._call.references if reference is None else _marks(reference)
        return {"value": _plain(value), "references": references, "round_trips": round_trips}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.ended:
            return
        if error is None:
            outcome: Outcome = "done"
            code = None
        elif isinstance(error, PolysiteError):
            outcome, code = error.outcome, error.code
        elif isinstance(error, Exception | CancelledError):
            outcome, code = "unknown", None
        else:
            return  # the process is on its way out
        self._call = self._recorder._end(self._call, outcome=outcome, code=code, **self._answer)  # noqa: SLF001


class History:
    """Calls in the order in which they began (calls that began together: in the order of the file).

    `torn` counts the lines that a killed writer left unfinished. Such a line was never acted upon: a torn beginning means that
    nothing had been sent yet, a torn end leaves the call unknown.
    """

    def __init__(self, calls: Iterable[Call], *, torn: int = 0) -> None:
        """Raises `HistoryBroken` if two calls have one `call_id`, or a call contradicts itself."""
        self.calls: tuple[Call, ...] = tuple(sorted(calls, key=lambda call: call.start_s))
        self.torn = torn
        self._by_key: dict[bytes, list[Call]] = {}
        seen: set[str] = set()
        for call in self.calls:
            if call.call_id in seen:
                raise HistoryBroken(f"two calls have the call_id {call.call_id!r}")
            seen.add(call.call_id)
            _check(call)
            self._by_key.setdefault(_key_bytes(call.key), []).append(call)

    @classmethod
    def parse(cls, *texts: bytes | str) -> "History":
        """The history that the contents of one or more files make together.

        The last line of a file, and a line before an empty line (where a writer went on with a file), may be torn: it is
        left out and counted. Any other line that is no line of a history raises `HistoryBroken` with its number.
        """
        calls: dict[str, Call] = {}
        torn = 0
        for text in texts:
            torn += _fold(text.encode() if isinstance(text, str) else text, calls)
        return cls(calls.values(), torn=torn)

    @classmethod
    def read(cls, *paths: Path) -> "History":
        """`parse` of the files' contents."""
        return cls.parse(*(path.read_bytes() for path in paths))

    def encode(self) -> bytes:
        """The history as NDJSON with one line per call, in its order; `parse` gives it back equal."""
        return b"".join(msgspec.json.encode(call) + b"\n" for call in self.calls)

    def __iter__(self) -> Iterator[Call]:
        return iter(self.calls)

    def __len__(self) -> int:
        return len(self.calls)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, History) and self.calls == other.calls

    __hash__ = None  # type: ignore[assignment]

    def keys(self) -> list[Any]:
        """The keys that calls are about, each once, in the order of their first call."""
        return [calls[0].key for calls in self._by_key.values()]

    def for_key(self, key: object) -> "History":
        """The calls about `key`, which is compared as JSON: lists and tuples alike, 1 and "1" and true apart."""
        return History(self._by_key.get(_key_bytes(_plain(key)), ()))

    def where(self, wanted: Callable[[Call], bool]) -> "History":
        """The calls for which `wanted` says true."""
        return History(call for call in self.calls if wanted(call))

    def pending(self) -> "History":
        """The calls that never ended: each may have happened, or may yet."""
        return self.where(lambda call: not call.ended)

    def merged(self, *others: "History") -> "History":
        """This history and `others` as one; their clocks must be one (see the module)."""
        histories = (self, *others)
        return History(
            (call for history in histories for call in history.calls), torn=sum(each.torn for each in histories)
        )


_decoder = msgspec.json.Decoder(Call)

_FIXED = ("site", "process", "client", "verb", "key", "argument", "start_s")
"""What the end of a call repeats from its beginning."""


def _fold(data: bytes, calls: dict[str, Call]) -> int:
    """Add the lines of one file to `calls`; the number of torn lines."""
    torn = 0
    lines = data.split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            call = _decoder.decode(line)
        except msgspec.ValidationError as error:
            raise HistoryBroken(f"line {number}: {error}") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if number < len(lines) and lines[number]:
                raise HistoryBroken(f"line {number}: {error}") from None
            torn += 1
            continue
        begun = calls.get(call.call_id)
        if begun is not None:
            _check_end(begun, call, number)
        calls[call.call_id] = call
    return torn


def _check_end(begun: Call, call: Call, number: int) -> None:
    if begun.ended or not call.ended:
        raise HistoryBroken(f"line {number}: the call {call.call_id!r} is told again")
    for name in _FIXED:
        if getattr(begun, name) != getattr(call, name):
            raise HistoryBroken(f"line {number}: the call {call.call_id!r} ends with another {name} than it began with")


def _check(call: Call) -> None:
    for name, moment_s in (("start_s", call.start_s), ("end_s", call.end_s)):
        if moment_s is not None and not math.isfinite(moment_s):
            raise HistoryBroken(f"the call {call.call_id!r} has the {name} {moment_s}")
    if call.end_s is None and call.outcome != "unknown":
        raise HistoryBroken(f"the call {call.call_id!r} is {call.outcome} without an end")
    if call.end_s is not None and call.end_s < call.start_s:
        raise HistoryBroken(f"the call {call.call_id!r} ends before it starts; the writer's clock went back")


def _key_bytes(key: Any) -> bytes:
    return msgspec.json.encode(key, order="deterministic")


def _marks(reference: "str | Reference | ReferenceSet | None") -> tuple[ReferenceMark, ...]:
    if reference is None:
        return ()
    if isinstance(reference, str):
        reference = parse_reference(reference)
    members = reference.references if isinstance(reference, ReferenceSet) else (reference,)
    return tuple(
        ReferenceMark(
            keyspace=member.key.keyspace,
            table=member.key.table,
            columns=tuple(base64.b64encode(column).decode() for column in member.key.columns),
            ticket=member.ticket,
        )
        for member in members
    )


def _plain(value: object) -> Any:
    """A copy of the JSON value that `value` is, with which the caller's later changes do not interfere."""
    match value:
        case None | bool():
            return value
        case str():
            _refuse_reference(value)
            return value
        case int():
            if not -(2**63) <= value < 2**64:
                raise ValueError(f"an integer of {value.bit_length()} bits is no JSON value here; write it as text")
            return value
        case float():
            if not math.isfinite(value):
                raise ValueError(f"{value} is no JSON value; write it as text")
            return value
        case list() | tuple():
            return [_plain(member) for member in value]
        case Mapping():
            if not all(isinstance(name, str) for name in value):
                raise TypeError("the keys of a JSON object are text")
            return {_plain(name): _plain(member) for name, member in value.items()}
    raise TypeError(f"a {type(value).__qualname__} is no JSON value")


def _refuse_reference(text: str) -> None:
    if not text.startswith(("1.", "2.")):
        return
    try:
        parse_reference(text)
    except BadRequest:
        return
    raise ValueError("the text is a lock reference; its secret must not be written down: pass it as `reference`")


def _position(sink: Sink | None) -> int:
    """How much is in the sink already; 0 for a sink that cannot say (a pipe)."""
    if sink is None:
        return 0
    try:
        return sink.tell()
    except (OSError, ValueError):
        return 0
