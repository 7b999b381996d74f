"""A whole critical section in one command."""

import json

import click

from polysite.api import RowDelete, RowExpectation, RowGet, RowPut, Step
from polysite.cli.output import print_json, row_to_json
from polysite.cli.rows import key_argument, once_option
from polysite.cli.session import Session, assignments, named_key, with_site
from polysite.errors import CompareFailed
from polysite.values.tables import TableSpec


@click.command()
@key_argument
@click.option(
    "--expect", "expected", multiple=True, metavar="COLUMN=VALUE", help="What must hold, else nothing is written."
)
@click.option("--expect-absent", is_flag=True, help="There must be no such row.")
@click.option("--get", "read", is_flag=True, help="Show the row as it was before the writes.")
@click.option("--put", "columns", multiple=True, metavar="COLUMN=VALUE", help="Columns to write.")
@click.option("--delete", "remove", is_flag=True, help="Delete the row.")
@click.option(
    "--wait-s", type=click.FloatRange(min=0), default=10.0, show_default=True, help="How long to wait for the lock."
)
@click.option(
    "--lease-s", type=click.FloatRange(min=0, min_open=True), default=10.0, show_default=True, help="The lease."
)
@click.option("--validate", is_flag=True, help="Wait for the proof that the lock was held throughout.")
@click.option("--owner", help="A name for the queue.")
@once_option
@with_site
def section(
    session: Session,
    key: str,
    expected: tuple[str, ...],
    expect_absent: bool,
    read: bool,
    columns: tuple[str, ...],
    remove: bool,
    wait_s: float,
    lease_s: float,
    validate: bool,
    owner: str | None,
    idempotency_key: str | None,
) -> None:
    """Lock a key, expect, get, put or delete its row in this order, release."""
    if columns and remove:
        raise click.UsageError("--put and --delete do not go together")
    named = named_key(session, key)
    steps: list[Step] = []
    if expected:
        steps.append(RowExpectation(equals=assignments(named.spec, expected)))
    if expect_absent:
        steps.append(RowExpectation(exists=False))
    if read:
        steps.append(RowGet())
    if columns:
        steps.append(RowPut(columns=assignments(named.spec, columns)))
    if remove:
        steps.append(RowDelete())
    if not steps:
        raise click.UsageError("a section needs at least one of --expect, --expect-absent, --get, --put, --delete")
    try:
        answer = named.table.run(
            named.key,
            steps,
            wait_s=wait_s,
            lease_s=lease_s,
            validate=validate,
            owner=owner,
            idempotency_key=idempotency_key,
        )
    except CompareFailed as error:
        raise _with_what_was_found(named.spec, error) from None
    found = next((row for step, row in zip(steps, answer.results, strict=True) if isinstance(step, RowGet)), None)
    row = None if found is None else row_to_json(named.spec, found)
    if session.as_json:
        told = {
            "outcome": "done",
            "fencing_token": answer.fencing_token,
            "validated": answer.validated,
            "round_trips": answer.round_trips,
        }
        print_json({**told, "row": row} if read else told)
    elif row is not None:
        session.answer(row, columns=["column", "value"], rows=[[name, value] for name, value in row.items()])
    else:
        click.echo("there was no such row" if read else f"done, fencing token {answer.fencing_token}")


def _with_what_was_found(spec: TableSpec, error: CompareFailed) -> CompareFailed:
    """The refusal with the row found in its message, and in JSON form among its attributes."""
    rows = [None if row is None else row_to_json(spec, row) for row in error.attributes.get("rows", [])]
    if not rows:
        return error
    found = ", ".join("no such row" if row is None else json.dumps(row, ensure_ascii=False) for row in rows)
    return CompareFailed(f"{error.message} Found: {found}", **{**error.attributes, "rows": rows})
