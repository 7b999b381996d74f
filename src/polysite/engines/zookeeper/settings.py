"""How a process reaches its ZooKeeper, as an operator writes it down."""

import re
from typing import Annotated

import msgspec

from polysite.errors import BadRequest

_SERVER = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")
_FOLDER = re.compile(r"[A-Za-z0-9._-]+")


class ZookeeperSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the servers are, which folder of theirs is ours, and how long anything may take."""

    servers: tuple[str, ...] = ("127.0.0.1:2181",)
    """`HOST:PORT` each, tried in this order at every connection: this site's own first, or alone."""
    folder: str = "/polysite"
    """The path under which everything is kept; it is made if need be. Every site that shares locks names the same one."""
    session_ms: Annotated[int, msgspec.Meta(ge=1_000, le=600_000)] = 6_000
    """How long the servers keep a session of which they hear nothing. A server that is silent for two thirds of it is left.
    ZooKeeper has bounds of its own (2 to 20 ticks) and may choose another figure."""
    request_ms: Annotated[int, msgspec.Meta(ge=100, le=600_000)] = 5_000
    """How long an answer is waited for; a change without one is `outcome_unknown`."""
    connect_ms: Annotated[int, msgspec.Meta(ge=100, le=600_000)] = 15_000
    """How long a start waits for the first connection."""
    user: str = ""
    """Whom the servers know this process as (their scheme `digest`), and the only one who may then change or read what it
    makes; "": nobody in particular, and anybody may."""
    password_file: str = ""
    """The file with that user's password, alone on its first line."""

    def checked(self) -> "ZookeeperSettings":
        """These settings, if they can be meant. BadRequest says which cannot, and what it may be."""
        if not self.servers:
            raise BadRequest("zookeeper.servers: name at least one server, as HOST:PORT")
        for server in self.servers:
            found = _SERVER.fullmatch(server)
            if found is None or not 0 < int(found["port"]) <= 65_535:
                raise BadRequest(f"zookeeper.servers: {server!r} is not HOST:PORT")
        folders = self.folder.split("/")[1:]
        if not self.folder.startswith("/") or not all(_FOLDER.fullmatch(name) for name in folders):
            raise BadRequest(
                "zookeeper.folder: a path such as /polysite; each part of letters, digits, '.', '_' and '-'"
            )
        if any(name in (".", "..") for name in folders) or folders[0] == "zookeeper":
            raise BadRequest("zookeeper.folder: no part may be '.' or '..', and /zookeeper is ZooKeeper's own")
        if bool(self.user) != bool(self.password_file):
            raise BadRequest("zookeeper.user and zookeeper.password_file go together")
        if ":" in self.user:
            raise BadRequest("zookeeper.user: without ':'")
        return self
