"""The picture of a history, as it is printed."""

from polysite.testing.judging.timeline import WIDTH, Strike, timeline
from tests.support.scripts import Script


def drawn(script: Script, **options: object) -> list[str]:
    return list(timeline(script.history, **options))  # type: ignore[arg-type]


def test_a_picture() -> None:
    """Goal: where, when, what was asked, what came of it, what is not known, what went wrong, which call is meant. Method: two sites; calls
    one beside another, one without an answer, one that never ended, and a fault."""
    script = Script()
    script.acquire(7, site="ams", start_s=1.0, end_s=1.25)
    script.write(
        7, ["put", "r1", {"a": "x"}], site="ams", start_s=2.0, end_s=4.0, outcome="unknown", code="outcome_unknown"
    )
    script.read(8, {"a": "x"}, row="r1", site="bei", start_s=3.0, end_s=5.0)
    script.section(None, {"a": "y"}, site="bei", start_s=3.5, end_s=None)
    script.read(8, None, row="r2", site="bei", start_s=5.0, end_s=5.0)
    lines = drawn(
        script, sites=("ams", "bei"), strikes=[Strike(0.5, 4.5, "site cut off bei")], named={"c3"}, origin_s=0.5
    )
    assert [line.rstrip() for line in lines] == [
        "  seconds ams                                           bei                                           what went wrong",
        "    0.000                                                                                             ┌ site cut off bei",
        "    0.500 ─ acquire → done #7, 250 ms                                                                 │",
        "    1.500 ┌ write #7 r1 {a: x}                                                                        │",
        "    2.500 │                                             ┌ *read #8 r1                                 │",
        "    3.000 │                                             │┌ section {a: y}                             │",
        "    3.500 └ ? unknown outcome_unknown                   ││                                            │",
        "    4.000                                               ││                                            └",
        "    4.500                                               └│*done {a: x}",
        "    4.500                                               ─│ read #8 r2 → done no row, 0 ms",
        "    4.500                                                ┴ ? never answered",
        "* named by the finding   ? may have happened, or may yet   #7 under ticket 7",
    ]


def test_no_line_is_too_long() -> None:
    """Goal: it fits a page, with all that was asked. Method: five sites, long values, overlapping calls, many faults."""
    script = Script()
    for number in range(30):
        site = f"site-{number % 5}"
        value = {f"column-{column}": f"{site}/a-long-value-{number}" for column in range(3)}
        script.put(number + 1, value, row=f"row-{number}", site=site, start_s=number, end_s=number + 12.0)
    strikes = [Strike(number, number + 9.0, f"messages doubled {number} %") for number in range(20)]
    lines = drawn(script, strikes=strikes)
    assert max(map(len, lines)) <= WIDTH
    assert "".join(line[10:].replace(" ", "").replace("│", "") for line in lines).count("a-long-value") >= 1
    assert sum("done" in line for line in lines) == 30


def test_the_words() -> None:
    """Goal: each verb of the histories is told in few words. Method: one of each."""
    script = Script()
    script.write(1, ["delete", ""]).write(1, ["range", None, "r3"], ["put", "r1", {"a": None}]).range(
        1, [["r1", {"a": "x"}]], "r0"
    )
    script.section(3, {"a": "1"}, read={"a": "0"}).promote(1).call("release", 1, outcome="refused", code="lock_lost")
    script.acquire(4, value={"read": None}).call("queue", value=[1, 2])
    texts = [line[10:] for line in drawn(script)[1:-1]]
    assert texts == [
        "─ write #1 delete the row → done, 500 ms",
        "─ write #1 delete ..r3, r1 {a: null} → done, 500 ms",
        "─ range #1 r0.. → done r1 {a: x}, 500 ms",
        "─ section {a: 1} → done #3 had {a: 0}, 500 ms",
        "─ promote #1 → done, 500 ms",
        "─ release #1 → refused lock_lost, 500 ms",
        "─ acquire → done #4 no row, 500 ms",
        "─ queue → done [1, 2], 500 ms",
    ]


def test_calls_of_several_keys_say_which() -> None:
    """Where more than one key is in the picture, each call tells its own."""
    script = Script().acquire(1).acquire(2, key=["wide", "y"])
    told = [line[10:] for line in drawn(script)[1:-1]]
    assert told == ["─ acquire of t → done #1, 500 ms", "─ acquire of wide/y → done #2, 500 ms"]


def test_a_fault_that_is_over_before_anything_happens() -> None:
    """How long it lasted is told where it has one row; what is done at once lasts for no time."""
    script = Script().acquire(1, site="ams", start_s=9.0, end_s=9.5)
    strikes = [Strike(1.0, 3.5, "site cut off bei"), Strike(4.0, None, "clock steps bei")]
    lines = drawn(script, sites=("ams",), strikes=strikes)
    told = [line.split("─ ")[1] for line in lines if "─ " in line]
    assert told == ["site cut off bei for", "clock steps bei", "acquire → done #1, 500 ms"]
    assert lines[2].strip() == "2.5 s", "the text goes on in the next line"
