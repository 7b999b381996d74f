"""Headers by which requests are traced: some installations refuse requests without them, and answer them again."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from polysite.server.exchange import Exchange, Headers
from polysite.server.settings import V2Settings
from polysite.server.v2.envelope import Failure


class Traced(NamedTuple):
    """A header that requests must carry; `what` names it in the refusal."""

    name: str
    what: str

    @property
    def key(self) -> bytes:
        return self.name.lower().encode()


def tracing_headers(settings: V2Settings) -> list[Traced]:
    """Those that are required, in the order in which they are looked for."""
    named = (
        (settings.transaction_id, "Transaction-Id", "Transaction id"),
        (settings.conversation_id, "ConversationId", "Conversation Id"),
        (settings.message_id, "MessageId", "Message Id"),
        (settings.client_id, "ClientId", "Client Id"),
    )
    found = []
    for header, name, what in named:
        if header.required:
            prefix = header.prefix if not header.prefix or header.prefix.endswith("-") else f"{header.prefix}-"
            found.append(Traced(prefix + name, what))
    return found


_UNPRINTABLE = re.compile(rb"[^\x20-\x7e\x80-\xff]")


def echoed(value: bytes) -> bytes:
    """A header of the request as it is answered again: nothing that could end a line, or be taken for more than it is."""
    return _UNPRINTABLE.sub(b"", value)


def check_tracing(exchange: Exchange, required: Sequence[Traced]) -> Headers:
    """The headers to answer again. Failure names the first that is missing; those before it are answered all the same."""
    found: list[tuple[bytes, bytes]] = []
    for traced in required:
        value = exchange.headers.get(traced.key)
        if value is None:
            text = f"{traced.what} '{traced.name}' required on http header"
            raise Failure(None, headers=tuple(found), bare={"responseCode": 400, "responseMessage": text})
        found.append((traced.key, echoed(value)))
    return tuple(found)
