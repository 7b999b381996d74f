"""Mutants of the way between a client and a site: the client's repetitions and what it tells of them, the server's routes, idempotency keys,
REST v2.

They are convicted by runs in which clients work through the production client over links that lose, delay and double requests.
"""

from polysite.testing.mutants.applying import Edit
from polysite.testing.mutants.mutant import Mutant, one

_CARRIER, _COORDINATOR, _SECTION = (f"polysite.client._async.{name}" for name in ("carrier", "coordinator", "section"))
_ROWS, _LOCKS, _SECTIONS = (f"polysite.server.routes.{name}" for name in ("rows", "locks", "sections"))
_ENVELOPE, _V2_LOCKS = "polysite.server.v2.envelope", "polysite.server.v2.locks"
_TENURES = "polysite.site.tenures"

SERVING_MUTANTS: tuple[Mutant, ...] = (
    # the client
    one(
        "a request is sent again under a fresh idempotency key",
        "architecture 5 retries",
        _CARRIER,
        "            attempt += 1\n            await self.pace.sleep_s(",
        "            attempt += 1\n"
        "            if wire.IDEMPOTENCY_HEADER in request.headers:\n"
        "                named = {**request.headers, wire.IDEMPOTENCY_HEADER: self.pace.new_key()}\n"
        "                request = request._replace(headers=named)\n"
        "            await self.pace.sleep_s(",
    ),
    one(
        "no answer is told as refused",
        "house style 5",
        _CARRIER,
        '            if effect == "none":\n                error = SiteUnreachable(str(failure))\n            else:\n',
        "            if True:\n                error = SiteUnreachable(str(failure))\n            else:\n",
    ),
    one(
        "a later refusal settles an earlier doubt",
        "house style 5",
        _CARRIER,
        "    if doubt is None:\n        return error\n",
        "    if True:\n        return error\n",
    ),
    one(
        "writes without a key are sent again",
        "house style 5; B24",
        _CARRIER,
        '                if effect != "same" or attempt >= self._retries:\n',
        "                if attempt >= self._retries:\n",
    ),
    one(
        "a cancelled wish is looked for by another request",
        "architecture 5 retries",
        _COORDINATOR,
        '        found = await self._lock(call._replace(body={**body, "wait_ms": 0}, wait_ms=0))\n',
        '        found = await self._lock(call._replace(body={**body, "wait_ms": 0, "read": False}, wait_ms=0))\n',
    ),
    one(
        "a section's first row outlives a put",
        "house style 6",
        _SECTION,
        '`lock_lost`: it may have happened, and the lock is gone."""\n        self._first = None\n',
        '`lock_lost`: it may have happened, and the lock is gone."""\n',
    ),
    # the server
    one(
        "the route of puts drops the key",
        "architecture 5 idempotency",
        _ROWS,
        "        expires_ms=body.expires_ms,\n        idempotency_key=exchange.idempotency_key,\n",
        "        expires_ms=body.expires_ms,\n        idempotency_key=None,\n",
    ),
    one(
        "the route of sections drops the key",
        "architecture 5 idempotency",
        _SECTIONS,
        "        idempotency_key=exchange.idempotency_key,\n",
        "        idempotency_key=None,\n",
    ),
    one(
        "the route of locks drops the key",
        "architecture 5 idempotency; B24",
        _LOCKS,
        "            idempotency_key=idempotency_key,\n",
        "            idempotency_key=None,\n",
    ),
    # idempotency keys
    one(
        "the record of a write is not looked for",
        "architecture 5 idempotency",
        _TENURES,
        "        record = await self._requests.find(idempotency_key, digest)\n        if record is not None:\n"
        "            # What is proven now",
        "        record = None\n        if record is not None:\n            # What is proven now",
        Edit(
            _TENURES,
            "            record = await requests.find(key, digest)\n            if record is not None:\n"
            "                return await self._recorded(key, record)\n            table =",
            "            table =",
        ),
    ),
    # REST v2
    one(
        "v2: who waits is told that it holds",
        "architecture 6",
        _V2_LOCKS,
        "    if not answer.held:\n        waits = ",
        "    if False:\n        waits = ",
    ),
    one(
        "v2: an unknown outcome is a plain failure",
        "architecture 6",
        _ENVELOPE,
        "        if self.cause is not None:\n            headers = (*headers, *outcome_headers(self.cause))\n",
        "",
    ),
)
