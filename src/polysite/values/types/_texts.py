"""ascii, text, blob, uuid, timeuuid, inet."""

import binascii
import re
import uuid
from binascii import a2b_base64, b2a_base64
from ipaddress import IPv4Address, IPv6Address

from polysite.values.types import _order
from polysite.values.types._base import CqlType, StringFormType

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_INET_TEXT_MAX = 64


class TextType(CqlType):
    """text (also written varchar) and ascii: Python str, JSON string, the text itself.

    Every Unicode text is taken, the empty one and U+0000 included; lone surrogates are refused, because UTF-8 cannot
    carry them. Sorted by UTF-8 bytes, which is the order of code points.
    """

    __slots__ = ("_codec", "json_form", "text_form", "value_form")
    _codec: str

    def __init__(self, name: str, codec: str) -> None:
        super().__init__(name)
        only = " of ASCII characters only" if codec == "ascii" else ""
        self._keep(_codec=codec, value_form=f"a str{only}", json_form=f"a string{only}", text_form=f"a text{only}")

    def serialise(self, value: object) -> bytes:
        if not isinstance(value, str):
            raise self.refuse_value(value)
        try:
            return value.encode(self._codec)
        except UnicodeEncodeError:
            raise self._uncodable() from None

    def deserialise(self, data: bytes) -> str:
        try:
            return data.decode(self._codec)
        except UnicodeDecodeError:
            raise self.refuse_bytes() from None

    def from_json(self, value: object) -> str:
        if not isinstance(value, str):
            raise self.refuse_json(value)
        self.serialise(value)
        return value

    def to_json(self, value: object) -> str:
        self.serialise(value)
        assert isinstance(value, str)
        return value

    def from_text(self, text: str) -> str:
        return self.to_json(text)

    def to_text(self, value: object) -> str:
        return self.to_json(value)

    def order_key(self, data: bytes) -> bytes:
        return _order.key_of_bytes(data)

    def json_to_bytes(self, value: object) -> bytes:
        if not isinstance(value, str):
            raise self.refuse_json(value)
        try:
            return value.encode(self._codec)
        except UnicodeEncodeError:
            raise self._uncodable() from None

    def bytes_to_json(self, data: bytes) -> str:
        try:
            return data.decode(self._codec)
        except UnicodeDecodeError:
            raise self.refuse_bytes() from None

    def _uncodable(self) -> Exception:
        if self._codec == "ascii":
            return self.refuse_content("takes ASCII characters only; the text given holds another")
        return self.refuse_content("takes what UTF-8 can carry; the text given holds a lone surrogate")


class BlobType(CqlType):
    """blob: Python bytes, standard base64 with padding in JSON and text. Sorted as unsigned bytes."""

    __slots__ = ()
    value_form = "bytes"
    json_form = "a string in standard base64 with padding"
    text_form = "standard base64 with padding"

    def __init__(self) -> None:
        super().__init__("blob")

    def serialise(self, value: object) -> bytes:
        if isinstance(value, bytes):
            return value
        if isinstance(value, bytearray | memoryview):
            return bytes(value)
        raise self.refuse_value(value)

    def deserialise(self, data: bytes) -> bytes:
        return data

    def from_json(self, value: object) -> bytes:
        if not isinstance(value, str):
            raise self.refuse_json(value)
        return self.from_text(value)

    def to_json(self, value: object) -> str:
        return b2a_base64(self.serialise(value), newline=False).decode("ascii")

    def from_text(self, text: str) -> bytes:
        try:
            data = a2b_base64(text, strict_mode=True)
        except (binascii.Error, ValueError):
            raise self.refuse_text() from None
        # Bits after the last byte must be zero: otherwise several texts would stand for the same bytes.
        if text.endswith("=") and b2a_base64(data[-(len(data) % 3) :], newline=False).decode("ascii") != text[-4:]:
            raise self.refuse_text()
        return data

    def to_text(self, value: object) -> str:
        return self.to_json(value)

    def order_key(self, data: bytes) -> bytes:
        return _order.key_of_bytes(data)

    def json_to_bytes(self, value: object) -> bytes:
        return self.from_json(value)

    def bytes_to_json(self, data: bytes) -> str:
        return b2a_base64(data, newline=False).decode("ascii")


class UuidType(StringFormType[uuid.UUID]):
    """uuid and timeuuid (version 1 only): Python UUID, the 36-character form in JSON and text."""

    __slots__ = ("_time_only", "json_form", "text_form", "value_form")
    _time_only: bool

    def __init__(self, name: str, *, time_only: bool) -> None:
        super().__init__(name)
        only = " of version 1" if time_only else ""
        form = f"a UUID{only} such as 2a92d750-d8dc-11e6-a2de-cf8ecd4cf053"
        self._keep(_time_only=time_only, value_form=f"a uuid.UUID{only}", json_form=f"a string, {form}", text_form=form)

    def canonical(self, value: object) -> uuid.UUID:
        if not isinstance(value, uuid.UUID):
            raise self.refuse_value(value)
        # The version digit alone decides, as in Cassandra; UUID.version also wants the RFC 4122 variant.
        if self._time_only and (value.int >> 76) & 0xF != 1:
            raise self._wrong_version()
        return value

    def encode(self, value: uuid.UUID) -> bytes:
        return value.bytes

    def decode(self, data: bytes) -> uuid.UUID:
        if self._time_only and len(data) == 16 and data[6] >> 4 != 1:
            raise ValueError
        return uuid.UUID(bytes=bytes(data))

    def parse(self, text: str) -> uuid.UUID:
        if not _UUID.fullmatch(text):
            raise ValueError
        return self.canonical(uuid.UUID(text))

    def format(self, value: uuid.UUID) -> str:
        return str(value)

    def order_key(self, data: bytes) -> bytes:
        self.deserialise(data)
        return _order.key_of_timeuuid(data) if self._time_only else _order.key_of_uuid(data)

    def json_to_bytes(self, value: object) -> bytes:
        if not isinstance(value, str):
            raise self.refuse_json(value)
        if not _UUID.fullmatch(value):
            raise self.refuse_text()
        data = bytes.fromhex(value.replace("-", ""))
        if self._time_only and data[6] >> 4 != 1:
            raise self._wrong_version()
        return data

    def bytes_to_json(self, data: bytes) -> str:
        if len(data) != 16 or (self._time_only and data[6] >> 4 != 1):
            raise self.refuse_bytes()
        digits = data.hex()
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    def _wrong_version(self) -> Exception:
        return self.refuse_content("takes version 1 only; the UUID given has another")


class InetType(StringFormType[IPv4Address | IPv6Address]):
    """inet: Python IPv4Address or IPv6Address (without a zone), the usual text forms. Sorted as unsigned bytes.

    An IPv4 address written inside an IPv6 one (::ffff:1.2.3.4) stays the 16 bytes it is, but not as a member of a list, a set or a map
    (`folds`): there it is the IPv4 address that it means, for Cassandra 5.0 makes it so when it stores them (seen on a real one; in tuples it does not).
    """

    __slots__ = ("_folds",)
    _folds: bool
    value_form = "an IPv4Address or IPv6Address without a zone"
    json_form = 'a string such as "192.0.2.7" or "2001:db8::1"'
    text_form = "an address such as 192.0.2.7 or 2001:db8::1"

    def __init__(self, *, folds: bool = False) -> None:
        super().__init__("inet")
        self._keep(_folds=folds)

    def canonical(self, value: object) -> IPv4Address | IPv6Address:
        if not isinstance(value, IPv4Address | IPv6Address):
            raise self.refuse_value(value)
        if isinstance(value, IPv6Address) and value.scope_id is not None:
            raise self.refuse_content("takes addresses without a zone; the one given has one")
        mapped = value.ipv4_mapped if self._folds and isinstance(value, IPv6Address) else None
        return value if mapped is None else mapped

    def encode(self, value: IPv4Address | IPv6Address) -> bytes:
        return value.packed

    def decode(self, data: bytes) -> IPv4Address | IPv6Address:
        if len(data) == 4:
            return IPv4Address(bytes(data))
        if len(data) == 16:
            return IPv6Address(bytes(data))
        raise ValueError

    def parse(self, text: str) -> IPv4Address | IPv6Address:
        if len(text) > _INET_TEXT_MAX or not text.isascii():
            raise ValueError
        return self.canonical(IPv6Address(text) if ":" in text else IPv4Address(text))

    def format(self, value: IPv4Address | IPv6Address) -> str:
        # RFC 5952, section 5. Python writes it so from 3.13 on, ::ffff:c000:207 before.
        mapped = value.ipv4_mapped if isinstance(value, IPv6Address) else None
        return str(value) if mapped is None else f"::ffff:{mapped}"

    def order_key(self, data: bytes) -> bytes:
        if len(data) not in (4, 16):
            raise self.refuse_bytes()
        return _order.key_of_bytes(data)
