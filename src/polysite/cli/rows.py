"""Rows: put, get, list, delete."""

import sys

import click

from polysite.api import Comparison, Condition, Level
from polysite.cli import exits
from polysite.cli.output import print_json, row_to_json, text_of
from polysite.cli.session import Session, assignments, from_json_text, from_text, named_key, named_table, with_site
from polysite.values.tables import TableSpec

COMPARISONS: dict[str, Comparison] = {">=": "ge", "<=": "le", "=": "eq", ">": "gt", "<": "lt"}
LEVELS = click.Choice(["eventual", "quorum", "critical", "atomic"])

level_of_read = click.option("--level", type=LEVELS, default="eventual", show_default=True, help="How to read.")
level_of_write = click.option("--level", type=LEVELS, help="How to write; default what the table allows.")
reference_option = click.option(
    "--lock", "reference", metavar="REFERENCE", help="A held lock reference (level critical)."
)
key_argument = click.argument("key", metavar="KEYSPACE/TABLE/KEY…")
once_option = click.option(
    "--once", "idempotency_key", metavar="NAME", help="An idempotency key: the same command again has no second effect."
)


@click.command()
@key_argument
@click.argument("columns", metavar="COLUMN=VALUE…", nargs=-1)
@click.option("--expires-s", type=click.FloatRange(min=0, min_open=True), help="How long the values live.")
@level_of_write
@reference_option
@once_option
@with_site
def put(
    session: Session,
    key: str,
    columns: tuple[str, ...],
    expires_s: float | None,
    level: Level | None,
    reference: str | None,
    idempotency_key: str | None,
) -> None:
    """Write columns of a row; the others stay. COLUMN:=JSON writes JSON, COLUMN:=null writes null."""
    named = named_key(session, key)
    answer = named.table.put(
        named.key,
        assignments(named.spec, columns),
        level=_critical(level, reference),
        reference=reference,
        expires_s=expires_s,
        idempotency_key=idempotency_key,
    )
    session.tell({"outcome": "done", "stamp": answer.stamp, "round_trips": answer.round_trips}, "done")


@click.command()
@key_argument
@level_of_read
@reference_option
@click.option("--stamps", is_flag=True, help="Show the stamp of each column.")
@with_site
def get(session: Session, key: str, level: Level, reference: str | None, stamps: bool) -> int:
    """Show a row. Ends with 1 if there is none."""
    named = named_key(session, key)
    answer = named.table.read(named.key, level=_critical(level, reference) or level, reference=reference, stamps=stamps)
    row = None if answer.row is None else row_to_json(named.spec, answer.row)
    if session.as_json:
        print_json({"row": row, "stamps": answer.stamps} if stamps else row)
    elif row is None:
        click.echo("there is no such row", err=True)
    else:
        found = answer.stamps or {}
        heading = ["column", "value", "stamp"] if stamps else ["column", "value"]
        table = [[name, value, found.get(name)] if stamps else [name, value] for name, value in row.items()]
        session.answer(row, columns=heading, rows=table)
    return exits.DONE if row is not None else exits.NOT_FOUND


@click.command()
@click.argument("table", metavar="KEYSPACE/TABLE")
@click.option(
    "--where", multiple=True, metavar="COLUMN=VALUE", help="Also < <= > >=; give it several times for all of them."
)
@click.option("--limit", type=click.IntRange(min=1), help="At most so many rows.")
@level_of_read
@reference_option
@with_site
def rows(
    session: Session, table: str, where: tuple[str, ...], limit: int | None, level: Level, reference: str | None
) -> None:
    """List rows: of a partition, of an index, or all. With --json one row per line, as they arrive."""
    found, spec = named_table(session, table)
    conditions = [_condition(spec, text) for text in where]
    names = list(spec.types)
    shown: list[list[object]] = []
    page_rows = min(limit, 1_000) if limit else 1_000
    for number, row in enumerate(
        found.rows(conditions, level=_critical(level, reference) or level, reference=reference, page_rows=page_rows)
    ):
        if limit is not None and number >= limit:
            break
        told = row_to_json(spec, row)
        if session.as_json:
            print_json(told)
        elif sys.stdout.isatty():
            shown.append([told.get(name) for name in names])
        else:
            if number == 0:
                sys.stdout.write("\t".join(names) + "\n")
            sys.stdout.write("\t".join(_field(told.get(name)) for name in names) + "\n")
    if not session.as_json and sys.stdout.isatty():
        session.answer(None, columns=names, rows=shown)


@click.command()
@key_argument
@level_of_write
@reference_option
@once_option
@with_site
def delete(session: Session, key: str, level: Level | None, reference: str | None, idempotency_key: str | None) -> None:
    """Delete a row; one that is not there is deleted all the same."""
    named = named_key(session, key)
    answer = named.table.delete(
        named.key, level=_critical(level, reference), reference=reference, idempotency_key=idempotency_key
    )
    session.tell({"outcome": "done", "stamp": answer.stamp, "round_trips": answer.round_trips}, "done")


def _critical(level: Level | None, reference: str | None) -> Level | None:
    return "critical" if reference is not None else level


def _condition(spec: TableSpec, text: str) -> Condition:
    """The condition that COLUMN=VALUE and its relatives spell; COLUMN:=JSON with a list means one of them."""
    place = min((index for index in (text.find(sign) for sign in "<>=") if index > 0), default=-1)
    sign = next((sign for sign in COMPARISONS if place > 0 and text.startswith(sign, place)), None)
    if sign is None:
        raise click.UsageError(f"{text!r} is not of the form COLUMN=VALUE")
    column, value = text[:place], text[place + len(sign) :]
    if column.endswith(":") and sign == "=":
        column = column[:-1]
        if value.startswith("["):
            import msgspec

            items = msgspec.json.decode(value)
            values = [from_json_text(spec, column, msgspec.json.encode(item).decode()) for item in items]
            return Condition(column=column, comparison="in", value=values)
        return Condition(column=column, comparison="eq", value=from_json_text(spec, column, value))
    return Condition(column=column, comparison=COMPARISONS[sign], value=from_text(spec, column, value))


def _field(value: object) -> str:
    return text_of(value).replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
