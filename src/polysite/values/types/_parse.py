"""From the spelling of a type to the type."""

import re
from functools import lru_cache

from polysite.errors import BadRequest
from polysite.values.types._base import CqlType
from polysite.values.types._collections import ListType, MapType, SetType, TupleType
from polysite.values.types._numbers import BooleanType, DecimalType, FloatType, IntegerType, VarintType
from polysite.values.types._temporal import DateType, DurationType, TimestampType, TimeType
from polysite.values.types._texts import BlobType, InetType, TextType, UuidType

DEPTH_MAX = 8
"""Most levels of collections and tuples in one type, so that no value can make a program recurse without end."""

SPELLING_MAX = 4096
"""Longest spelling of a type, in characters."""

_text = TextType("text", "utf-8")
_INET_MEMBER = InetType(folds=True)
_SCALARS: dict[str, CqlType] = {
    "ascii": TextType("ascii", "ascii"),
    "bigint": IntegerType("bigint", ">q"),
    "blob": BlobType(),
    "boolean": BooleanType(),
    "date": DateType(),
    "decimal": DecimalType(),
    "double": FloatType("double", ">d", bytes.fromhex("7ff8000000000000")),
    "duration": DurationType(),
    "float": FloatType("float", ">f", bytes.fromhex("7fc00000")),
    "inet": InetType(),
    "int": IntegerType("int", ">i"),
    "smallint": IntegerType("smallint", ">h"),
    "text": _text,
    "time": TimeType(),
    "timestamp": TimestampType(),
    "timeuuid": UuidType("timeuuid", time_only=True),
    "tinyint": IntegerType("tinyint", ">b"),
    "uuid": UuidType("uuid", time_only=False),
    "varchar": _text,
    "varint": VarintType(),
}
_EXAMPLES = {
    "list": "list<int>",
    "set": "set<text>",
    "map": "map<text, int>",
    "tuple": "tuple<int, text>",
    "frozen": "frozen<list<int>>",
}
_REFUSED = {
    "counter": "counters are not supported, because an increment can neither be fenced nor safely sent again; "
    "use a bigint that is read and written in a critical section",
    "vector": "vectors are not supported; use list<float>",
}
_KNOWN = ", ".join(sorted(_SCALARS)) + ", list<>, set<>, map<,>, tuple<…>, frozen<>"
_TOKEN = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*|\S)")


@lru_cache(maxsize=4096)
def parse_type(text: str) -> CqlType:
    """The type of a spelling such as `int` or `map<text, frozen<list<int>>>`, in any case and spacing.

    `varchar` is `text`; `frozen<…>` is dropped, as every collection here is read and written whole. Raises `BadRequest`
    saying what is wrong: counters, vectors, user-defined types, an element or key that has no order (duration), more
    than `DEPTH_MAX` levels.
    """
    if len(text) > SPELLING_MAX:
        raise BadRequest(f"the spelling of a type has at most {SPELLING_MAX} characters")
    tokens = _Tokens(_TOKEN.findall(text))
    found = _parse(tokens, DEPTH_MAX)
    if tokens.next_one:
        raise tokens.unexpected("the end of the type")
    return found


class _Tokens:
    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0

    @property
    def next_one(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def take(self) -> str:
        token = self.next_one
        self._at += 1
        return token

    def expect(self, wanted: str) -> None:
        if self.next_one != wanted:
            raise self.unexpected(repr(wanted))
        self._at += 1

    def unexpected(self, wanted: str) -> BadRequest:
        found = f"{self.next_one[:40]!r}" if self.next_one else "the end"
        return BadRequest(f"in the spelling of a type {wanted} should stand where {found} stands")


def _parse(tokens: _Tokens, depth_left: int) -> CqlType:
    spelled = tokens.take()
    name = spelled.lower()
    if name in _SCALARS:
        return _SCALARS[name]
    if name in _REFUSED:
        raise BadRequest(_REFUSED[name])
    if name not in _EXAMPLES:
        raise _unknown(spelled)
    if tokens.next_one != "<":
        raise BadRequest(f"{name} needs the types of what it holds, such as {_EXAMPLES[name]}")
    if name == "frozen":
        return _parse_frozen(tokens, depth_left)
    if depth_left == 0:
        raise BadRequest(f"a type may have at most {DEPTH_MAX} levels of collections and tuples")
    return _compound(name, _parse_parameters(tokens, depth_left - 1))


def _unknown(spelled: str) -> BadRequest:
    if not spelled.isidentifier():
        shown = repr(spelled) if spelled else "the end"
        return BadRequest(f"in the spelling of a type {shown} stands where one of these should stand: {_KNOWN}")
    return BadRequest(
        f"there is no type {spelled[:40]!r}, and user-defined types are not supported; the types are {_KNOWN}"
    )


def _parse_frozen(tokens: _Tokens, depth_left: int) -> CqlType:
    # frozen<> costs no level, so a row of them is followed by a loop: recursion is bounded by the levels alone.
    frozen_levels = 0
    while frozen_levels == 0 or tokens.next_one.lower() == "frozen":
        if frozen_levels:
            tokens.take()
        tokens.expect("<")
        frozen_levels += 1
    inner = _parse(tokens, depth_left)
    for _ in range(frozen_levels):
        tokens.expect(">")
    if inner.is_scalar:
        raise BadRequest(f"frozen<> stands around a collection or a tuple only, not around {inner}")
    return inner


def _parse_parameters(tokens: _Tokens, depth_left: int) -> tuple[CqlType, ...]:
    tokens.expect("<")
    parameters = [_parse(tokens, depth_left)]
    while tokens.next_one == ",":
        tokens.take()
        parameters.append(_parse(tokens, depth_left))
    if tokens.next_one != ">":
        raise tokens.unexpected("',' or '>'")
    tokens.take()
    return tuple(parameters)


def _compound(name: str, parameters: tuple[CqlType, ...]) -> CqlType:
    if name == "tuple":
        return TupleType(parameters)
    wanted = 2 if name == "map" else 1
    if len(parameters) != wanted:
        raise BadRequest(
            f"{name} takes {wanted} {'types' if wanted > 1 else 'type'}, not {len(parameters)}, such as {_EXAMPLES[name]}"
        )
    parameters = tuple(_INET_MEMBER if isinstance(parameter, InetType) else parameter for parameter in parameters)
    if name == "list":
        return ListType(parameters[0])
    if not parameters[0].is_orderable:
        raise BadRequest(
            f"{parameters[0]} cannot stand in a set or in the keys of a map, because durations have no order"
        )
    return SetType(parameters[0]) if name == "set" else MapType(parameters[0], parameters[1])
