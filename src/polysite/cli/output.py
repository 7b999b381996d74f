"""How answers look: a table for people, JSON for programs, errors and costs beside them on the error stream."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from polysite.errors import PolysiteError
from polysite.values.tables import TableSpec

RICH_ROWS_MAX = 5_000
"""Longer tables are printed plainly: rich measures every cell before it prints the first."""


def row_to_json(spec: TableSpec, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row in the JSON form of its columns' types."""
    types = spec.types
    return {
        name: value if value is None or name not in types else types[name].to_json(value) for name, value in row.items()
    }


def text_of(value: Any) -> str:
    """A JSON value in a cell of a table for people."""
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def print_json(value: Any) -> None:
    """One JSON text on one line."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table: drawn on a terminal, else tab-separated with a heading."""
    cells = [[text_of(value) for value in row] for row in rows]
    if sys.stdout.isatty() and len(cells) <= RICH_ROWS_MAX:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        drawn = Table(*columns)
        for row in cells:
            drawn.add_row(*(Text(cell) for cell in row))
        Console().print(drawn)
        return
    for row in [list(columns), *cells]:
        sys.stdout.write("\t".join(cell.translate(_ONE_LINE) for cell in row) + "\n")


def print_note(text: str) -> None:
    """A remark for people, beside the output."""
    sys.stderr.write(text + "\n")


def tell_error(error: PolysiteError, *, as_json: bool) -> None:
    """What went wrong, its outcome, and whether trying again may help."""
    if as_json:
        told = {
            "code": error.code,
            "outcome": error.outcome,
            "retry": error.retry,
            "message": error.message,
            "attributes": error.attributes,
        }
        sys.stderr.write(json.dumps(told, default=str) + "\n")
        return
    sys.stderr.write(f"{error.code} ({error.outcome}): {error.message}\n")


_ONE_LINE = {ord("\t"): "\\t", ord("\n"): "\\n", ord("\r"): "\\r"}
