"""Locks: create, acquire, enquire, holders, release, delete, promote."""

import contextlib
from collections.abc import Callable

from polysite import api
from polysite.api import KeyName, QueueAnswer
from polysite.errors import (
    AcquireTimeout,
    BadRequest,
    CompareFailed,
    Forbidden,
    LockLost,
    PolysiteError,
)
from polysite.server.exchange import Reply
from polysite.server.v2.bodies import Body, needed
from polysite.server.v2.call import Call
from polysite.server.v2.envelope import Failure, failure_of, success, told
from polysite.server.v2.names import INVALID_LOCK, LockId, LockName, parse_lock_id, parse_lock_name
from polysite.server.v2.tickets import FoundLock, find_lock, lock_key, owner_text

NO_HOLDER = "There was a problem getting the lock holder"
NO_HOLDERS = "No lock holders for the key"
NOT_ACQUIRED = "Unable to aquire lock"
_GONE = " does not exist."
_KINDS: dict[str, api.Kind] = {"WRITE": "exclusive", "READ": "shared", "PROMOTING": "shared"}
Refuses = Callable[[str, PolysiteError | None], Failure]
_BY_ORDINAL: tuple[api.Kind, ...] = ("shared", "exclusive", "shared")


async def create(call: Call) -> Reply:
    """Take a place in the key's queue. An exclusive lock with an owner is refused if it would close a ring of owners."""
    named = parse_lock_name(call.names[0])
    kind = _kind(await call.body())
    owner = call.header(b"owner") or None
    before = f"Unable to create lock reference for key [{named.key}]. Please try again: "
    try:
        _, key = await lock_key(call, named)
    except PolysiteError as error:
        raise failure_of(error, before=before) from None
    lease_ms = max(call.settings.lease_ms, lease_ms_min(call))
    try:
        answer = await call.coordinator.acquire(
            [key], kind=kind, lease_ms=lease_ms, wait_ms=0, owner=owner_text(call, owner)
        )
    except PolysiteError as error:
        raise failure_of(error, before=before) from None
    trips = answer.round_trips
    if owner is not None:
        try:
            trips += await _note_owner(call, named, key, answer, owner)
        except PolysiteError as error:
            raise failure_of(error, before=before) from None
    call.service.tenures.seen(answer.reference, answer.lease_ms)
    return success(lock={"lock": str(LockId(named, answer.fencing_token))}, round_trips=trips)


async def _note_owner(call: Call, named: LockName, key: KeyName, answer: api.LockAnswer, owner: str) -> float:
    """Give the place in the queue up again, and fail, if its owner would wait for itself."""
    told_as = owner_text(call, owner)
    assert told_as is not None
    try:
        rings, trips = await call.keeper.note_owner(key, answer.fencing_token, told_as, waits=not answer.held)
    except BaseException:
        await call.coordinator.release(answer.reference, validate=False)
        raise
    if rings:
        await call.coordinator.release(answer.reference, validate=False)
        await call.keeper.forget_owner(key, answer.fencing_token)
        raise Failure(f"Deadlock detected when {owner} tried to create lock on {named}")
    return trips


def lease_ms_min(call: Call) -> int:
    """The least lease that the distances between the sites allow."""
    return call.keeper.lease_ms_min


def _kind(body: Body | None) -> api.Kind:
    """`lockType` (also `locktype`): READ, WRITE or PROMOTING in any case, or its ordinal. A promoting lock begins as a reader."""
    if body is None:
        return "exclusive"
    raw = body.raw("lockType")
    if raw is None:
        raw = body.raw("locktype")
    if raw is None:
        return "exclusive"
    if isinstance(raw, int) and not isinstance(raw, bool) and 0 <= raw < len(_BY_ORDINAL):
        return _BY_ORDINAL[raw]
    kind = _KINDS.get(raw.upper()) if isinstance(raw, str) else None
    if kind is None:
        raise Failure("lockType is READ or WRITE")
    return kind


async def acquire(call: Call) -> Reply:
    """Whether the lock is held by now; a sign of life."""
    text = call.names[0]
    answer = await _acquire(call, text, lock={"lock": text})
    return _acquired(answer, text, lock={"lock": text})


async def acquire_with_lease(call: Call) -> Reply:
    """As `acquire`; the lease is the caller's from now on, raised to the least that is allowed. Nobody is evicted by it."""
    text = call.names[0]
    lease_ms = needed(await call.body()).whole_number("leasePeriod")
    if lease_ms is None:
        raise Failure("leasePeriod is missing: the lease in milliseconds")
    lock = {"lock": _name_of(text), "lock-lease": str(lease_ms)}
    answer = await _acquire(call, text, lock=lock, lease_ms=lease_ms)
    return _acquired(answer, text, lock=lock)


async def _acquire(call: Call, text: str, *, lock: dict[str, str], lease_ms: int | None = None) -> api.LockAnswer:
    def refused(reason: str, cause: PolysiteError | None = None) -> Failure:
        error = INVALID_LOCK if reason == INVALID_LOCK else NOT_ACQUIRED
        return Failure(error, message=reason, lock=lock, cause=cause)

    found = await _found(call, text, refused)
    try:
        answer = await call.coordinator.wait(found.ticket.reference, wait_ms=0)
        if lease_ms is not None:
            allowed_ms = min(max(lease_ms, lease_ms_min(call)), api.LEASE_MS_MAX)
            answer = await call.keeper.set_lease(found.ticket.reference, allowed_ms)
    except PolysiteError as error:
        raise refused(told(error), error) from None
    call.service.tenures.seen(answer.reference, answer.lease_ms)
    return answer


async def _found(call: Call, text: str, refused: Refuses) -> FoundLock:
    """The lock of an id, or a failure made by `refused(reason, cause)`."""
    try:
        found = await find_lock(call, text)
    except Forbidden:
        raise
    except PolysiteError as error:
        raise refused(told(error), error) from None
    if found is None:
        raise refused(f"{text}{_GONE}", None)
    return found


def _acquired(answer: api.LockAnswer, text: str, *, lock: dict[str, str]) -> Reply:
    if not answer.held:
        waits = f"{text} is not a lock holder"
        raise Failure(waits, message=waits, lock=lock)
    message = f"{answer.fencing_token} is the lock holder for the key"
    return success(message=message, lock=lock, round_trips=answer.round_trips)


async def enquire(call: Call) -> Reply:
    """The first of the queue."""
    text = call.names[0]
    try:
        named, answer = await _queue(call, text)
    except PolysiteError as error:
        raise Failure(NO_HOLDER, cause=error, lock={"lock": text, "lock-holder": None}) from None
    if not answer.entries:
        raise Failure(NO_HOLDER, lock={"lock": text, "lock-holder": None})
    holder = str(LockId(named, answer.entries[0].fencing_token))
    return success(lock={"lock": text, "lock-holder": holder}, round_trips=answer.round_trips)


async def holders(call: Call) -> Reply:
    """All who hold: the exclusive first of the queue, or every reader before the first writer."""
    text = call.names[0]
    try:
        named, answer = await _queue(call, text)
    except PolysiteError as error:
        raise Failure(NO_HOLDER, cause=error, lock={"lock": text}) from None
    held = [str(LockId(named, entry.fencing_token)) for entry in answer.entries if entry.held]
    if not held:
        raise Failure(NO_HOLDERS, lock={"lock": text})
    return success(lock={"lock": text, "lock-holder": held}, round_trips=answer.round_trips)


async def _queue(call: Call, text: str) -> tuple[LockName, QueueAnswer]:
    named = parse_lock_name(text)
    _, key = await lock_key(call, named)
    return named, await call.coordinator.queue(key)


async def release(call: Call) -> Reply:
    """Release a lock, or give up the place in the queue. One that is gone already is released all the same."""
    text = call.names[0]
    trips = await _release(call, text)
    return success(lock={"lock": text, "lock-status": "UNLOCKED"}, round_trips=trips)


async def _release(call: Call, text: str) -> float:
    try:
        found = await find_lock(call, text)
    except (BadRequest, Forbidden):
        raise
    except PolysiteError as error:
        raise failure_of(error, before="Error while deQueueLockRef: ") from None
    if found is None:
        return 0.0
    reference = found.ticket.reference
    trips = found.ticket.round_trips
    try:
        answer = await call.coordinator.release(reference, validate=_release_waits(call))
        trips += answer.round_trips
    except LockLost:
        pass  # whoever lost it does not hold it
    except PolysiteError as error:
        raise failure_of(error, before="Error while deQueueLockRef: ") from None
    call.service.tenures.gone(reference)
    if found.ticket.owner is not None:
        await call.keeper.forget_owner(found.key, found.ticket.fencing_token)
    return trips


def _release_waits(call: Call) -> bool:
    """Whether to answer a release only when it is carried out: as set, else where that costs no round trip between sites."""
    waits = call.settings.release_waits
    return not call.keeper.is_wide if waits is None else waits


async def delete(call: Call) -> Reply:
    """Preempt. A lock id: that entry is dropped and, if it held, the key fenced. A lock name: the whole queue."""
    text = call.names[0]
    try:
        if text.startswith("$"):
            lock_id = parse_lock_id(text)
            _, key = await lock_key(call, lock_id.name)
            await _drop(call, key, lock_id.ticket)
        else:
            _, key = await lock_key(call, parse_lock_name(text))
            for entry in reversed((await call.coordinator.queue(key)).entries):
                await _drop(call, key, entry.fencing_token)
    except PolysiteError as error:
        raise failure_of(error) from None
    return success()


async def _drop(call: Call, key: KeyName, ticket: int) -> None:
    """Drop an entry; one that is gone is dropped already."""
    try:
        await call.coordinator.preempt(key, fencing_token=ticket, ordered_by=call.exchange.principal.name)
    except CompareFailed:
        return


async def promote(call: Call) -> Reply:
    """Make a reader a writer once the other readers have left. FAILURE while they have not: ask again."""
    text = call.names[0]
    lock = {"lock": text}

    def refused(reason: str, cause: PolysiteError | None = None) -> Failure:
        return Failure(
            "Lockref does not exist." if cause is None and reason.endswith(_GONE) else reason,
            message=reason,
            lock=lock,
            cause=cause,
        )

    found = await _found(call, text, refused)
    if found.ticket.kind == "exclusive":
        raise refused("Lockref is already write.")
    reference, owner = found.ticket.reference, found.ticket.owner
    try:
        answer = await call.keeper.promote_until_held(reference, wait_ms=call.settings.promote_wait_ms)
        if answer.kind != "exclusive" and owner is not None:
            rings, _ = await call.keeper.note_owner(found.key, found.ticket.fencing_token, owner, waits=True)
            if rings:
                with contextlib.suppress(AcquireTimeout):
                    await call.coordinator.promote(reference, wait_ms=0)
                raise refused(f"Deadlock detected when {owner} tried to promote lock on {found.lock_id.name}")
    except CompareFailed as error:
        raise refused("Can't promote, already promoting another lockref.", error) from None
    except PolysiteError as error:
        raise refused(told(error), error) from None
    if answer.kind != "exclusive":
        raise refused("Your lock upgrade is in progress. Check again to see if successful.")
    return _acquired(answer, text, lock=lock)


def _name_of(text: str) -> str:
    """The lock name in a lock id, or the text itself if it is none."""
    return text.removeprefix("$").rpartition("$")[0] or text
