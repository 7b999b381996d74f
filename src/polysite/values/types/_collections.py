"""list, set, map, tuple: all of them frozen, that is read and written whole."""

import struct
from collections.abc import Iterable, Mapping
from typing import ClassVar

import msgspec

from polysite.errors import BadRequest
from polysite.values.types import _order
from polysite.values.types._base import CqlType

_length = struct.Struct(">i")


class CompoundType(CqlType):
    """What collections and tuples share: their text is their JSON, and their JSON goes by way of their bytes."""

    __slots__ = ()
    is_scalar: ClassVar[bool] = False

    def from_json(self, value: object) -> object:
        return self.deserialise(self.json_to_bytes(value))

    def to_json(self, value: object) -> object:
        return self.bytes_to_json(self.serialise(value))

    def from_text(self, text: str) -> object:
        try:
            value = msgspec.json.decode(text)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            raise self.refuse_text() from None
        return self.from_json(value)

    def to_text(self, value: object) -> str:
        return msgspec.json.encode(self.to_json(value)).decode("utf-8")


class ElementsType(CompoundType):
    """What list and set share: a counted row of elements of one type."""

    __slots__ = ("_element",)
    _element: CqlType
    is_collection: ClassVar[bool] = True
    json_form = "an array without null"
    text_form = "a JSON array without null"

    def __init__(self, name: str, element: CqlType) -> None:
        super().__init__(name, (element,))
        self._keep(_element=element)

    def bytes_to_json(self, data: bytes) -> list[object]:
        return [self._element.bytes_to_json(part) for part in split_counted(self, data, 1)]

    def order_key(self, data: bytes) -> bytes:
        return _key_of_elements(self._element.order_key(part) for part in split_counted(self, data, 1))

    def clustering_bytes(self, data: bytes) -> bytes:
        parts = split_counted(self, data, 1)
        return join_counted(len(parts), [self._element.clustering_bytes(part) for part in parts])


class ListType(ElementsType):
    """list: Python list (a tuple is taken too), JSON array. Sorted element by element, the shorter first."""

    __slots__ = ()
    value_form = "a list without None"

    def __init__(self, element: CqlType) -> None:
        super().__init__("list", element)

    def serialise(self, value: object) -> bytes:
        if not isinstance(value, list | tuple):
            raise self.refuse_value(value)
        serialise = self._element.serialise
        return join_counted(len(value), [serialise(element) for element in value])

    def deserialise(self, data: bytes) -> list[object]:
        return [self._element.deserialise(part) for part in split_counted(self, data, 1)]

    def json_to_bytes(self, value: object) -> bytes:
        if not isinstance(value, list):
            raise self.refuse_json(value)
        to_bytes = self._element.json_to_bytes
        return join_counted(len(value), [to_bytes(element) for element in value])


class SetType(ElementsType):
    """set: Python frozenset (a set or list is taken too), JSON array; written in the order of the elements.

    Elements that CQL counts as one are merged. What is read is a frozenset; where Python cannot hold that (elements
    that are lists or maps, or 0.0 beside -0.0, which Python counts as one) it is a list in the order of the elements.
    """

    __slots__ = ()
    value_form = "a set or a list without None"

    def __init__(self, element: CqlType) -> None:
        super().__init__("set", element)

    def serialise(self, value: object) -> bytes:
        if not isinstance(value, set | frozenset | list):
            raise self.refuse_value(value)
        return self._join([self._element.serialise(element) for element in value])

    def _join(self, parts: list[bytes]) -> bytes:
        by_key: dict[bytes, bytes] = {}
        for part in parts:
            by_key.setdefault(self._element.order_key(part), part)
        return join_counted(len(by_key), [by_key[key] for key in sorted(by_key)])

    def deserialise(self, data: bytes) -> frozenset[object] | list[object]:
        elements = [self._element.deserialise(part) for part in split_counted(self, data, 1)]
        try:
            found = frozenset(elements)
        except TypeError:  # an element is not hashable
            return elements
        return found if len(found) == len(elements) else elements

    def json_to_bytes(self, value: object) -> bytes:
        if not isinstance(value, list):
            raise self.refuse_json(value)
        return self._join([self._element.json_to_bytes(element) for element in value])


class MapType(CompoundType):
    """map: Python dict; JSON object when the keys are text or ascii, else array of [key, value]; written in key order.

    Keys that CQL counts as one are refused, because one of the values would be lost. What is read is a dict; where
    Python cannot hold that (keys that are lists or maps, or 0.0 beside -0.0) it is a list of (key, value) in key
    order, which is taken too.
    """

    __slots__ = ("_key", "_value", "json_form", "text_form")
    _key: CqlType
    _value: CqlType
    is_collection: ClassVar[bool] = True
    value_form = "a dict (or a list of pairs) without None"

    def __init__(self, key: CqlType, value: CqlType) -> None:
        super().__init__("map", (key, value))
        form = "object without null" if self._has_text_keys(key) else "array of [key, value] arrays without null"
        self._keep(_key=key, _value=value, json_form=f"an {form}", text_form=f"a JSON {form}")

    @staticmethod
    def _has_text_keys(key: CqlType) -> bool:
        return key.name in ("text", "ascii")

    def serialise(self, value: object) -> bytes:
        if isinstance(value, Mapping):
            pairs: Iterable[object] = value.items()
        elif isinstance(value, list):
            pairs = value
        else:
            raise self.refuse_value(value)
        key, held = self._key.serialise, self._value.serialise
        entries = []
        for pair in pairs:
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise self.refuse_content("takes pairs; an entry of the list given is none")
            entries.append((key(pair[0]), held(pair[1])))
        return self._join(entries)

    def _join(self, entries: list[tuple[bytes, bytes]]) -> bytes:
        by_key = {self._key.order_key(key): (key, value) for key, value in entries}
        if len(by_key) != len(entries):
            raise BadRequest(f"{self} takes every key once; two of those given are the same key", cql_type=str(self))
        return join_counted(len(by_key), [part for key in sorted(by_key) for part in by_key[key]])

    def _entries(self, data: bytes) -> Iterable[tuple[bytes, bytes]]:
        parts = split_counted(self, data, 2)
        return zip(parts[::2], parts[1::2], strict=True)

    def deserialise(self, data: bytes) -> dict[object, object] | list[tuple[object, object]]:
        pairs = [(self._key.deserialise(key), self._value.deserialise(value)) for key, value in self._entries(data)]
        try:
            found = dict(pairs)
        except TypeError:  # a key is not hashable
            return pairs
        return found if len(found) == len(pairs) else pairs

    def json_to_bytes(self, value: object) -> bytes:
        pairs: Iterable[object]
        if self._has_text_keys(self._key):
            if not isinstance(value, dict):
                raise self.refuse_json(value)
            pairs = value.items()
        else:
            if not isinstance(value, list):
                raise self.refuse_json(value)
            pairs = value
        entries = []
        for pair in pairs:
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise self.refuse_json(pair)
            entries.append((self._key.json_to_bytes(pair[0]), self._value.json_to_bytes(pair[1])))
        return self._join(entries)

    def bytes_to_json(self, data: bytes) -> object:
        key_json, value_json = self._key.bytes_to_json, self._value.bytes_to_json
        if self._has_text_keys(self._key):
            return {key_json(key): value_json(value) for key, value in self._entries(data)}
        return [[key_json(key), value_json(value)] for key, value in self._entries(data)]

    def order_key(self, data: bytes) -> bytes:
        return _key_of_elements(
            self._key.order_key(key) + self._value.order_key(value) for key, value in self._entries(data)
        )

    def clustering_bytes(self, data: bytes) -> bytes:
        key_bytes, value_bytes = self._key.clustering_bytes, self._value.clustering_bytes
        parts = [part for key, value in self._entries(data) for part in (key_bytes(key), value_bytes(value))]
        return join_counted(len(parts) // 2, parts)


class TupleType(CompoundType):
    """tuple: Python tuple (a list is taken too), JSON array; None and null may stand in it.

    Sorted part by part, null first. Bytes with fewer parts, as other programs may write them, are read with None for the
    missing ones.
    """

    __slots__ = ("json_form", "text_form", "value_form")

    def __init__(self, parts: tuple[CqlType, ...]) -> None:
        super().__init__("tuple", parts)
        count = len(parts)
        self._keep(
            value_form=f"a tuple of {count}", json_form=f"an array of {count}", text_form=f"a JSON array of {count}"
        )

    def serialise(self, value: object) -> bytes:
        if not isinstance(value, tuple | list):
            raise self.refuse_value(value)
        if len(value) != len(self.parameters):
            raise self.refuse_content(f"takes {len(self.parameters)} parts; the one given has another number")
        return join_lengths(
            None if part is None else part_type.serialise(part)
            for part_type, part in zip(self.parameters, value, strict=True)
        )

    def deserialise(self, data: bytes) -> tuple[object, ...]:
        return tuple(
            None if part is None else part_type.deserialise(part)
            for part_type, part in zip(self.parameters, self._split(data), strict=True)
        )

    def json_to_bytes(self, value: object) -> bytes:
        if not isinstance(value, list):
            raise self.refuse_json(value)
        if len(value) != len(self.parameters):
            raise self.refuse_content(f"takes {len(self.parameters)} parts; the one given has another number")
        return join_lengths(
            None if part is None else part_type.json_to_bytes(part)
            for part_type, part in zip(self.parameters, value, strict=True)
        )

    def bytes_to_json(self, data: bytes) -> list[object]:
        return [
            None if part is None else part_type.bytes_to_json(part)
            for part_type, part in zip(self.parameters, self._split(data), strict=True)
        ]

    def order_key(self, data: bytes) -> bytes:
        return b"".join(
            _order.NULL if part is None else _order.PRESENT + part_type.order_key(part)
            for part_type, part in zip(self.parameters, self._split(data), strict=True)
        )

    def clustering_bytes(self, data: bytes) -> bytes:
        return join_lengths(
            None if part is None else part_type.clustering_bytes(part)
            for part_type, part in zip(self.parameters, self._split(data), strict=True)
        )

    def _split(self, data: bytes) -> list[bytes | None]:
        parts = split_lengths(self, data, 0)
        if not parts or len(parts) > len(self.parameters):
            raise self.refuse_bytes()
        return parts + [None] * (len(self.parameters) - len(parts))


def join_lengths(parts: Iterable[bytes | None]) -> bytes:
    """Each part behind its length in 4 bytes; None is the length -1."""
    return b"".join(
        [b"\xff\xff\xff\xff" if part is None else _length.pack(len(part)) + part for part in parts],
    )


def join_counted(count: int, parts: list[bytes]) -> bytes:
    """A collection: the number of elements (entries of a map), then each part behind its length."""
    return _length.pack(count) + join_lengths(parts)


def split_lengths(cql_type: CqlType, data: bytes, at: int) -> list[bytes | None]:
    """The parts of `data` from `at` to its end; `BadRequest` when a length does not fit."""
    parts: list[bytes | None] = []
    end = len(data)
    while at < end:
        if at + 4 > end:
            raise cql_type.refuse_bytes()
        (length,) = _length.unpack_from(data, at)
        at += 4
        if length < 0:
            parts.append(None)
            continue
        if at + length > end:
            raise cql_type.refuse_bytes()
        parts.append(data[at : at + length])
        at += length
    return parts


def split_counted(cql_type: CqlType, data: bytes, parts_each: int) -> list[bytes]:
    """The parts of a collection, none of them null and exactly as many as the count says."""
    if len(data) < 4:
        raise cql_type.refuse_bytes()
    (count,) = _length.unpack_from(data)
    parts = split_lengths(cql_type, data, 4)
    present = [part for part in parts if part is not None]
    if len(present) != len(parts) or len(present) != count * parts_each:
        raise cql_type.refuse_bytes()
    return present


def _key_of_elements(keys: Iterable[bytes]) -> bytes:
    return b"".join([_order.PRESENT + key for key in keys]) + _order.NULL
