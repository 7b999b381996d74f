"""Every statement that is asked of a table, spelled out once per shape. Values are always bound, names always quoted."""

# ruff: noqa: S608 - names come from checked specs

from collections.abc import Iterable, Sequence
from functools import cached_property

from polysite.engines.cassandra import Statement
from polysite.stores.cassandra.layout import (
    ABSENT,
    BIGINT,
    HIDDEN_TYPES,
    INT,
    MARKER,
    PART_STAMP,
    ROW_STAMP,
    CassandraTable,
    quoted,
)
from polysite.stores.cassandra.slices import Piece
from polysite.values.types import CqlType

_SHAPES_MAX = 256


class Statements:
    """The statements of one making of a table."""

    def __init__(self, table: CassandraTable) -> None:
        self.table = table
        spec = table.spec
        types = spec.types
        self._types = types | HIDDEN_TYPES | {PART_STAMP: BIGINT}
        self._partition = _equal(spec.partition_key)
        self._partition_types = tuple(types[name] for name in spec.partition_key)
        self._key = _equal(spec.key_names)
        self._key_types = tuple(types[name] for name in spec.key_names)
        self._regular_types = tuple(types[name] for name in table.regular)
        self._shapes: dict[object, Statement] = {}
        self._gives: dict[str, CqlType] = {}
        shown: list[str] = []
        for place, name in enumerate(table.regular):
            shown += [
                quoted(name),
                f"writetime({quoted(name)}) AS polysite_w{place}",
                f"ttl({quoted(name)}) AS polysite_l{place}",
            ]
            self._gives |= {name: types[name], f"polysite_w{place}": BIGINT, f"polysite_l{place}": INT}
        shown += [quoted(ROW_STAMP), quoted(ABSENT), quoted(MARKER), f"ttl({quoted(MARKER)}) AS polysite_lm"]
        self._gives |= HIDDEN_TYPES | {"polysite_lm": INT}
        if table.is_clustered:
            shown.append(quoted(PART_STAMP))
            self._gives[PART_STAMP] = BIGINT
        self._selection = ", ".join(shown)
        self._keyed_selection = ", ".join([*map(quoted, spec.key_names), *shown])
        self._keyed_gives = {name: types[name] for name in spec.key_names} | self._gives

    # reading

    @cached_property
    def row(self) -> Statement:
        """One row, without its key."""
        text = f"SELECT {self._selection} FROM {self.table.name} WHERE {self._key}"
        return Statement(text, self._key_types, self._gives)

    @cached_property
    def static(self) -> Statement:
        """The part stamp of a partition, also of one without rows."""
        names = ", ".join(map(quoted, (*self.table.spec.partition_key, PART_STAMP)))
        text = f"SELECT DISTINCT {names} FROM {self.table.name} WHERE {self._partition}"
        gives = {name: self._types[name] for name in (*self.table.spec.partition_key, PART_STAMP)}
        return Statement(text, self._partition_types, gives)

    def rows(self, count: int) -> Statement:
        """`count` rows of one partition by their whole clustering keys, with their keys."""
        known = self._shapes.get(("rows", count))
        if known is not None:
            return known
        names = self.table.spec.clustering_names
        where = self._partition
        if names:
            one = f"({', '.join('?' * len(names))})"
            where += f" AND ({', '.join(map(quoted, names))}) IN ({', '.join([one] * count)})"
        takes = self._partition_types + self._clustering_types(0, len(names)) * count
        return self._keep(
            ("rows", count), f"SELECT {self._keyed_selection} FROM {self.table.name} WHERE {where}", takes
        )

    def slice(self, piece: Piece, *, reverse: bool = False, index: str | None = None) -> Statement:
        """The rows of a piece of a partition, in clustering order or its reverse; `index`: with a value in that column."""
        shape = tuple((relation.first, relation.operator, len(relation.values)) for relation in piece)
        known = self._shapes.get((shape, reverse, index))
        if known is not None:
            return known
        names = self.table.spec.clustering_names
        where = " AND ".join([self._partition, *(relation.cql(names) for relation in piece)])
        takes = self._partition_types
        for relation in piece:
            takes += self._clustering_types(relation.first, len(relation.values))
        if index is not None:
            where += f" AND {quoted(index)} = ?"
            takes += (self._types[index],)
        order = ""
        if reverse and names:
            turned = zip(names, self.table.directions, strict=True)
            order = " ORDER BY " + ", ".join(
                f"{quoted(name)} {'ASC' if direction == 'desc' else 'DESC'}" for name, direction in turned
            )
        text = f"SELECT {self._keyed_selection} FROM {self.table.name} WHERE {where}{order}"
        return self._keep((shape, reverse, index), text, takes)

    def scan(self, *, index: str | None, beyond: bool) -> Statement:
        """Rows of all partitions in the order of their tokens; `beyond`: of those above the token of a partition."""
        known = self._shapes.get(("scan", index, beyond))
        if known is not None:
            return known
        where: list[str] = []
        takes: tuple[CqlType, ...] = ()
        if index is not None:
            where.append(f"{quoted(index)} = ?")
            takes += (self._types[index],)
        if beyond:
            where.append(f"{self._token} > {self._token_asked}")
            takes += self._partition_types
        text = f"SELECT {self._keyed_selection} FROM {self.table.name}"
        text += f" WHERE {' AND '.join(where)}" if where else ""
        return self._keep(("scan", index, beyond), text, takes)

    @cached_property
    def same_token(self) -> Statement:
        """The partitions that have the token of a given one: nearly always it alone."""
        names = self.table.spec.partition_key
        text = (
            f"SELECT DISTINCT {', '.join(map(quoted, names))} FROM {self.table.name}"
            f" WHERE {self._token} >= {self._token_asked} AND {self._token} <= {self._token_asked}"
        )
        return Statement(text, self._partition_types * 2, {name: self._types[name] for name in names})

    # writing; plain statements end with their stamp and life, those for conditional writes carry neither stamp

    def put(self, *, marker: bool, stamped: bool = True) -> Statement:
        """All columns and hidden ones of one row, in the order regular, row stamp, absent, marker; the rest by UNSET.

        Values: INSERT (`marker`) takes key, columns, [stamp,] life; UPDATE takes [stamp,] life, columns, key.
        """
        known = self._shapes.get(("put", marker, stamped))
        if known is not None:
            return known
        names = [*self.table.regular, ROW_STAMP, ABSENT, MARKER]
        columns = tuple(self._types[name] for name in names)
        using = "USING TIMESTAMP ? AND TTL ?" if stamped else "USING TTL ?"
        used: tuple[CqlType, ...] = (BIGINT, INT) if stamped else (INT,)
        if marker:
            named = [*self.table.spec.key_names, *names]
            text = (
                f"INSERT INTO {self.table.name} ({', '.join(map(quoted, named))})"
                f" VALUES ({', '.join('?' * len(named))}) {using}"
            )
            takes = self._key_types + columns + used
        else:
            text = f"UPDATE {self.table.name} {using} SET {_equal(names, ', ')} WHERE {self._key}"
            takes = used + columns + self._key_types
        return self._keep(("put", marker, stamped), text, takes)

    @cached_property
    def delete_row(self) -> Statement:
        """Takes stamp, key."""
        return self._delete("row", self._key, self._key_types, stamped=True)

    def delete_slice(self, piece: Piece, *, stamped: bool = True) -> Statement:
        """Takes [stamp,] partition, values of the piece."""
        shape = tuple((relation.first, relation.operator, len(relation.values)) for relation in piece)
        names = self.table.spec.clustering_names
        where = " AND ".join([self._partition, *(relation.cql(names) for relation in piece)])
        takes = self._partition_types
        for relation in piece:
            takes += self._clustering_types(relation.first, len(relation.values))
        return self._delete(("slice", shape, stamped), where, takes, stamped=stamped)

    @cached_property
    def set_part_stamp(self) -> Statement:
        """Takes stamp, part stamp, partition."""
        text = f"UPDATE {self.table.name} USING TIMESTAMP ? SET {quoted(PART_STAMP)} = ? WHERE {self._partition}"
        return Statement(text, (BIGINT, BIGINT, *self._partition_types))

    # conditions; each writes nothing by itself: the one column it sets is bound UNSET

    @cached_property
    def if_true(self) -> Statement:
        """A condition that always holds, for the agreement alone. Takes an UNSET and the partition.

        With clustering columns it is of the static row, which conditional tables never write; there Cassandra answers a
        refusal with all columns of the rows asked, instead of those of the conditions (5.0, `BatchStatement`).
        """
        if self.table.is_clustered:
            names = (*self.table.spec.partition_key, PART_STAMP)
            text = (
                f"INSERT INTO {self.table.name} ({', '.join(map(quoted, names))})"
                f" VALUES ({', '.join('?' * len(names))}) IF NOT EXISTS"
            )
            return Statement(text, (*self._partition_types, BIGINT), self._keyed_gives)
        return self._condition(f"{quoted(ABSENT)} = null", ())

    @cached_property
    def if_exists(self) -> Statement:
        """Takes an UNSET and the key."""
        return self._condition("EXISTS", ())

    def if_equal(self, names: Sequence[str]) -> Statement:
        """Each of the columns has the value asked, null included. Takes an UNSET, the key, the values."""
        known = self._shapes.get(("if", tuple(names)))
        if known is None:
            known = self._condition(_equal(names), tuple(self._types[name] for name in names))
            self._shapes["if", tuple(names)] = known
        return known

    def _condition(self, condition: str, takes: tuple[CqlType, ...]) -> Statement:
        text = f"UPDATE {self.table.name} SET {quoted(MARKER)} = ? WHERE {self._key} IF {condition}"
        return Statement(text, (self._types[MARKER], *self._key_types, *takes), self._keyed_gives)

    def _delete(self, shape: object, where: str, takes: tuple[CqlType, ...], *, stamped: bool) -> Statement:
        known = self._shapes.get(("delete", shape))
        if known is not None:
            return known
        using = " USING TIMESTAMP ?" if stamped else ""
        text = f"DELETE FROM {self.table.name}{using} WHERE {where}"
        return self._keep(("delete", shape), text, (BIGINT, *takes) if stamped else takes)

    def _keep(self, shape: object, text: str, takes: tuple[CqlType, ...]) -> Statement:
        if len(self._shapes) >= _SHAPES_MAX:
            self._shapes.clear()
        made = self._shapes[shape] = Statement(text, takes, self._keyed_gives)
        return made

    def _clustering_types(self, first: int, count: int) -> tuple[CqlType, ...]:
        names = self.table.spec.clustering_names[first : first + count]
        return tuple(self._types[name] for name in names)

    @property
    def _token(self) -> str:
        return f"token({', '.join(map(quoted, self.table.spec.partition_key))})"

    @property
    def _token_asked(self) -> str:
        return f"token({', '.join('?' * len(self.table.spec.partition_key))})"


def _equal(names: Iterable[str], between: str = " AND ") -> str:
    return between.join(f"{quoted(name)} = ?" for name in names)
