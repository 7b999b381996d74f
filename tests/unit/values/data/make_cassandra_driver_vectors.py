"""Makes cassandra_driver_vectors.json: what cassandra-driver writes for a table of values.

Run by hand, in an environment of its own that holds cassandra-driver; no test needs the driver:

    python make_cassandra_driver_vectors.py > cassandra_driver_vectors.json
"""

import importlib
import json
import sys
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

cassandra: Any = importlib.import_module("cassandra")
cqltypes: Any = importlib.import_module("cassandra.cqltypes")
util: Any = importlib.import_module("cassandra.util")

PROTOCOL_VERSION = 5


def _uuid(text: str) -> tuple[str, uuid.UUID]:
    return text, uuid.UUID(text)


def _timestamp(text: str) -> tuple[str, datetime]:
    return text, datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)


def _date(text: str) -> tuple[str, Any]:
    return text, util.Date(text)


def _time(nanoseconds: int, text: str) -> tuple[str, Any]:
    return text, util.Time(nanoseconds)


def _duration(text: str, *parts: int) -> tuple[str, Any]:
    return text, util.Duration(*parts)


# Type, in the spelling that the driver reads; then pairs of (JSON form of polysite, value for the driver).
TABLE: list[tuple[str, list[tuple[Any, Any]]]] = [
    ("AsciiType", [("", ""), ("plain", "plain"), ("~\u0000", "~\u0000")]),
    ("UTF8Type", [("", ""), ("naïve", "naïve"), ("日本", "日本"), ("\U0001f600 a\u0000b", "\U0001f600 a\u0000b")]),
    ("BooleanType", [(True, True), (False, False)]),
    ("ByteType", [(n, n) for n in (-128, -1, 0, 1, 127)]),
    ("ShortType", [(n, n) for n in (-32768, -1, 0, 258, 32767)]),
    ("Int32Type", [(n, n) for n in (-(2**31), -1, 0, 66051, 2**31 - 1)]),
    ("LongType", [(n, n) for n in (-(2**63), -1, 0, 2**53 + 1, 2**63 - 1)]),
    (
        "IntegerType",
        [
            (str(n), n)
            for n in (0, 1, -1, 127, 128, -128, -129, 255, 256, -256, 65535, -65536, 2**64, -(2**64), 10**40, -(10**40))
        ],
    ),
    ("FloatType", [(x, x) for x in (0.0, -0.0, 1.0, -1.5, 0.1, 3.4028234e38)] + [("Infinity", float("inf"))]),
    (
        "DoubleType",
        [(x, x) for x in (0.0, -0.0, 1.0, -1.5, 0.1, 5e-324, 1.7976931348623157e308)]
        + [("Infinity", float("inf")), ("-Infinity", float("-inf")), ("NaN", float("nan"))],
    ),
    (
        "DecimalType",
        [
            (text, Decimal(text))
            for text in ("0", "0.00", "1.0", "1.00", "-1.28", "12345678901234567890.123456789", "1E+3", "-7E-30", "128")
        ],
    ),
    ("BytesType", [("", b""), ("AP8=", b"\x00\xff"), ("AQID", b"\x01\x02\x03")]),
    ("UUIDType", [_uuid("cc520882-9507-44fb-8fc9-b349ecdee658"), _uuid("00000000-0000-0000-0000-000000000000")]),
    ("TimeUUIDType", [_uuid("2a92d750-d8dc-11e6-a2de-cf8ecd4cf053")]),
    ("InetAddressType", [(a, a) for a in ("127.0.0.1", "255.255.255.255", "2001:db8::1", "::", "::ffff:192.0.2.1")]),
    ("SimpleDateType", [_date(d) for d in ("1970-01-01", "1969-12-31", "2024-02-29", "0001-01-01", "9999-12-31")]),
    (
        "TimeType",
        [
            _time(0, "00:00:00.000000000"),
            _time(86_399_999_999_999, "23:59:59.999999999"),
            _time(45_296_000_000_789, "12:34:56.000000789"),
        ],
    ),
    (
        "TimestampType",
        [
            _timestamp("1970-01-01T00:00:00.000Z"),
            _timestamp("1969-12-31T23:59:59.999Z"),
            _timestamp("2024-02-29T12:34:56.789Z"),
            _timestamp("0001-01-01T00:00:00.000Z"),
            _timestamp("9999-12-31T23:59:59.999Z"),
        ],
    ),
    (
        "DurationType",
        [
            _duration("0s", 0, 0, 0),
            _duration("1y2mo3d4h5m6s7ms8us9ns", 14, 3, 14_706_007_008_009),
            _duration("-1y2mo3d4h", -14, -3, -14_400_000_000_000),
            _duration("178956970y7mo", 2**31 - 1, 0, 0),
            _duration("2562047h47m16s854ms775us807ns", 0, 0, 2**63 - 1),
            _duration("-2562047h47m16s854ms775us808ns", 0, 0, -(2**63)),
            _duration("64d", 0, 64, 0),
            # Around every length of a variable-length integer.
            *[_duration(f"{days}d", 0, days, 0) for days in (63, 8191, 8192, 2**20 - 1, 2**20, 2**27 - 1, 2**27)],
            *[_duration(f"-{days}d", 0, -days, 0) for days in (64, 65, 8193, 2**20 + 1, 2**31)],
            *[_duration(f"{hours}h", 0, 0, hours * 3_600_000_000_000) for hours in (1, 78, 79, 10_007, 10_008)],
        ],
    ),
    ("ListType(Int32Type)", [([], []), ([3, -1, 3], [3, -1, 3])]),
    ("ListType(UTF8Type)", [(["", "b"], ["", "b"])]),
    ("SetType(UTF8Type)", [([], []), (["a", "b"], ["a", "b"])]),
    ("SetType(Int32Type)", [([-1, 3], [-1, 3])]),
    ("MapType(UTF8Type, Int32Type)", [({}, {}), ({"a": 1, "b": -2}, {"a": 1, "b": -2})]),
    ("MapType(Int32Type, BooleanType)", [([[-5, True], [7, False]], {-5: True, 7: False})]),
    (
        "TupleType(Int32Type, UTF8Type, BooleanType)",
        [([1, "x", True], (1, "x", True)), ([1, None, False], (1, None, False))],
    ),
    (
        "MapType(UTF8Type, FrozenType(ListType(FrozenType(TupleType(LongType, UTF8Type)))))",
        [({"k": [[1, "a"], [2, None]]}, {"k": [(1, "a"), (2, None)]})],
    ),
]


def main() -> None:
    """Writes the vectors to standard output."""
    vectors = []
    for spelling, values in TABLE:
        cql_type = cqltypes.lookup_casstype(spelling)
        for json_form, value in values:
            data = cql_type.serialize(value, PROTOCOL_VERSION)
            vectors.append({"type": cql_type.cql_parameterized_type(), "json": json_form, "hex": data.hex()})
    made_by = f"cassandra-driver {cassandra.__version__}, protocol version {PROTOCOL_VERSION}"
    json.dump({"made_by": made_by, "vectors": vectors}, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
