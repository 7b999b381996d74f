"""The command line against a real server: what it prints, what it ends with, and that a command dies with its lock.

Method: one server process for the module; commands that run others, and one of each other kind, are processes of their own.
Nothing sleeps: each wait is for an event with a limit.
"""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest

import polysite.sync
from polysite.cli import commands, exits
from tests.support.server import started_server
from tests.support.server_process import ServerProcess

DONE_S_MAX = 60
COMMAND = [sys.executable, "-m", "polysite.cli"]


class Done(NamedTuple):
    """What a command came to."""

    code: int
    stdout: str
    stderr: str


class Shell:
    """Commands against one server."""

    def __init__(self, url: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("POLYSITE_")}
        self.environment = {**kept, "POLYSITE_URL": url}
        self.url = url

    def run(self, *arguments: str, code: int = exits.DONE, process: bool = False) -> Done:
        """One command; its exit code must be `code`. `process`: as a process of its own, else inside this one, which is
        the same but for the second that Python takes to start."""
        done = (self._process if process else self._inside)(arguments)
        assert done.code == code, f"{arguments} ended with {done.code}:\n{done.stdout}\n{done.stderr}"
        return done

    def _process(self, arguments: Sequence[str]) -> Done:
        done = subprocess.run(
            [*COMMAND, *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DONE_S_MAX,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def _inside(self, arguments: Sequence[str]) -> Done:
        output, errors = io.StringIO(), io.StringIO()
        with (
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
            patch.dict(os.environ, self.environment, clear=True),
            pytest.raises(SystemExit) as end,
        ):
            commands.run(arguments)
        assert isinstance(end.value.code, int)
        return Done(end.value.code, output.getvalue(), errors.getvalue())

    def json(self, *arguments: str, code: int = exits.DONE) -> Any:
        """What the command answers to programs."""
        return json.loads(self.run(*arguments, "--json", code=code).stdout)

    @contextlib.contextmanager
    def started(self, *arguments: str) -> "Iterator[subprocess.Popen[str]]":
        """A command that runs beside the test, and not longer than it."""
        process = subprocess.Popen(
            [*COMMAND, *arguments], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        with process:
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    with started_server(tmp_path_factory.mktemp("site") / "data") as url:
        found = Shell(url)
        found.run("keyspace", "create", "voting")
        found.run("table", "create", "voting/votes", "name:text", "count:int", "note:text", "--key", "name")
        yield found


def test_tables(shell: Shell) -> None:
    """Made once, fine again, different refused; listed, shown, dropped."""
    made = (
        "table",
        "create",
        "voting/rounds",
        "name:text",
        "round:int",
        "count:int",
        "--key",
        "name",
        "--cluster",
        "round:desc",
    )
    assert shell.json(*made) == {"created": True}
    assert shell.json(*made) == {"created": False}
    shell.run("table", "create", "voting/rounds", "name:text", "--key", "name", code=exits.REFUSED)
    assert {spec["name"] for spec in shell.json("table", "ls", "voting")} >= {"votes", "rounds"}
    assert shell.json("table", "show", "voting/rounds")["clustering_key"] == [{"name": "round", "direction": "desc"}]
    assert "round\tint\tclustering key, desc" in shell.run("table", "show", "voting/rounds").stdout
    assert shell.json("table", "drop", "voting/rounds", "--yes") == {"dropped": True}
    assert [spec["name"] for spec in shell.json("keyspace", "ls")] == ["voting"]


def test_indexes(shell: Shell) -> None:
    """Goal: a table gets and loses an index without being made anew. Method: add, add again, find by it, drop, drop again."""
    shell.run("table", "create", "voting/indexed", "name:text", "city:text", "--key", "name")
    shell.run("put", "voting/indexed/a", "city=Rome")
    by_city = ("rows", "voting/indexed", "--where", "city=Rome")
    shell.run(*by_city, code=exits.REFUSED)
    assert shell.json("index", "create", "voting/indexed", "by_city=city") == {"created": True}
    assert shell.json("index", "create", "voting/indexed", "by_city=city") == {"created": False}
    assert "index by_city" in shell.run("table", "show", "voting/indexed").stdout
    assert shell.json(*by_city)["name"] == "a"
    assert shell.json("index", "drop", "voting/indexed", "by_city") == {"dropped": True}
    assert shell.json("index", "drop", "voting/indexed", "by_city") == {"dropped": False}
    shell.run("index", "create", "voting/indexed", "by_city", code=exits.USAGE)


@pytest.mark.parametrize("as_json", [(), ("--json",)])
@pytest.mark.parametrize(
    "command",
    [("lock", "preempt", "voting/votes/asked"), ("table", "drop", "voting/votes"), ("keyspace", "drop", "voting")],
)
def test_programs_are_not_asked(shell: Shell, command: tuple[str, ...], as_json: tuple[str, ...]) -> None:
    """Goal: without a terminal, or with --json, what wants a confirmation is refused before anything is sent, and says
    what to add. Method: run each such command with standard input from nowhere."""
    done = shell.run(*command, *as_json, code=exits.USAGE, process=True)
    assert "--yes" in done.stderr
    assert (done.stdout, shell.run("table", "show", "voting/votes").code) == ("", exits.DONE)


@pytest.mark.parametrize("key", ["ana", "a%2Fb", "%C3%BC%20x", "..", "50%25"])
def test_rows(shell: Shell, key: str) -> None:
    """Put, get and delete, whatever the key looks like."""
    path = f"voting/votes/{key}"
    assert shell.json("put", path, "count=5", "note=a b")["outcome"] == "done"
    row = shell.json("get", path)
    assert (row["count"], row["note"]) == (5, "a b")
    shell.run("put", path, "note:=null")
    assert shell.json("get", path, "--level", "quorum")["note"] is None
    assert row in [{**found, "note": "a b"} for found in _lines(shell.run("rows", "voting/votes", "--json").stdout)]
    shell.run("delete", path)
    assert shell.run("get", path, "--json", code=exits.NOT_FOUND).stdout == "null\n"


def _lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_refusals_have_their_codes(shell: Shell) -> None:
    """What the server refuses ends with 10 and says why, for people and for programs."""
    assert "unknown_key" in shell.run("get", "voting/nothing/x", code=exits.REFUSED).stderr
    told = json.loads(shell.run("put", "voting/votes/x", "nothing=1", "--json", code=exits.REFUSED).stderr)
    assert (told["code"], told["outcome"], told["retry"]) == ("unknown_key", "refused", False)
    shell.run("put", "voting/votes/x", "count=many", code=exits.REFUSED)
    shell.run("put", "voting/votes/x", "count=1", "--level", "eventual", code=exits.REFUSED)
    shell.run("get", "voting/votes", code=exits.USAGE)


def test_explain_says_what_it_cost(shell: Shell) -> None:
    """On the error stream, beside the answer."""
    done = shell.run("get", "voting/votes/x", "--explain", code=exits.NOT_FOUND, process=True)
    assert "round trips: 0" in done.stderr


def test_a_section_in_one_command(shell: Shell) -> None:
    """Expect, get and put under one lock; an expectation that does not hold writes nothing."""
    key = "voting/votes/section"
    first = shell.json("section", key, "--expect-absent", "--get", "--put", "count=1")
    assert first["row"] is None
    second = shell.json("section", key, "--expect", "count=1", "--get", "--put", "count=2", "--validate")
    assert (second["row"]["count"], second["validated"]) == (1, True)
    assert second["fencing_token"] > first["fencing_token"]
    refused = shell.run("section", key, "--expect", "count=1", "--put", "count=3", code=exits.REFUSED)
    assert "compare_failed" in refused.stderr
    assert shell.json("get", key)["count"] == 2


def test_a_section_refused_by_its_expectation_shows_what_was_found(shell: Shell) -> None:
    """Goal: whoever expected something else sees the row, people and programs alike. Method: one that is there, with values
    that JSON writes in its own way, and one that is not."""
    shell.run("table", "create", "voting/found", "name:text", "total:decimal", "note:text", "--key", "name")
    shell.run("section", "voting/found/a", "--put", "total=1.50")
    expecting = ("section", "voting/found/a", "--expect", "total=2", "--put", "total=3")
    found = {"name": "a", "total": "1.50", "note": None}
    (line,) = shell.run(*expecting, code=exits.REFUSED).stderr.splitlines()
    assert json.loads(line.partition("Found: ")[2]) == found
    told = json.loads(shell.run(*expecting, "--json", code=exits.REFUSED).stderr)
    assert told["attributes"]["rows"] == [found]
    absent = shell.run("section", "voting/found/b", "--expect", "total=2", "--delete", code=exits.REFUSED)
    assert "Found: no such row" in absent.stderr


def test_a_put_with_a_name_happens_once(shell: Shell) -> None:
    """The same command again answers the same and has no second effect; the name stands for that one request."""
    key = "voting/votes/once"
    first = shell.json("put", key, "count=1", "--once", "k1")
    shell.run("put", key, "count=7")
    assert shell.json("put", key, "count=1", "--once", "k1")["stamp"] == first["stamp"]
    assert shell.json("get", key)["count"] == 7
    assert "idempotency_mismatch" in shell.run("put", key, "count=2", "--once", "k1", code=exits.REFUSED).stderr


def test_hold_gives_the_command_its_fencing_token(shell: Shell) -> None:
    """The command runs while the queue shows it, ends with its own code, and the next holder has a higher token."""
    key = "voting/votes/held"
    script = f"{sys.executable} -m polysite.cli lock ls {key} --json; echo $POLYSITE_FENCING_TOKEN; exit 7"
    done = shell.run("lock", "hold", key, "--owner", "me", "--", "sh", "-c", script, code=7, process=True)
    queue, token = done.stdout.splitlines()
    (entry,) = json.loads(queue)["entries"]
    assert (entry["held"], entry["owner"], str(entry["fencing_token"])) == (True, "me", token)
    again = shell.run(
        "lock", "hold", key, "--wait-s", "30", "--", "sh", "-c", "echo $POLYSITE_FENCING_TOKEN", process=True
    )
    assert int(again.stdout) > int(token)
    shell.run("lock", "hold", key, "--", "no-such-command-anywhere", code=exits.NOT_THERE)
    assert shell.run("lock", "hold", key, "--", "sh", "-c", "kill -9 $$", code=exits.SIGNALLED + 9)


def test_hold_waits_and_gives_up(shell: Shell) -> None:
    """A lock that somebody else keeps: refused, try again; the command never ran and nothing waits any more."""
    key = "voting/votes/kept"
    with polysite.sync.connect(shell.url) as site, site.table("voting", "votes").section("kept"):
        done = shell.run("lock", "hold", key, "--wait-s", "0", "--", "echo", "ran", code=exits.TRY_AGAIN, process=True)
        assert "acquire_timeout" in done.stderr
        assert done.stdout == ""
        assert len(shell.json("lock", "ls", key)["entries"]) == 1


def test_hold_ends_the_group_when_the_lock_is_lost(shell: Shell) -> None:
    """An administrator preempts: the command, and a child of it that ignores SIGTERM, are gone, and the code says so."""
    key = "voting/votes/lost"
    script = "trap '' TERM; sh -c 'trap \"\" TERM; echo child $$; exec sleep 1000' & echo parent $$; wait; sleep 1000"
    with shell.started(
        "lock", "hold", key, "--lease-s", "0.6", "--grace-s", "0.2", "--", "sh", "-c", script
    ) as holding:
        assert holding.stdout is not None
        members = dict(holding.stdout.readline().split() for _ in range(2))
        assert set(members) == {"child", "parent"}
        dropped = shell.run("lock", "preempt", key, "--yes").stderr
        output, errors = holding.communicate(timeout=DONE_S_MAX)
    assert (holding.returncode, output) == (exits.LOCK_LOST, "")
    assert "lock_lost" in errors
    assert dropped.startswith("dropped: ")
    assert shell.json("lock", "preempt", key, "--yes")["dropped"] == []
    for member in members.values():
        assert _is_gone(int(member))


def _is_gone(process: int) -> bool:
    """Whether a process has ended; one that waits to be reaped has."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_hold_tells_a_loss_to_programs(shell: Shell) -> None:
    """Goal: with --json the loss of the lock is told as JSON, as every other error is. Method: preempt while the command runs."""
    key = "voting/votes/lost for programs"
    with shell.started(
        "lock", "hold", key, "--json", "--lease-s", "0.6", "--", "sh", "-c", "echo; sleep 1000"
    ) as holding:
        assert holding.stdout is not None
        holding.stdout.readline()
        shell.run("lock", "preempt", key, "--yes")
        _, errors = holding.communicate(timeout=DONE_S_MAX)
    assert holding.returncode == exits.LOCK_LOST
    assert json.loads(errors)["code"] == "lock_lost"


def test_hold_passes_signals_on(shell: Shell) -> None:
    """SIGTERM to `lock hold` reaches the command, whose code is then told; the lock is released."""
    key = "voting/votes/signals"
    script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    with shell.started("lock", "hold", key, "--", "sh", "-c", script) as holding:
        assert holding.stdout is not None
        assert holding.stdout.readline() == "ready\n"
        holding.send_signal(signal.SIGTERM)
        holding.communicate(timeout=DONE_S_MAX)
    assert holding.returncode == 9
    shell.run("lock", "hold", key, "--wait-s", "20", "--", "true")


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_export_and_import(shell: Shell, tmp_path: Path, form: str) -> None:
    """Out and in again, nulls and odd texts included; the second import has no second effect; flaws are told by row."""
    table = f"voting/{form}_in"
    shell.run("table", "create", f"voting/{form}_out", "name:text", "count:int", "tags:list<text>", "--key", "name")
    shell.run("table", "create", table, "name:text", "count:int", "tags:list<text>", "--key", "name")
    odd = ['quote"', "comma,", "tab\t", "new\nline", "\\N", "é😀", "slash/"]
    with polysite.sync.connect(shell.url) as site:
        source = site.table("voting", f"{form}_out")
        for number, name in enumerate(odd):
            source.put(name, {"count": number if number % 2 else None, "tags": [name, ""] if number else None})
    file = tmp_path / f"rows.{form}"
    null = ("--null", "NULL") if form == "csv" else ()
    assert f"{len(odd)} rows" in shell.run("export", f"voting/{form}_out", "--output", str(file), *null).stderr
    first = shell.json("import", str(file), table, *null)
    assert (first["done"]["rows"], first["refused"]["count"], first["unknown"]["count"]) == (f"1-{len(odd)}", 0, 0)
    with polysite.sync.connect(shell.url) as site:
        target = site.table("voting", f"{form}_in")
        rows = {row["name"]: row for row in target.rows()}
        assert rows == {row["name"]: row for row in site.table("voting", f"{form}_out").rows()}
        target.put("comma,", {"count": 99})
        assert shell.json("import", str(file), table, *null)["done"]["count"] == len(odd)
        assert target.get("comma,") == {**rows["comma,"], "count": 99}


def test_import_tells_every_flaw(shell: Shell, tmp_path: Path) -> None:
    """Which rows are done and which are not, why, and an exit code that says that something was refused."""
    shell.run("table", "create", "voting/flawed", "name:text", "count:int", "--key", "name")
    file, report = tmp_path / "flawed.ndjson", tmp_path / "report.ndjson"
    file.write_text('{"name": "a", "count": 1}\n{"name": "b", "count": "x"}\n{"count": 3}\nnonsense\n{"name": "e"}\n')
    done = shell.run("import", str(file), "voting/flawed", "--report", str(report), code=exits.REFUSED)
    assert "done\t2\trows 1,5" in done.stdout
    assert "refused\t3\trows 2-4" in done.stdout
    assert [(line["row"], line["outcome"]) for line in _lines(report.read_text())] == [
        (n, "refused") for n in (2, 3, 4)
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"name,colour\na,1\n", "'colour'"),
        (b"name,count,count\na,1,2\n", "'count' twice"),
        (b"count\n1\n", "'name'"),
        (b"name,count\na,1\n" + b"b,2\n" * 300_000 + b"\xff,3\n", "line 300003"),
        ("name,count\na,1\n".encode("utf-16"), "UTF-8"),
    ],
)
def test_a_file_that_cannot_be_imported_is_refused_whole(
    shell: Shell, tmp_path: Path, content: bytes, says: str
) -> None:
    """Goal: a wrong heading or encoding is told in one line with the exit code of a refusal, and no row was sent.

    Method: a heading with a column the table lacks, one twice, one without the key, and bytes that are not UTF-8, the
    first of them far into the file; then look for rows.
    """
    shell.run("table", "create", "voting/whole", "name:text", "count:int", "--key", "name")
    file = tmp_path / "rows.csv"
    file.write_bytes(content)
    done = shell.run("import", str(file), "voting/whole", code=exits.REFUSED)
    (line,) = done.stderr.splitlines()
    assert says in line
    assert shell.run("rows", "voting/whole", "--json").stdout == ""


def test_a_report_that_cannot_be_written_is_told_before_a_row_is_sent(shell: Shell, tmp_path: Path) -> None:
    """Goal: no import ends with an error after all of it was done. Method: a report in a folder that is not there."""
    shell.run("table", "create", "voting/reported", "name:text", "--key", "name")
    file = tmp_path / "rows.ndjson"
    file.write_text('{"name": "a"}\n')
    report = str(tmp_path / "absent" / "report")
    assert report in shell.run("import", str(file), "voting/reported", "--report", report, code=exits.USAGE).stderr
    assert shell.run("rows", "voting/reported", "--json").stdout == ""


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_import_reads_past_the_mark_of_utf8(shell: Shell, tmp_path: Path, form: str) -> None:
    """Goal: a file of a spreadsheet, which begins with a byte order mark, is imported; so is a field beyond Python's bound.

    Method: one row after the mark, with a text of 200,000 characters.
    """
    shell.run("table", "create", f"voting/mark_{form}", "name:text", "note:text", "--key", "name")
    note = "x" * 200_000
    text = f"name,note\na,{note}\n" if form == "csv" else json.dumps({"name": "a", "note": note}) + "\n"
    file = tmp_path / f"rows.{form}"
    file.write_text(text, encoding="utf-8-sig")
    assert shell.json("import", str(file), f"voting/mark_{form}")["done"]["count"] == 1
    assert shell.json("get", f"voting/mark_{form}/a")["note"] == note


def test_import_from_standard_input(shell: Shell) -> None:
    """Goal: rows come through a pipe as from a file, and the same again has no second effect. Method: CSV and the default
    format; text that is not UTF-8 is told as that of standard input."""
    shell.run("table", "create", "voting/piped", "name:text", "count:int", "--key", "name")

    def piped(content: bytes, *more: str, code: int = exits.DONE) -> Done:
        with patch("sys.stdin", io.TextIOWrapper(io.BytesIO(content))):
            return shell.run("import", "-", "voting/piped", "--json", *more, code=code)

    for _ in range(2):
        assert json.loads(piped(b"name,count\na,1\nb,2\n", "--format", "csv").stdout)["done"]["count"] == 2
    assert json.loads(piped(b'{"name": "c", "count": 3}\n').stdout)["done"]["count"] == 1
    found = {row["name"]: row["count"] for row in _lines(shell.run("rows", "voting/piped", "--json").stdout)}
    assert found == {"a": 1, "b": 2, "c": 3}
    assert "standard input" in piped(b"\xff", code=exits.REFUSED).stderr


def test_an_import_into_a_table_made_again_says_what_to_do(shell: Shell, tmp_path: Path) -> None:
    """Goal: rows restored into a table that was dropped and made again are neither called done nor refused without a way on.
    Method: import, make the table again, import the same file, then as the message says."""
    file = tmp_path / "rows.csv"
    file.write_text("name,count\nana,1\nbo,2\n")
    made = ("table", "create", "voting/again", "name:text", "count:int", "--key", "name")
    shell.run(*made)
    shell.run("import", str(file), "voting/again")
    shell.run("table", "drop", "voting/again", "--yes")
    shell.run(*made)
    assert "--run NAME" in shell.run("import", str(file), "voting/again", code=exits.REFUSED).stderr
    shell.run("import", str(file), "voting/again", "--run", "restored")
    assert len(_lines(shell.run("rows", "voting/again", "--json").stdout)) == 2


@pytest.mark.slow
def test_an_import_survives_the_death_of_its_server(tmp_path: Path) -> None:
    """SIGKILL in the middle of an import: it tells what is done and what is not; the same command again, against the
    server started anew, leaves every row exactly as the file has it, and what others wrote to done rows meanwhile."""
    file = tmp_path / "rows.csv"
    count = 1_000
    file.write_text("name,count\n" + "".join(f"n{number},{number}\n" for number in range(1, count + 1)))
    with ServerProcess(tmp_path / "data") as server:
        server.make_table(
            "voting", "bulk", writes="eventual", columns={"name": "text", "count": "int"}, partition_key=["name"]
        )
        shell = Shell(server.url)
        with shell.started("import", str(file), "voting/bulk", "--json", "--workers", "4") as importing:
            with polysite.sync.connect(server.url) as site:
                bulk = site.table("voting", "bulk")
                while bulk.get("n50") is None:
                    assert importing.poll() is None, "the import ended before the server was killed"
            server.kill()
            output, _ = importing.communicate(timeout=4 * DONE_S_MAX)
        told = json.loads(output)
        assert importing.returncode in (exits.TRY_AGAIN, exits.UNKNOWN)
        assert told["done"]["count"] + told["refused"]["count"] + told["unknown"]["count"] == count
        assert 0 < told["done"]["count"] < count
        server.start()
        shell = Shell(server.url)
        with polysite.sync.connect(server.url) as site:
            bulk = site.table("voting", "bulk")
            there = {row["name"]: row["count"] for row in bulk.rows(level="quorum")}
            for number in _numbers(told["done"]["rows"]):
                assert there[f"n{number}"] == number
            changed = next(_numbers(told["done"]["rows"]))
            bulk.put(f"n{changed}", {"count": -1})
            assert shell.json("import", str(file), "voting/bulk")["done"] == {"count": count, "rows": f"1-{count}"}
            there = {row["name"]: row["count"] for row in bulk.rows(level="quorum")}
        expected = {f"n{number}": number for number in range(1, count + 1)}
        assert there == {**expected, f"n{changed}": -1}


def _numbers(ranges: str) -> Iterator[int]:
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def test_doctor(shell: Shell, tmp_path: Path) -> None:
    """Every setting with where it came from; checks with what they found; a site that answers is named."""
    config = tmp_path / "polysite.toml"
    config.write_text('[server]\nport = 1234\n[[auth.tokens]]\nname = "ana"\nsha256 = "' + "a" * 64 + '"\n')
    done = shell.json("doctor", "--config", str(config), "--data", str(tmp_path / "data"))
    origins = {setting["name"]: (setting["value"], setting["from"]) for setting in done["settings"]}
    assert origins["server.port"] == (1234, f"file {config}")
    assert origins["store.data"] == (str(tmp_path / "data"), "flag")
    assert origins["site.name"][1] == "default"
    assert "a" * 64 not in json.dumps(done)
    assert all(check["fine"] for check in done["checks"]), done["checks"]
    assert any(shell.url in check["name"] for check in done["checks"])


def test_serve_refuses_to_be_exposed_by_accident(tmp_path: Path, shell: Shell) -> None:
    """An address that others reach needs credentials or --insecure; the refusal says so."""
    done = shell.run("serve", "--host", "0.0.0.0", "--port", "0", "--data", str(tmp_path / "data"), code=exits.REFUSED)
    assert "--insecure" in done.stderr
