"""What a ZooKeeper server is to the others, as it says itself when asked by the four letters `srvr`."""

import re
from typing import Literal

Standing = Literal["leader", "follower", "observer", "standalone"]

QUESTION = b"srvr"
"""The one four-letter word that ZooKeeper 3.9 answers without being told to (`4lw.commands.whitelist`)."""

_MODE = re.compile(r"^Mode: (leader|follower|observer|standalone)\s*$", re.MULTILINE)
_NOT_ALLOWED = "is not executed because it is not in the whitelist"


class NotTold(Exception):
    """The server does not say what it is; `final` if it never will."""

    def __init__(self, message: str, *, final: bool) -> None:
        super().__init__(message)
        self.final = final


def parse_standing(answer: str) -> Standing:
    """The standing in an answer to `srvr`; NotTold if there is none in it."""
    found = _MODE.search(answer)
    if found is not None:
        return found[1]  # type: ignore[return-value]
    if _NOT_ALLOWED in answer:
        raise NotTold("the server may not answer `srvr`: see its 4lw.commands.whitelist", final=True)
    raise NotTold("the server does not serve yet", final=False)
