"""A history as a picture: a column per site, time downwards, what went wrong beside it.

    for line in timeline(history, strikes=strikes, named={"ams-12"}):
        print(line)

A call is a line from where it began, with what was asked, to where it ended, with what came of it; one that nothing else happened
beside is told in one row. `*` marks the calls that are named, `?` what is not known. Decisions only.
"""

import textwrap
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from polysite.testing.history import Call, History
from polysite.testing.judging.call_words import UNKNOWN, answered, asked

WIDTH = 128
"""Columns of a line, at most."""

STRIKES_WIDTH = 25
TIME_WIDTH = 10
COLUMN_WIDTH_MIN = 12
NAMED = "*"


class Strike(NamedTuple):
    """Something that was done to the sites, on the history's clock. `end_s` None: it is done at once."""

    start_s: float
    end_s: float | None
    about: str


class _Bar(NamedTuple):
    """What is drawn in one column: texts at its two ends."""

    column: int
    start_s: float
    end_s: float | None
    at_start: str
    at_end: str
    mark: str
    open_ended: bool


class _Row(NamedTuple):
    """Something that begins, ends, or both."""

    moment_s: float
    bar: _Bar
    begins: bool
    ends: bool


def timeline(
    history: History,
    *,
    sites: Sequence[str] = (),
    strikes: Sequence[Strike] = (),
    named: Collection[str] = (),
    origin_s: float = 0.0,
) -> Iterator[str]:
    """The lines, none longer than `WIDTH`. `sites`: the columns, those of the calls if none are given; `named`: `call_id`s to mark;
    `origin_s`: what the history's clock showed when the picture's is at zero."""
    last_s = max((call.end_s or call.start_s for call in history), default=0.0)
    columns = list(sites) or sorted({call.site for call in history})
    keys = history.keys()
    bars = [_call_bar(call, columns.index(call.site), named, tell_key=len(keys) > 1) for call in history]
    bars += [_strike_bar(strike, len(columns)) for strike in strikes if strike.start_s <= last_s]
    widths = _widths(len(columns), bool(strikes))
    drawing = _Drawing(bars, widths, origin_s)
    titles = [*columns, *(["what went wrong"] if strikes else [])]
    yield _line(
        "seconds".rjust(TIME_WIDTH - 1),
        [title[:width].ljust(width) for title, width in zip(titles, widths, strict=True)],
    )
    yield from drawing.lines()
    legend = [
        f"{NAMED} named by the finding" if named else "",
        f"{UNKNOWN} may have happened, or may yet",
        "#7 under ticket 7",
    ]
    yield "   ".join(filter(None, legend))


def _call_bar(call: Call, column: int, named: Collection[str], *, tell_key: bool) -> _Bar:
    about = f" of {'/'.join(map(str, call.key)) if isinstance(call.key, list) else call.key}" if tell_key else ""
    mark = NAMED if call.call_id in named else ""
    return _Bar(column, call.start_s, call.end_s, asked(call) + about, answered(call), mark, call.end_s is None)


def _strike_bar(strike: Strike, column: int) -> _Bar:
    end_s = strike.start_s if strike.end_s is None else strike.end_s
    return _Bar(column, strike.start_s, end_s, strike.about, "", "", open_ended=False)


def _widths(sites: int, has_strikes: bool) -> list[int]:
    """Of each column, without the space before it."""
    beside = [STRIKES_WIDTH] if has_strikes else []
    left = WIDTH - TIME_WIDTH - sum(width + 1 for width in beside)
    return [max(COLUMN_WIDTH_MIN, left // max(sites, 1) - 1)] * sites + beside


class _Drawing:
    """Bars in lanes: two that overlap in one column stand beside each other."""

    def __init__(self, bars: Sequence[_Bar], widths: Sequence[int], origin_s: float) -> None:
        self._widths = widths
        self._origin_s = origin_s
        self._rows = _rows(bars)
        self._lanes: dict[int, int] = {}
        """Identity of a bar → its lane."""
        self._counts = [1] * len(widths)
        self._assign_lanes()
        self._open: list[list[str]] = [[" "] * count for count in self._counts]

    def lines(self) -> Iterator[str]:
        for row in self._rows:
            yield from self._drawn(row)

    def _assign_lanes(self) -> None:
        taken: list[list[bool]] = [[] for _ in self._widths]
        for row in self._rows:
            lanes = taken[row.bar.column]
            if row.begins:
                if all(lanes):
                    lanes.append(False)
                self._lanes[id(row.bar)] = lanes.index(False)
                lanes[lanes.index(False)] = True
            if row.ends:
                lanes[self._lanes[id(row.bar)]] = False
        self._counts = [max(1, len(lanes)) for lanes in taken]

    def _drawn(self, row: _Row) -> Iterator[str]:
        """The line of the row, and those that its text goes on in."""
        bar, lanes, lane = row.bar, self._open[row.bar.column], self._lanes[id(row.bar)]
        room = max(6, self._widths[bar.column] - len(lanes) - 2)
        texts = textwrap.wrap(_text(row), room, break_long_words=True) or [""]
        for number, text in enumerate(texts):
            first = number == 0
            shown = list(lanes)
            if first:
                shown[lane] = ("─" if row.ends else "┌") if row.begins else ("┴" if bar.open_ended else "└")
            else:
                shown[lane] = " " if row.ends else "│"
            cells = [
                "".join(open_lanes).ljust(width) for open_lanes, width in zip(self._open, self._widths, strict=True)
            ]
            cells[bar.column] = f"{''.join(shown)}{bar.mark if first and bar.mark else ' '}{text}".ljust(
                self._widths[bar.column]
            )
            moment = f"{row.moment_s - self._origin_s:{TIME_WIDTH - 1}.3f}" if first else " " * (TIME_WIDTH - 1)
            yield _line(moment, cells)
        lanes[lane] = " " if row.ends else "│"


def _rows(bars: Sequence[_Bar]) -> list[_Row]:
    """In the order of time; at one moment what ends stands before what begins. A bar beside which nothing happens has one row."""
    last_s = max((bar.end_s if bar.end_s is not None else bar.start_s for bar in bars), default=0.0)
    ends: list[tuple[float, int, int, _Bar]] = []
    for number, bar in enumerate(bars):
        end_s = last_s if bar.end_s is None else bar.end_s
        ends.append((bar.start_s, 1, number, bar))
        ends.append((end_s, 3 if bar.end_s is None else 2 if end_s == bar.start_s else 0, number, bar))
    ends.sort(key=lambda end: end[:3])
    found: list[_Row] = []
    for moment_s, phase, _, bar in ends:
        if phase == 1:
            found.append(_Row(moment_s, bar, begins=True, ends=False))
        elif found and found[-1].bar is bar and found[-1].begins and bar.end_s is not None:
            found[-1] = found[-1]._replace(ends=True)
        else:
            found.append(_Row(moment_s, bar, begins=False, ends=True))
    return found


def _text(row: _Row) -> str:
    bar = row.bar
    if not (row.begins and row.ends):
        return bar.at_start if row.begins else bar.at_end
    took_s = (bar.end_s or 0.0) - bar.start_s
    if not bar.at_end:
        return f"{bar.at_start} for {took_s:.1f} s" if took_s else bar.at_start
    return f"{bar.at_start} → {bar.at_end}, {took_s * 1000:.0f} ms"


def _line(moment: str, cells: Sequence[str]) -> str:
    return f"{moment} {' '.join(cells)}"[:WIDTH].rstrip()


__all__ = ["WIDTH", "Strike", "timeline"]
