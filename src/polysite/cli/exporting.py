"""A table as a file: CSV or one JSON object per line."""

import contextlib
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal

import click
import msgspec

from polysite.api import Level
from polysite.cli.output import print_note, row_to_json
from polysite.cli.session import Session, named_table, with_site
from polysite.values.tables import TableSpec

Format = Literal["csv", "ndjson"]
NULL_DEFAULT = "\\N"

format_option = click.option(
    "--format", "form", type=click.Choice(["csv", "ndjson"]), help="Default: by the file's ending, else ndjson."
)
null_option = click.option(
    "--null", "null", default=NULL_DEFAULT, show_default=True, help="How null is written in CSV; empty text is empty."
)


def form_of(form: Format | None, path: Path | None) -> Format:
    """The format asked for, or the one that the file's ending says."""
    if form is not None:
        return form
    return "csv" if path is not None and path.suffix.lower() == ".csv" else "ndjson"


def csv_text(value: Any, null: str) -> str:
    """A JSON value as a field of CSV: texts as they are, collections as JSON."""
    if value is None:
        return null
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@click.command()
@click.argument("table", metavar="KEYSPACE/TABLE")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Default: standard output.")
@format_option
@null_option
@click.option(
    "--level", type=click.Choice(["eventual", "quorum"]), default="quorum", show_default=True, help="How to read."
)
@with_site
def export(session: Session, table: str, output: Path | None, form: Format | None, null: str, level: Level) -> None:
    """Write all rows of a table. Rows that are written meanwhile may or may not be in it; none is in it twice."""
    found, spec = named_table(session, table)
    count = 0
    with _sink(output) as sink:
        if form_of(form, output) == "csv":
            writer = csv.writer(sink, lineterminator="\n")
            writer.writerow(spec.types)
            for told in _rows(spec, found.rows(level=level)):
                writer.writerow([csv_text(told.get(name), null) for name in spec.types])
                count += 1
        else:
            for told in _rows(spec, found.rows(level=level)):
                sink.write(msgspec.json.encode(told).decode() + "\n")
                count += 1
    print_note(f"{count} rows")


def _rows(spec: TableSpec, rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield row_to_json(spec, row)


@contextlib.contextmanager
def _sink(output: Path | None) -> Iterator[IO[str]]:
    """The file, whole or not there at all: it takes its name only when everything is in it."""
    if output is None:
        yield sys.stdout
        return
    beside = output.with_name(output.name + ".part")
    with beside.open("w", encoding="utf-8", newline="") as sink:
        yield sink
    beside.replace(output)
