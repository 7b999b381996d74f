"""A statement that acsylla prepared: values bound to it, and rows read from its answers, as bytes."""

from collections.abc import Mapping, Sequence
from typing import Any

from polysite.engines.cassandra.acsylla_values import Convert, bind_all, binders, givers, rows_as_bytes
from polysite.engines.cassandra.port import Page, Statement, Value
from polysite.values.types import CqlType


class Ready:
    """A prepared statement: how each of its values is converted, and the columns of its answers."""

    __slots__ = ("_backs", "_converts", "_gives", "_names", "_prepared")

    def __init__(self, prepared: Any, statement: Statement) -> None:
        self._prepared = prepared
        self._converts = binders(statement)
        self._gives: Mapping[str, CqlType] | None = None
        self._names: list[str] = []
        self._backs: list[Convert | None] = []

    def bind(self, values: Sequence[Value]) -> Any:
        """A request with these values. BadRequest: too many or too few, or bytes that are not of their type."""
        request = self._prepared.bind()
        bind_all(request, self._converts, values)
        return request

    def page(self, result: Any, gives: Mapping[str, CqlType]) -> Page:
        """The rows of a SELECT, which names its columns: they are the same in each of its answers, and looked at in the first.

        `gives` is another object once its table was defined anew, and then they are looked at again.
        """
        if self._gives is not gives:
            self._names = result.columns_names()
            self._backs = givers(self._names, gives)
            self._gives = gives
        return _rows(result, self._names, self._backs)


def page_of(result: Any, gives: Mapping[str, CqlType]) -> Page:
    """The rows of an answer whose columns may differ from one to the next. KeyError: a column that `gives` does not name."""
    names = result.columns_names()
    return _rows(result, names, givers(names, gives))


def _rows(result: Any, names: list[str], backs: list[Convert | None]) -> Page:
    rows = [result.first().as_list()] if result.count() == 1 else [row.as_list() for row in result.all()]
    return Page(names, rows_as_bytes(backs, rows), result.page_state() if result.has_more_pages() else None)
