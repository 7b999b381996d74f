"""What the commands share: the options that find a site, keys and values as people type them."""

import functools
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import unquote

import click

from polysite.cli import URL_DEFAULT
from polysite.cli.output import print_json, print_note, print_table
from polysite.errors import BadRequest
from polysite.sync import Site, Table, connect
from polysite.values.tables import TableSpec

if TYPE_CHECKING:
    import ssl

BEARER_VARIABLE = "POLYSITE_AUTHORIZATION"

P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class Session:
    """One command's connection and its way to answer."""

    url: str
    as_json: bool
    explain: bool
    ca: Path | None = None
    _site: Site | None = None

    @property
    def site(self) -> Site:
        """The site, connected when first used."""
        if self._site is None:
            self._site = connect(addresses(self.url), bearer=bearer(), ssl_context=trust(self.ca))
        return self._site

    def answer(self, value: Any, *, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """`value` as JSON if programs read, else `rows` under `columns`."""
        if self.as_json:
            print_json(value)
        else:
            print_table(columns, rows)

    def tell(self, value: Any, sentence: str) -> None:
        """`value` as JSON if programs read, else the sentence."""
        if self.as_json:
            print_json(value)
        else:
            click.echo(sentence)

    def end(self) -> None:
        """Say what it cost, if asked, and let go."""
        if self._site is not None:
            if self.explain:
                print_note(f"round trips: {self._site.round_trips:g}")
            self._site.close()


def addresses(url: str) -> list[str]:
    """The addresses of one site's processes, as a comma-separated list spells them."""
    return [part.strip() for part in url.split(",") if part.strip()]


def bearer() -> str | None:
    """The credentials of the environment, None if there are none."""
    text = os.environ.get(BEARER_VARIABLE, "").strip()
    return text.removeprefix("Bearer ").strip() or None


def trust(ca: Path | None) -> "ssl.SSLContext | None":
    """Whom to trust over https: who stands in the file `ca`; None, as without one, is whom this machine trusts."""
    if ca is None:
        return None
    from polysite.client.trust import trusting

    return trusting(ca, "--ca")


ca_option = click.option(
    "--ca",
    envvar="POLYSITE_CA",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A PEM file: who signed the site's certificate, instead of whom this machine trusts.",
)

yes_option = click.option(
    "--yes", is_flag=True, help="Do not ask. Needed with --json, and where standard input is no terminal."
)


def confirm(question: str, *, yes: bool) -> None:
    """Return if `yes` was said or is said now; a usage error, before anything is sent, where nobody can be asked.

    Programs are never asked: not with --json, and not where standard input is no terminal.
    """
    if yes:
        return
    context = click.get_current_context()
    if context.params.get("as_json") or not sys.stdin.isatty():
        raise click.UsageError(f"nobody can be asked here: say --yes for {context.info_name}")
    click.confirm(question, abort=True, err=True)


def with_site(command: Callable[Concatenate[Session, P], R]) -> Callable[P, R]:
    """Give a command the options that find a site, and a `Session` made of them as its first argument."""

    @click.option("--url", envvar="POLYSITE_URL", default=URL_DEFAULT, show_default=True, help="Where the site is.")
    @ca_option
    @click.option("--json", "as_json", is_flag=True, help="Answer in JSON, one text per line.")
    @click.option("--explain", is_flag=True, help="Say how many wide-area round trips it waited for.")
    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        ca: Any = kwargs.pop("ca")
        session = Session(str(kwargs.pop("url")), bool(kwargs.pop("as_json")), bool(kwargs.pop("explain")), ca)
        try:
            return command(session, *args, **kwargs)
        finally:
            session.end()

    return wrapped


@dataclass(frozen=True)
class NamedKey:
    """A key from the command line: its table's spec and its columns as Python values."""

    table: Table
    spec: TableSpec
    key: dict[str, Any]


def split_key(text: str, *, parts_min: int = 3) -> list[str]:
    """KEYSPACE/TABLE/KEY… as its decoded parts."""
    parts = text.split("/")
    if len(parts) < parts_min:
        form = "KEYSPACE/TABLE/KEY…" if parts_min > 2 else "KEYSPACE/TABLE"
        raise click.UsageError(f"{text!r} is not of the form {form}")
    try:
        return [unquote(part, errors="strict") for part in parts]
    except UnicodeDecodeError:
        raise click.UsageError("the % codes of the key are not UTF-8") from None


def named_key(session: Session, text: str) -> NamedKey:
    """The key that KEYSPACE/TABLE/KEY… names; the values are read by the types of the table's key columns."""
    keyspace, table, *texts = split_key(text)
    found = session.site.table(keyspace, table)
    spec = found.spec()
    names = spec.key_names
    if len(texts) > len(names):
        raise click.UsageError(
            f"the primary key of {keyspace}/{table} is {'/'.join(names)}; write a slash inside a value as %2F"
        )
    return NamedKey(
        found, spec, {name: from_text(spec, name, value) for name, value in zip(names, texts, strict=False)}
    )


def named_table(session: Session, text: str) -> tuple[Table, TableSpec]:
    """The table that KEYSPACE/TABLE names."""
    parts = split_key(text, parts_min=2)
    if len(parts) != 2:
        raise click.UsageError(f"{text!r} is not of the form KEYSPACE/TABLE")
    found = session.site.table(parts[0], parts[1])
    return found, found.spec()


def assignments(spec: TableSpec, texts: Sequence[str]) -> dict[str, Any]:
    """Columns from COLUMN=TEXT and COLUMN:=JSON."""
    columns: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"{text!r} is neither COLUMN=VALUE nor COLUMN:=JSON")
        if name.endswith(":"):
            name = name[:-1]
            columns[name] = from_json_text(spec, name, value)
        else:
            columns[name] = from_text(spec, name, value)
    return columns


def from_text(spec: TableSpec, column: str, text: str) -> Any:
    """A column's value from plain text; the error names the column."""
    cql_type = spec.type_of(column)
    try:
        return cql_type.from_text(text)
    except BadRequest as error:
        raise type(error)(f"{column}: {error.message}", column=column) from None


def from_json_text(spec: TableSpec, column: str, text: str) -> Any:
    """A column's value from JSON; null is null."""
    import msgspec

    cql_type = spec.type_of(column)
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        raise click.UsageError(f"{column}: what stands after := is JSON") from None
    if value is None:
        return None
    try:
        return cql_type.from_json(value)
    except BadRequest as error:
        raise type(error)(f"{column}: {error.message}", column=column) from None
