"""What every CQL type offers, and the words in which a value is refused."""

import struct
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, TypeVar

from polysite.errors import BadRequest
from polysite.values.types._order import complement

Value = TypeVar("Value")


class CqlType(ABC):
    """One CQL type: how its values are written as bytes, as JSON, as text and as a sortable key.

    Types are immutable, hashable and equal when their canonical spelling (`str(cql_type)`) is equal. Get them from
    `parse_type`. Every method raises `BadRequest` for a value that is not of the type; the message names the type and
    what it takes and never shows the value. None (null) is not a value: columns that are null have no bytes.
    """

    __slots__ = ("_spelling", "name", "parameters")

    name: str
    parameters: "tuple[CqlType, ...]"
    _spelling: str

    is_collection: ClassVar[bool] = False
    """True for list, set and map; a tuple is one value."""
    is_scalar: ClassVar[bool] = True
    value_form: str
    """What `serialise` takes, as the end of the sentence "the type takes …"; beside it the same for JSON and text."""
    json_form: str
    text_form: str

    def __init__(self, name: str, parameters: "tuple[CqlType, ...]" = ()) -> None:
        spelling = f"{name}<{', '.join(map(str, parameters))}>" if parameters else name
        self._keep(name=name, parameters=parameters, _spelling=spelling)

    def _keep(self, **attributes: object) -> None:
        for attribute, value in attributes.items():
            object.__setattr__(self, attribute, value)

    def __setattr__(self, attribute: str, value: object) -> None:
        raise AttributeError(f"a CQL type is immutable; {attribute} cannot be set")

    def __delattr__(self, attribute: str) -> None:
        raise AttributeError(f"a CQL type is immutable; {attribute} cannot be deleted")

    def __str__(self) -> str:
        return self._spelling

    def __repr__(self) -> str:
        return f"parse_type({self._spelling!r})"

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, CqlType) and other._spelling == self._spelling)

    def __hash__(self) -> int:
        return hash(self._spelling)

    def __reduce__(self) -> tuple[Any, ...]:
        from polysite.values.types._parse import parse_type

        return parse_type, (self._spelling,)

    @property
    def depth(self) -> int:
        """Levels of collections and tuples: 0 for int, 2 for `list<tuple<int, text>>`."""
        if self.is_scalar:
            return 0
        return 1 + max(parameter.depth for parameter in self.parameters)

    @property
    def is_orderable(self) -> bool:
        """Whether values have an order, and so may stand in a key, a set or the keys of a map: all but `duration`."""
        return all(parameter.is_orderable for parameter in self.parameters)

    @property
    def holds_decimals(self) -> bool:
        """Whether `clustering_bytes` may differ from what it is given."""
        return any(parameter.holds_decimals for parameter in self.parameters)

    @abstractmethod
    def serialise(self, value: object) -> bytes:
        """The native-protocol bytes (version 3 and later) of a Python value."""

    @abstractmethod
    def deserialise(self, data: bytes) -> object:
        """The canonical Python value of native-protocol bytes; empty bytes are refused except for text and blob."""

    @abstractmethod
    def from_json(self, value: object) -> object:
        """The canonical Python value of a decoded JSON value."""

    @abstractmethod
    def to_json(self, value: object) -> object:
        """A Python value as what JSON can hold: str, int, float, bool, list, dict, None (only inside a tuple)."""

    @abstractmethod
    def from_text(self, text: str) -> object:
        """The canonical Python value of a text: a CSV field, a path segment, a value in a query string."""

    @abstractmethod
    def to_text(self, value: object) -> str:
        """A Python value as text that `from_text` reads back."""

    @abstractmethod
    def order_key(self, data: bytes) -> bytes:
        """Bytes that sort (memcmp) as Cassandra sorts the serialised values `data` of this type.

        No key is a prefix of another of the same type, so keys of several columns may be concatenated and sort column
        by column. Two values have the same key exactly when Cassandra holds them for the same clustering value: that
        is when they are the same bytes, except for decimal, where 1.0 and 1.00 share a key, and for bytes that
        `serialise` never writes (a varint with needless leading bytes, a NaN of another bit pattern).
        """

    def clustering_bytes(self, data: bytes) -> bytes:
        """The one serialised form of all values that have the order key of `data`: equal bytes, equal clustering value.

        Only decimals have several forms (1, 1.0, 1.00); they lose their needless zeros here. Meant for clustering columns, never
        for partition columns, where Cassandra counts the forms as different keys.
        """
        return data

    def order_key_descending(self, data: bytes) -> bytes:
        """`order_key` for a column that is clustered in descending order: the same bytes, complemented."""
        return complement(self.order_key(data))

    def json_to_bytes(self, value: object) -> bytes:
        """`serialise(from_json(value))`, shorter."""
        return self.serialise(self.from_json(value))

    def bytes_to_json(self, data: bytes) -> object:
        """`to_json(deserialise(data))`, shorter."""
        return self.to_json(self.deserialise(data))

    def refuse_value(self, value: object) -> BadRequest:
        """The error for a Python value of a wrong type."""
        return self._refusal(self.value_form, f", not {_python_kind(value)}")

    def refuse_json(self, value: object) -> BadRequest:
        """The error for a JSON value of a wrong kind."""
        return self._refusal(self.json_form, f", not {_json_kind(value)}")

    def refuse_text(self) -> BadRequest:
        """The error for a text that does not read as a value of this type."""
        return self._refusal(self.text_form, "; the text given does not read as one")

    def refuse_content(self, reason: str) -> BadRequest:
        """The error for a value of the right kind that the type cannot hold; `reason` ends the sentence "the type …"."""
        return BadRequest(f"{self} {reason}", cql_type=str(self))

    def refuse_bytes(self) -> BadRequest:
        """The error for bytes that are no serialised value of this type."""
        return BadRequest(f"these bytes are not a serialised {self}", cql_type=str(self))

    def _refusal(self, form: str, but: str) -> BadRequest:
        return BadRequest(f"{self} takes {form}{but}", cql_type=str(self))


class StringFormType(CqlType, Generic[Value]):
    """A scalar type whose JSON form and text form are the same string.

    A type gives five small functions; those that read raise ValueError (or a subclass) for what they cannot read.
    """

    __slots__ = ()

    @abstractmethod
    def canonical(self, value: object) -> Value:
        """The one Python value that stands for `value`; raises `BadRequest` when it is not of the type."""

    @abstractmethod
    def encode(self, value: Value) -> bytes:
        """The bytes of a canonical value."""

    @abstractmethod
    def decode(self, data: bytes) -> Value:
        """The canonical value of bytes, or ValueError or struct.error."""

    @abstractmethod
    def parse(self, text: str) -> Value:
        """The canonical value of a text, or ValueError."""

    @abstractmethod
    def format(self, value: Value) -> str:
        """The text of a canonical value."""

    def serialise(self, value: object) -> bytes:
        return self.encode(self.canonical(value))

    def deserialise(self, data: bytes) -> Value:
        try:
            return self.decode(data)
        except (ValueError, struct.error):
            raise self.refuse_bytes() from None

    def from_json(self, value: object) -> Value:
        if not isinstance(value, str):
            raise self.refuse_json(value)
        return self.from_text(value)

    def to_json(self, value: object) -> str:
        return self.format(self.canonical(value))

    def from_text(self, text: str) -> Value:
        try:
            return self.parse(text)
        except ValueError:
            raise self.refuse_text() from None

    def to_text(self, value: object) -> str:
        return self.format(self.canonical(value))

    def json_to_bytes(self, value: object) -> bytes:
        return self.encode(self.from_json(value))

    def bytes_to_json(self, data: bytes) -> object:
        return self.format(self.deserialise(data))


def _python_kind(value: object) -> str:
    if value is None:
        return "None"
    name = type(value).__name__
    return f"an {name}" if name[:1].lower() in "aeiou" else f"a {name}"


def _json_kind(value: object) -> str:
    if value is None:
        return "null"
    for kind, words in _JSON_KINDS:
        if isinstance(value, kind):
            return words
    return _python_kind(value)


# bool stands before int, of which it is a subclass.
_JSON_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "a boolean"),
    (int, "an integer"),
    (float, "a number with a fraction or exponent"),
    (str, "a string"),
    (list, "an array"),
    (dict, "an object"),
)
