"""A file into a table, row by row, each put with an idempotency key of its own: the same command again does no row twice.

The key of a row is made of the run's name, the row's number and its content. The default name is made of the file's
content and the table, so running the command again after a failure goes on where it stopped.
"""

import asyncio
import codecs
import contextlib
import csv
import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple

import click
import msgspec

from polysite.api import Level
from polysite.cli import exits
from polysite.cli.exporting import Format, form_of, format_option, null_option
from polysite.cli.output import print_json, print_note
from polysite.cli.session import Session, addresses, bearer, named_table, trust, with_site
from polysite.errors import BadRequest, IdempotencyMismatch, PolysiteError, SiteUnreachable, UnknownKey
from polysite.values.tables import TableSpec

if TYPE_CHECKING:
    import ssl

Fate = Literal["done", "refused", "unknown"]
PASSES = 3
"""Rows that were refused for a passing reason, or whose outcome is unknown, are sent again so often at the end."""

TOLD_MAX = 20
STANDARD_INPUT = Path("-")
FIELD_CHARACTERS_MAX = 64 * 1024 * 1024
"""Python's own bound on a field of CSV is 128 KiB; a server takes longer bodies, and says itself what is too long."""


@dataclass(frozen=True)
class Record:
    """One row of the file: its number (from 1, a heading not counted) and its columns in JSON form."""

    number: int
    columns: dict[str, Any]
    flaw: str | None = None


class Failure(NamedTuple):
    """Why a row is not done; `retry`: sending it again may help."""

    fate: Fate
    code: str
    message: str
    retry: bool


@dataclass
class Tally:
    """What became of each row."""

    done: list[int] = field(default_factory=list)
    failures: dict[int, Failure] = field(default_factory=dict)
    again: list[Record] = field(default_factory=list)

    def numbers(self, fate: Fate) -> list[int]:
        if fate == "done":
            return self.done
        return [number for number, failure in self.failures.items() if failure.fate == fate]

    @property
    def code(self) -> int:
        """The exit code that tells the worst of it."""
        if self.numbers("unknown"):
            return exits.UNKNOWN
        if all(failure.retry for failure in self.failures.values()):
            return exits.TRY_AGAIN if self.failures else exits.DONE
        return exits.REFUSED


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.argument("table", metavar="KEYSPACE/TABLE")
@format_option
@null_option
@click.option(
    "--level", type=click.Choice(["eventual", "quorum", "atomic"]), help="How to write; default what the table allows."
)
@click.option("--run", "run_name", metavar="NAME", help="Name of this run; another name sends every row anew.")
@click.option(
    "--report", type=click.Path(dir_okay=False, path_type=Path), help="Write every row that is not done, and why."
)
@click.option("--workers", type=click.IntRange(1, 256), default=16, show_default=True, help="Rows under way at once.")
@with_site
def import_rows(
    session: Session,
    file: Path,
    table: str,
    form: Format | None,
    null: str,
    level: Level | None,
    run_name: str | None,
    report: Path | None,
    workers: int,
) -> int:
    """Put every row of FILE into a table; - is standard input.

    CSV has a heading with the column names. At the end it tells which rows are done, refused and unknown. The same
    command again has no second effect: rows already done stay done (for a day), the others are tried again.
    """
    _, spec = named_table(session, table)
    kind = form_of(form, file)
    if report is not None:
        _check_writable(report)
    tally = Tally()
    with _kept(file) as path:
        survey = survey_of(path, table, shown="standard input" if file == STANDARD_INPUT else str(file))
        if kind == "csv":
            check_heading(path, spec)
        name = run_name or survey.digest
        with _progress(max(survey.lines - (kind == "csv"), 1), quiet=session.as_json) as advance:
            site_arguments = (addresses(session.url), bearer(), trust(session.ca))
            asyncio.run(
                _send_all(
                    site_arguments, spec, lambda: _records(path, kind, spec, null), name, level, workers, tally, advance
                )
            )
    if report is not None:
        with report.open("w", encoding="utf-8") as sink:
            for number, failure in sorted(tally.failures.items()):
                told = {"row": number, "outcome": failure.fate, "code": failure.code, "message": failure.message}
                sink.write(json.dumps(told) + "\n")
    _tell(session, tally, name)
    return tally.code


def _check_writable(report: Path) -> None:
    """A usage error, before anything is sent, if the report could not be written at the end."""
    try:
        report.touch()
    except OSError as error:
        raise click.FileError(str(report), error.strerror) from None


@contextlib.contextmanager
def _kept(file: Path) -> Iterator[Path]:
    """Where the rows can be read several times: the file itself, or a copy of standard input while it is needed."""
    if file != STANDARD_INPUT:
        yield file
        return
    with tempfile.NamedTemporaryFile(prefix="polysite-import-") as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
        copy.flush()
        yield Path(copy.name)


async def _send_all(
    site_arguments: "tuple[list[str], str | None, ssl.SSLContext | None]",
    spec: TableSpec,
    records: Callable[[], Iterator[Record]],
    name: str,
    level: Level | None,
    workers: int,
    tally: Tally,
    advance: Callable[[], None],
) -> None:
    """Every record once, `workers` at a time, then again those for which that may help, while the site answers."""
    from polysite.client import connect

    urls, credentials, trusted = site_arguments
    async with connect(urls, bearer=credentials, retries=4, ssl_context=trusted) as site:
        sender = Sender(site.table(spec.keyspace, spec.name), spec, name, level, tally)
        await _side_by_side(records(), sender.put, workers, advance)
        for _ in range(PASSES):
            again, tally.again = tally.again, []
            if not again:
                break
            await site.pace.sleep_s(1.0)
            try:
                await site.health()
            except PolysiteError:
                tally.again = again
                continue
            sender.is_away = False
            await _side_by_side(iter(again), sender.put, workers, lambda: None)


class Sender:
    """Puts records and notes what became of each. Once the site does not answer, no further record is sent to it."""

    def __init__(self, table: Any, spec: TableSpec, name: str, level: Level | None, tally: Tally) -> None:
        self._table = table
        self._spec = spec
        self._name = name
        self._level: Level | None = level
        self._tally = tally
        self.is_away = False

    async def put(self, record: Record) -> None:
        if record.flaw is not None:
            self._tally.failures[record.number] = Failure("refused", "bad_request", record.flaw, retry=False)
            return
        try:
            if self.is_away:
                raise SiteUnreachable("not sent: the site did not answer before")
            key, columns = _split(self._spec, record.columns)
            await self._table.put(key, columns, level=self._level, idempotency_key=_key_of(self._name, record))
        except PolysiteError as error:
            self._failed(record, error)
            return
        self._tally.failures.pop(record.number, None)
        self._tally.done.append(record.number)

    def _failed(self, record: Record, error: PolysiteError) -> None:
        unknown = error.outcome == "unknown"
        if isinstance(error, SiteUnreachable) or (unknown and error.attributes.get("reason") == "not_answered"):
            self.is_away = True
        if error.retry or unknown:
            self._tally.again.append(record)
        before = self._tally.failures.get(record.number)
        if not unknown and before is not None and before.fate == "unknown":
            return  # a later refusal does not take back what may have happened before
        fate: Fate = "unknown" if unknown else "refused"
        self._tally.failures[record.number] = Failure(fate, error.code, error.message, retry=error.retry)


async def _side_by_side(
    records: Iterator[Record], put: Callable[[Record], Any], workers: int, advance: Callable[[], None]
) -> None:
    async def work() -> None:
        for record in records:
            await put(record)
            advance()

    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(work())


def _records(file: Path, form: Format, spec: TableSpec, null: str) -> Iterator[Record]:
    """The rows of the file, read as they are needed."""
    with _opened(file) as source:
        yield from _csv_records(source, spec, null) if form == "csv" else _json_records(source)


def _opened(file: Path) -> IO[str]:
    """The file as text, without the mark that some programs put at the start of UTF-8."""
    return file.open(encoding="utf-8-sig", newline="")


def _json_records(source: IO[str]) -> Iterator[Record]:
    number = 0
    for line in source:
        if not line.strip():
            continue
        number += 1
        try:
            columns = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError):
            columns = None
        if isinstance(columns, dict):
            yield Record(number, columns)
        else:
            yield Record(number, {}, "the line is not a JSON object")


def _csv_records(source: IO[str], spec: TableSpec, null: str) -> Iterator[Record]:
    rows = csv.reader(source)
    heading = next(rows, None)
    if heading is None:
        return
    for number, fields in enumerate(rows, start=1):
        if len(fields) != len(heading):
            yield Record(number, {}, f"the row has {len(fields)} fields and the heading {len(heading)}")
            continue
        columns: dict[str, Any] = {}
        flaw = None
        for name, text in zip(heading, fields, strict=True):
            try:
                columns[name] = _csv_value(spec, name, text, null)
            except (BadRequest, ValueError) as error:
                flaw = f"{name}: {error}"
                break
        yield Record(number, columns, flaw)


def _csv_value(spec: TableSpec, name: str, text: str, null: str) -> Any:
    """A field as JSON. An empty field is empty text in a text column and null in any other."""
    if text == null:
        return None
    cql_type = spec.type_of(name)
    if str(cql_type) in {"text", "varchar", "ascii"}:
        return text
    if not text:
        return None
    if text[0] in "[{" and "<" in str(cql_type):
        return msgspec.json.decode(text)
    return cql_type.to_json(cql_type.from_text(text))


def _split(spec: TableSpec, columns: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The primary key and the other columns, as Python values."""
    keys = set(spec.key_names)
    values: dict[str, Any] = {}
    for name, value in columns.items():
        try:
            cql_type = spec.type_of(name)
            values[name] = None if value is None else cql_type.from_json(value)
        except (BadRequest, UnknownKey) as error:
            raise type(error)(f"{name}: {error.message}", column=name) from None
    missing = [name for name in spec.key_names if values.get(name) is None]
    if missing:
        raise BadRequest(f"{', '.join(missing)} of the primary key is missing")
    return {name: values[name] for name in spec.key_names}, {
        name: value for name, value in values.items() if name not in keys
    }


def _key_of(name: str, record: Record) -> str:
    """The row's idempotency key; hashed, because a name may hold what a header cannot."""
    content = msgspec.json.encode([name, record.columns], order="sorted")
    return f"import-{record.number}-{hashlib.blake2b(content, digest_size=16).hexdigest()}"


class Survey(NamedTuple):
    """What a file is before its rows are read: what names its run, and about how many rows it has."""

    digest: str
    lines: int


def survey_of(file: Path, table: str, *, shown: str) -> Survey:
    """Look through the whole file once. BadRequest: it is not UTF-8; nothing has been sent yet."""
    digest = hashlib.blake2b(table.encode(), digest_size=8)
    decoder = codecs.getincrementaldecoder("utf-8")()
    lines = 0
    with file.open("rb") as source:
        while True:
            piece = source.read(1 << 20)
            try:
                decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as error:
                line = lines + error.object[: error.start].count(b"\n") + 1
                raise BadRequest(f"{shown} is not text in UTF-8: see line {line}", line=line) from None
            if not piece:
                return Survey(digest.hexdigest(), lines)
            digest.update(piece)
            lines += piece.count(b"\n")


def check_heading(file: Path, spec: TableSpec) -> None:
    """UnknownKey or BadRequest, naming the column, if the first line of a CSV file is no heading for the table."""
    csv.field_size_limit(FIELD_CHARACTERS_MAX)
    with _opened(file) as source:
        heading = next(csv.reader(source), None)
    if heading is None:
        return
    for position, name in enumerate(heading):
        if name not in spec.types:
            raise UnknownKey(
                f"the heading names the column {name!r}, which {spec.keyspace}/{spec.name} does not have; it has "
                f"{', '.join(spec.types)}",
                column=name,
            )
        if name in heading[:position]:
            raise BadRequest(f"the heading names the column {name!r} twice", column=name)
    for name in spec.key_names:
        if name not in heading:
            raise BadRequest(f"the heading lacks the column {name!r} of the primary key", column=name)


class _progress:  # noqa: N801
    """A bar on the error stream if that is a terminal."""

    def __init__(self, total: int, *, quiet: bool) -> None:
        self._total = total
        self._bar: Any = None
        self._quiet = quiet
        self._job: Any = None

    def __enter__(self) -> Callable[[], None]:
        if self._quiet or not sys.stderr.isatty():
            return lambda: None
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        self._bar = Progress(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=Console(stderr=True))
        self._bar.start()
        self._job = self._bar.add_task("rows", total=self._total)
        return lambda: self._bar.advance(self._job)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()


def _tell(session: Session, tally: Tally, name: str) -> None:
    fates: tuple[Fate, ...] = ("done", "refused", "unknown")
    if session.as_json:
        told: dict[str, Any] = {"run": name}
        for fate in fates:
            told[fate] = {"count": len(tally.numbers(fate)), "rows": ranges(tally.numbers(fate))}
        print_json(told)
        return
    for fate in fates:
        numbers = tally.numbers(fate)
        click.echo(f"{fate}\t{len(numbers)}" + (f"\trows {ranges(numbers)}" if numbers else ""))
    for number, failure in sorted(tally.failures.items())[:TOLD_MAX]:
        print_note(f"row {number}: {failure.fate}, {failure.code}: {failure.message}")
    if len(tally.failures) > TOLD_MAX:
        print_note(f"… and {len(tally.failures) - TOLD_MAX} more; --report FILE lists them all")
    if any(failure.code == IdempotencyMismatch.code for failure in tally.failures.values()):
        # Its rows were sent before, to a table that has been dropped since.
        print_note("rows of this file were sent to another table of this name; --run NAME sends every row anew")


def ranges(numbers: list[int]) -> str:
    """`1-3,7` for 1, 2, 3 and 7."""
    out: list[str] = []
    first = last = None
    for number in [*sorted(numbers), None]:
        if last is not None and number == last + 1:
            last = number
            continue
        if first is not None:
            out.append(str(first) if first == last else f"{first}-{last}")
        first = last = number
    return ",".join(out)
