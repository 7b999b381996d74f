"""Members that stand twice in one object of a JSON body: every reader takes another one of them, so none is taken.

The decoder keeps the last one and says nothing. That there are none is seen by counting: each member has one colon, and
what the decoder dropped is missing when its result is written out again. Only when the counts differ, or an escape in the
body may stand for a colon, are the members looked at one by one.
"""

import json

import msgspec

from polysite.errors import BadRequest
from polysite.server.convert import shown

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_ESCAPED = b"\\u003"
"""What the escapes of the colon begin with."""


def check_members(raw: bytes, what: str, *, at_least: int = 0) -> None:
    """BadRequest, naming the member, if an object of the JSON text `raw`, which was decoded before, has a member twice.

    `at_least`: how many different members the text is known to have. With so many colons it has no others.
    """
    colons = raw.count(b":")
    if colons <= at_least:
        return
    try:
        if colons != _encode(_decode(raw)).count(b":") or _ESCAPED in raw:
            json.loads(raw, object_pairs_hook=_Objects(what).once)
    except RecursionError:
        raise BadRequest(f"{what} is nested too deeply") from None


class _Objects:
    """Looks at the objects of one text as they are read, the inner ones first."""

    def __init__(self, what: str) -> None:
        self._what = what

    def once(self, members: list[tuple[str, object]]) -> None:
        """BadRequest if a name is there twice; nothing is kept of the object."""
        seen: set[str] = set()
        for name, _ in members:
            if name in seen:
                raise BadRequest(f"{self._what} has the member {shown(name)} twice in one object", member=shown(name))
            seen.add(name)
