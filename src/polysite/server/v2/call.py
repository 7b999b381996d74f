"""One request of this interface: what a handler is given."""

from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Protocol
from urllib.parse import parse_qsl

from polysite.api import KeyName, LockAnswer, RowDelete, RowPut, Ticket, WriteAnswer
from polysite.errors import BadRequest, UnknownKey
from polysite.server.exchange import Exchange
from polysite.server.service import Service
from polysite.server.v2.bodies import Body, parse_body
from polysite.server.v2.names import fold
from polysite.values.tables import TableSpec

PARAMETERS_MAX = 256


class Keeper(Protocol):
    """What this interface asks of a coordinator beside the protocol; the one in process has it."""

    @property
    def is_wide(self) -> bool: ...

    @property
    def lease_ms_min(self) -> int: ...

    async def ticket(self, key: KeyName, number: int) -> Ticket | None: ...

    async def note_owner(self, key: KeyName, number: int, owner: str, *, waits: bool) -> tuple[bool, float]: ...

    async def forget_owner(self, key: KeyName, number: int) -> None: ...

    async def write_at(
        self, row: KeyName, write: RowPut | RowDelete, stamp: int, *, quorum: bool = False
    ) -> WriteAnswer: ...

    async def promote_until_held(self, reference: str, *, wait_ms: int) -> LockAnswer: ...

    async def set_lease(self, reference: str, lease_ms: int) -> LockAnswer: ...


class Call:
    """`names` are the variable parts of the path, decoded."""

    def __init__(self, service: Service, exchange: Exchange, names: tuple[str, ...]) -> None:
        self.service = service
        self.coordinator = service.coordinator
        self.keeper: Keeper = service.coordinator  # type: ignore[assignment]
        self.settings = service.settings.v2
        self.exchange = exchange
        self.names = names
        self.enveloped = True
        """Whether rows are answered in the envelope; the plain paths have none."""
        self._body: Body | None = None
        self._body_read = False

    @cached_property
    def query(self) -> Mapping[str, str]:
        """Parameters of the query by name; of one that is repeated the first counts."""
        raw: bytes = self.exchange.scope["query_string"]
        return _parse_query(raw) if raw else {}

    @property
    def atomic_lease_ms(self) -> int:
        """The lease of a lock that the server takes for one call."""
        return max(self.settings.atomic_lease_ms, self.keeper.lease_ms_min)

    def header(self, name: bytes) -> str | None:
        """A header of the request, None without it."""
        value = self.exchange.headers.get(name)
        return None if value is None else value.decode("latin-1")

    async def body(self) -> Body | None:
        """The body; None without one."""
        if not self._body_read:
            self._body = parse_body(await self.exchange.raw_body())
            self._body_read = True
        return self._body

    async def table(self, keyspace: str, table: str) -> TableSpec | None:
        """The table that the path names (folded); None if there is none."""
        try:
            return await self.coordinator.table(fold(keyspace, "keyspace"), fold(table, "table"))
        except UnknownKey:
            return None

    async def has_keyspace(self, keyspace: str) -> bool:
        """Whether there is such a keyspace."""
        name = fold(keyspace, "keyspace")
        return any(spec.name == name for spec in await self.coordinator.keyspaces())


@lru_cache(maxsize=1024)
def _parse_query(raw: bytes) -> Mapping[str, str]:
    query: dict[str, str] = {}
    try:
        pairs = parse_qsl(raw.decode(), keep_blank_values=True, errors="strict", max_num_fields=PARAMETERS_MAX)
    except ValueError:  # UnicodeDecodeError is one
        raise BadRequest(f"the query is up to {PARAMETERS_MAX} name=value pairs in percent-encoded UTF-8") from None
    for name, value in pairs:
        query.setdefault(name, value)
    return query
