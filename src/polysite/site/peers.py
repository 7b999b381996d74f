"""What processes of ours say to each other. The carrier moves bytes (`PeerChannel`); what is in them is defined here.

forward   a call with a reference whose session lives in the process asked; at most one hop
push      a decided cell, for the process of its new head and for those whose wishes it decided: a fact, so a lost or late one
          costs time only
wish      wishes for a key that the process asked is steward of; answered at once (`Noted`), decided later
alive     whether the clients of these entries live, asked before entries that were not renewed are dropped (`Alive`)
hello     the sender's name and wall clock; answered with those of the process asked, so that either can measure how
          far apart the clocks are
"""

from typing import Any, Protocol, TypeAlias

import msgspec

from polysite.core.combine import AskedWish
from polysite.core.plans import DeleteIntent, Intent, PutIntent, RangeIntent
from polysite.core.wishes import Identity
from polysite.values.keys import RowKey
from polysite.values.rows import Slice, StoredRow

ANSWER_S = 10.0
"""How long a peer may take for a call that does not wait for a lock."""


class PeerChannel(Protocol):
    """Carries messages to other processes. SiteUnreachable: nothing was sent; OutcomeUnknown: sent, no answer."""

    async def send(self, address: str, kind: str, body: bytes, *, answer_s: float) -> bytes: ...


class GetCall(msgspec.Struct, frozen=True, tag="get"):
    reference: str
    key: RowKey


class WirePut(msgspec.Struct, frozen=True, array_like=True, tag="put"):
    key: RowKey
    cells: dict[str, bytes | None]
    life_ms: int | None


class WireDelete(msgspec.Struct, frozen=True, array_like=True, tag="delete"):
    key: RowKey


class WireRange(msgspec.Struct, frozen=True, array_like=True, tag="range"):
    partition: tuple[bytes, ...]
    slice: Slice


WireIntent: TypeAlias = WirePut | WireDelete | WireRange


class WriteCall(msgspec.Struct, frozen=True, tag="write"):
    reference: str
    intents: list[WireIntent]
    idempotency_key: str | None = None


class SelectCall(msgspec.Struct, frozen=True, tag="select"):
    reference: str
    partition: tuple[bytes, ...]
    slice: Slice
    limit: int
    cursor: bytes | None


class WaitCall(msgspec.Struct, frozen=True, tag="wait"):
    reference: str
    wait_ms: int


class RenewCall(msgspec.Struct, frozen=True, tag="renew"):
    """`lease_ms` None: the lease stays as it is."""

    reference: str
    lease_ms: int | None = None


class PromoteCall(msgspec.Struct, frozen=True, tag="promote"):
    """`stays`: the promotion is not withdrawn after the wait."""

    reference: str
    wait_ms: int
    stays: bool = False


class ReleaseCall(msgspec.Struct, frozen=True, tag="release"):
    reference: str
    validate: bool


Call: TypeAlias = GetCall | WriteCall | SelectCall | WaitCall | RenewCall | PromoteCall | ReleaseCall


class Push(msgspec.Struct, frozen=True):
    """A cell as a change of the sender left it.

    `rows`: as the holder before the new head knew them when it released cleanly; they are what is stored at this version, in that
    `making` of the table.
    """

    key: bytes
    version: int
    content: bytes
    rows: tuple[StoredRow, ...] = ()
    making: int = 0


class SettleMessage(msgspec.Struct, frozen=True):
    """Asks the first of a shared run to read, and thereby settle, a row or (`row` None) a partition (I12, I13)."""

    lock: bytes
    ticket: int
    row: RowKey | None = None
    partition: tuple[bytes, ...] = ()


class WishMessage(msgspec.Struct, frozen=True):
    """Wishes for the steward of a key; the decided cell goes to `answer_to`. `forwarded`: they were handed on once.

    `push`: what the sender's own change just told, if that made the process asked the steward. The message with the push and this one
    overtake each other; who is asked before it knows that it is meant would send the wish back.

    `instead`: the sender hears nothing of the head, and asks the first in the queue of whom it does.
    """

    key: bytes
    wishes: tuple[AskedWish, ...]
    answer_to: str
    forwarded: bool = False
    push: Push | None = None
    instead: bool = False


class Noted(msgspec.Struct, frozen=True):
    """Whether the process asked carries the wishes. Not: `version` and `content` are the newest cell it knows."""

    noted: bool
    version: int
    content: bytes


class AliveMessage(msgspec.Struct, frozen=True):
    """Asks the process of these entries of a key whether it would renew them. `push`: the cell they are in, which it may not know yet."""

    push: Push
    entries: tuple[Identity, ...]


class Alive(msgspec.Struct, frozen=True):
    """Those that it would."""

    entries: tuple[Identity, ...]


class Hello(msgspec.Struct, frozen=True):
    """The sender's name and wall clock."""

    site: str
    process: str
    wall_us: int


class Status(msgspec.Struct, frozen=True):
    """How a reference stands."""

    held: bool
    kind: str
    lease_ms: int
    ahead: int
    round_trips: float = 0


class Written(msgspec.Struct, frozen=True):
    stamp: int
    round_trips: float


class Released(msgspec.Struct, frozen=True):
    validated: bool
    round_trips: float


_encoder = msgspec.msgpack.Encoder()
_call_decoder = msgspec.msgpack.Decoder(Call)


def encode(message: Any) -> bytes:
    return _encoder.encode(message)


def decode_call(body: bytes) -> Call:
    call: Call = _call_decoder.decode(body)
    return call


def to_wire(intents: "list[Intent] | tuple[Intent, ...]") -> list[WireIntent]:
    """Intents as the channel carries them."""
    return [
        WirePut(intent.key, intent.cells, intent.life_ms)
        if isinstance(intent, PutIntent)
        else WireDelete(intent.key)
        if isinstance(intent, DeleteIntent)
        else WireRange(intent.partition, intent.slice)
        for intent in intents
    ]


def from_wire(intents: list[WireIntent]) -> list[Intent]:
    """Inverse of `to_wire`."""
    return [
        PutIntent(intent.key, intent.cells, intent.life_ms)
        if isinstance(intent, WirePut)
        else DeleteIntent(intent.key)
        if isinstance(intent, WireDelete)
        else RangeIntent(intent.partition, intent.slice)
        for intent in intents
    ]
