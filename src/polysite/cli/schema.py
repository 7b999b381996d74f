"""Keyspaces and tables."""

from typing import Any

import click
import msgspec

from polysite.cli.session import Session, confirm, named_table, split_key, with_site, yes_option
from polysite.sync import table_spec
from polysite.values.tables import TableSpec, Writes


@click.group()
def keyspace() -> None:
    """Make, list and drop keyspaces."""


@keyspace.command("create")
@click.argument("name")
@click.option("--replicas", multiple=True, metavar="SITE=COUNT", help="Copies a site keeps; default one at every site.")
@with_site
def keyspace_create(session: Session, name: str, replicas: tuple[str, ...]) -> None:
    """Make a keyspace; the same again is fine."""
    counts: dict[str, int] = {}
    for item in replicas:
        site, _, count = item.partition("=")
        if not count.isdigit():
            raise click.UsageError(f"{item!r} is not of the form SITE=COUNT")
        counts[site] = int(count)
    made = session.site.create_keyspace(name, replicas=counts or None)
    session.tell({"created": made}, f"{name} made" if made else f"{name} was there already")


@keyspace.command("ls")
@with_site
def keyspace_ls(session: Session) -> None:
    """List the keyspaces."""
    found = session.site.keyspaces()
    session.answer(
        msgspec.to_builtins(found),
        columns=["keyspace", "replicas"],
        rows=[[spec.name, spec.replicas or "one at every site"] for spec in found],
    )


@keyspace.command("drop")
@click.argument("name")
@yes_option
@with_site
def keyspace_drop(session: Session, name: str, yes: bool) -> None:
    """Drop a keyspace with its tables and rows."""
    confirm(f"Drop {name} with all its tables and rows?", yes=yes)
    dropped = session.site.drop_keyspace(name)
    session.tell({"dropped": dropped}, f"{name} dropped" if dropped else f"there was no {name}")


@click.group()
def table() -> None:
    """Make, list, show and drop tables."""


@table.command("create")
@click.argument("name", metavar="KEYSPACE/TABLE")
@click.argument("columns", metavar="COLUMN:TYPE...", nargs=-1, required=True)
@click.option("--key", "partition_key", required=True, metavar="COLUMN[,COLUMN]", help="The partition key.")
@click.option("--cluster", multiple=True, metavar="COLUMN[:desc]", help="Clustering columns, in order.")
@click.option("--lock-on", metavar="COLUMN[,COLUMN]", help="Leading partition columns that locks are on.")
@click.option("--index", "indexes", multiple=True, metavar="NAME=COLUMN", help="A secondary index.")
@click.option(
    "--writes",
    type=click.Choice(["sections", "mixed", "eventual", "conditional", "transactional"]),
    default="sections",
    show_default=True,
    help="How rows may be written.",
)
@with_site
def table_create(
    session: Session,
    name: str,
    columns: tuple[str, ...],
    partition_key: str,
    cluster: tuple[str, ...],
    lock_on: str | None,
    indexes: tuple[str, ...],
    writes: Writes,
) -> None:
    """Make a table; the same again is fine.

    polysite table create voting/votes name:text count:int --key name
    """
    keyspace_name, table_name = _two(name)
    spec = table_spec(
        keyspace_name,
        table_name,
        dict(_pair(item, ":", "COLUMN:TYPE") for item in columns),
        partition_key=partition_key.split(","),
        clustering_key=[_clustering(item) for item in cluster],
        lock_columns=lock_on.split(",") if lock_on else (),
        writes=writes,
        indexes=dict(_pair(item, "=", "NAME=COLUMN") for item in indexes),
    )
    made = session.site.coordinator.create_table(spec)
    session.tell({"created": made}, f"{name} made" if made else f"{name} was there already")


@table.command("ls")
@click.argument("keyspace_name", metavar="KEYSPACE")
@with_site
def table_ls(session: Session, keyspace_name: str) -> None:
    """List the tables of a keyspace."""
    found = session.site.tables(keyspace_name)
    session.answer(
        msgspec.to_builtins(found),
        columns=["table", "primary key", "writes"],
        rows=[[spec.name, _key_text(spec), spec.writes] for spec in found],
    )


@table.command("show")
@click.argument("name", metavar="KEYSPACE/TABLE")
@with_site
def table_show(session: Session, name: str) -> None:
    """Show what a table is made of."""
    _, spec = named_table(session, name)
    roles = dict.fromkeys(spec.partition_key, "partition key")
    roles |= {column.name: f"clustering key, {column.direction}" for column in spec.clustering_key}
    indexed = {column: f"index {index.name}" for column, index in spec.index_by_column.items()}
    rows: list[list[Any]] = []
    for column in spec.columns:
        notes = [
            roles.get(column.name, ""),
            "locks" if column.name in spec.locked_names else "",
            indexed.get(column.name, ""),
        ]
        rows.append([column.name, column.type, ", ".join(filter(None, notes))])
    session.answer(msgspec.to_builtins(spec), columns=["column", "type", "notes"], rows=rows)


@table.command("drop")
@click.argument("name", metavar="KEYSPACE/TABLE")
@yes_option
@with_site
def table_drop(session: Session, name: str, yes: bool) -> None:
    """Drop a table with its rows."""
    keyspace_name, table_name = _two(name)
    confirm(f"Drop {name} with all its rows?", yes=yes)
    dropped = session.site.drop_table(keyspace_name, table_name)
    session.tell({"dropped": dropped}, f"{name} dropped" if dropped else f"there was no {name}")


@click.group()
def index() -> None:
    """Add and drop indexes of a table; `table show` lists them."""


@index.command("create")
@click.argument("name", metavar="KEYSPACE/TABLE")
@click.argument("definition", metavar="NAME=COLUMN")
@with_site
def index_create(session: Session, name: str, definition: str) -> None:
    """Add an index to a table; rows already there are found through it at once. The same again is fine."""
    keyspace_name, table_name = _two(name)
    index_name, column = _pair(definition, "=", "NAME=COLUMN")
    made = session.site.table(keyspace_name, table_name).create_index(index_name, column)
    session.tell({"created": made}, f"{index_name} made" if made else f"{index_name} was there already")


@index.command("drop")
@click.argument("name", metavar="KEYSPACE/TABLE")
@click.argument("index_name", metavar="NAME")
@with_site
def index_drop(session: Session, name: str, index_name: str) -> None:
    """Drop an index of a table; its rows stay."""
    keyspace_name, table_name = _two(name)
    dropped = session.site.table(keyspace_name, table_name).drop_index(index_name)
    session.tell({"dropped": dropped}, f"{index_name} dropped" if dropped else f"there was no {index_name}")


def _two(name: str) -> tuple[str, str]:
    parts = split_key(name, parts_min=2)
    if len(parts) != 2:
        raise click.UsageError(f"{name!r} is not of the form KEYSPACE/TABLE")
    return parts[0], parts[1]


def _pair(text: str, separator: str, form: str) -> tuple[str, str]:
    first, found, second = text.partition(separator)
    if not found or not first or not second:
        raise click.UsageError(f"{text!r} is not of the form {form}")
    return first, second


def _clustering(text: str) -> Any:
    name, _, direction = text.partition(":")
    if direction not in {"", "asc", "desc"}:
        raise click.UsageError(f"{text!r} is not of the form COLUMN[:desc]")
    return (name, direction or "asc")


def _key_text(spec: TableSpec) -> str:
    clustering = ", ".join(spec.clustering_names)
    return f"({', '.join(spec.partition_key)})" + (f", {clustering}" if clustering else "")
