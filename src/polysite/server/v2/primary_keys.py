"""How a table of this interface says what its key is: a CQL text, or members of their own."""

from typing import NamedTuple

from polysite.server.v2.bodies import Body
from polysite.server.v2.envelope import Failure
from polysite.server.v2.names import PRIMARY_KEY, fold
from polysite.values.tables import ClusteringColumn


class KeyColumns(NamedTuple):
    """Folded names, each once."""

    partition: tuple[str, ...]
    clustering: tuple[ClusteringColumn, ...]


def key_columns(body: Body, fields: dict[str, object]) -> KeyColumns:
    """The key columns of a create-table body. `partitionKey` wins over `PRIMARY KEY` in `fields`, which wins over `primaryKey`."""
    partition_text = body.text("partitionKey")
    clustering_text, filtering_text = body.text("clusteringKey"), body.text("filteringKey")
    if partition_text is not None:
        if clustering_text is None and filtering_text is None:
            raise Failure(
                "Create Table Error: with partitionKey goes clusteringKey or filteringKey, which may be empty"
            )
        partition = _names(_bare(partition_text))
        clustering = [*_names(clustering_text or ""), *_names(filtering_text or "")]
    else:
        stated = Body(fields).text(PRIMARY_KEY)
        if stated is None:
            stated = body.text("primaryKey")
        if stated is None:
            raise Failure("Create Table Error: no primary key: say PRIMARY KEY in fields, primaryKey or partitionKey")
        partition, clustering = parse_primary_key(stated)
    if not partition:
        raise Failure("Create Table Error: the primary key names no partition column")
    for name in clustering:
        if name in partition:
            raise Failure(
                f"Create Table primary key error: clusterKey({name}) equals/contains/overlaps "
                f"partitionKey({','.join(partition)})"
            )
    directions = _directions(body.text("clusteringOrder") if clustering else None, clustering)
    return KeyColumns(
        tuple(partition),
        tuple(ClusteringColumn(name, "desc" if directions.get(name) else "asc") for name in clustering),
    )


def parse_primary_key(text: str) -> tuple[list[str], list[str]]:
    """Partition and clustering columns of `a`, `(a)`, `(a, b)`, `((a, b), c)`."""
    depth = 0
    for sign in text:
        depth += (sign == "(") - (sign == ")")
        if depth < 0:
            break
    if depth != 0:
        raise Failure(f"Create Table Error: primary key '(' and ')' do not match, primary key={text[:256]}")
    inner = text.strip()
    if inner.startswith("(") and inner.endswith(")") and _closes_at(inner) == len(inner) - 1:
        inner = inner[1:-1].strip()
    if inner.startswith("("):
        end = _closes_at(inner)
        return _names(inner[1:end]), _names(inner[end + 1 :].strip().removeprefix(","))
    names = _names(inner)
    return names[:1], names[1:]


def _closes_at(text: str) -> int:
    """Where the parenthesis that opens the text closes."""
    depth = 0
    for at, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if depth == 0:
            return at
    raise AssertionError("the parentheses were counted before")


def _bare(text: str) -> str:
    stripped = text.strip()
    return stripped[1:-1] if stripped.startswith("(") and stripped.endswith(")") else stripped


def _names(text: str) -> list[str]:
    return [fold(part.strip(), "column") for part in text.split(",") if part.strip()]


def _directions(text: str | None, clustering: list[str]) -> dict[str, bool]:
    """Column to whether it is kept in descending order."""
    found: dict[str, bool] = {}
    for item in (text or "").split(","):
        words = item.split()
        if not words:
            continue
        if len(words) != 2 or words[1].upper() not in {"ASC", "DESC"}:
            raise Failure(
                "createTable/Clustering Order vlaue ERROR: valid clustering order is ASC or DESC or expecting colname  "
                f"order; please correct clusteringOrder:{(text or '')[:256]}."
            )
        name = fold(words[0], "column")
        if name not in clustering:
            raise Failure(f"createTable/Clustering Order: {name} is no clustering column")
        found[name] = words[1].upper() == "DESC"
    return found
