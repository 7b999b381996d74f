"""CQL's types, strict: a value that is not of a column's type is a `BadRequest`, never a null and never a guess.

    parse_type("map<text, int>")          the type; str() of it is the canonical spelling
    cql_type.serialise(value)             Python value -> native-protocol bytes (what every store holds)
    cql_type.deserialise(data)            and back, as the canonical Python value
    cql_type.json_to_bytes(value)         what an HTTP body holds -> bytes; bytes_to_json back
    cql_type.from_text(text)              CSV fields, path segments, query strings; to_text back
    cql_type.order_key(data)              bytes that sort as Cassandra sorts; order_key_descending for DESC

| type | Python value | JSON |
| --- | --- | --- |
| ascii, text (varchar) | str | string |
| boolean | bool | boolean |
| tinyint, smallint, int, bigint | int | integer |
| varint | int | string of digits |
| float, double | float | number; "NaN", "Infinity", "-Infinity" |
| decimal | decimal.Decimal | string |
| blob | bytes | string, standard base64 |
| uuid, timeuuid | uuid.UUID | string |
| inet | ipaddress.IPv4Address, IPv6Address | string |
| date | datetime.date; int days since 1970 outside the years 1 to 9999 | string YYYY-MM-DD |
| time | Time | string HH:MM:SS.nnnnnnnnn |
| timestamp | datetime.datetime in UTC; int milliseconds outside the years 1 to 9999 | string, RFC 3339 with Z |
| duration | Duration | string 1y2mo3d4h |
| list | list | array |
| set | frozenset; list where Python cannot hold the elements in one | array in order |
| map | dict; list of pairs where Python cannot hold the keys in one | object for text keys, else array of [key, value] |
| tuple | tuple, None inside | array, null inside |
"""

from polysite.values.types._base import CqlType
from polysite.values.types._duration import Duration, Time
from polysite.values.types._numbers import VARINT_BYTES_MAX
from polysite.values.types._parse import DEPTH_MAX, SPELLING_MAX, parse_type

__all__ = ["DEPTH_MAX", "SPELLING_MAX", "VARINT_BYTES_MAX", "CqlType", "Duration", "Time", "parse_type"]
