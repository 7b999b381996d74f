"""Sections that carry an idempotency key: at most one effect, and the same answer again."""

from collections.abc import Sequence
from typing import Any

import msgspec

from polysite.core.one_shot import GetStep, SectionStep
from polysite.core.plans import DeleteIntent, PutIntent
from polysite.errors import IdempotencyMismatch, LockLost, OutcomeUnknown, PolysiteError, Unavailable
from polysite.site.context import SiteContext
from polysite.site.idempotency import (
    Receipt,
    Record,
    RequestRecorded,
    Requests,
    carried_by,
    digest_of,
    done_record,
    request_id_of,
)
from polysite.site.locks import ServedElsewhere
from polysite.site.plain import check_transactional
from polysite.site.sections import RepeatedRequest, SectionDone, Sections
from polysite.values.keys import LockKey
from polysite.values.rows import Write
from polysite.values.tables import TableSpec

_answers: msgspec.msgpack.Decoder[SectionDone | int] = msgspec.msgpack.Decoder(SectionDone | int)


class SectionsOnce:
    """Runs sections and keeps their records."""

    def __init__(self, context: SiteContext, requests: Requests, sections: Sections) -> None:
        self._context = context
        self._requests = requests
        self._sections = sections

    async def run(
        self,
        spec: TableSpec,
        key: LockKey,
        steps: Sequence[SectionStep],
        idempotency_key: str | None,
        *,
        digest: bytes | None = None,
        **options: Any,
    ) -> SectionDone:
        """Carry out a section (`options` as `Sections.run`); with an idempotency key at most once. `digest`: what the request is
        told from others by, if it is not the section itself that was asked for."""
        if idempotency_key is None:
            return await self._sections.run(spec, key, steps, **options)
        check_transactional(spec, idempotency_key=idempotency_key)
        encoded = key.encode()
        digest = digest or digest_of("section", encoded, spec.making, [_step_parts(step) for step in steps])
        requests, joint = self._requests, self._context.joint
        async with requests.alone(idempotency_key):
            known = await self._recorded(idempotency_key, digest)
            if known is not None:
                return known
            receipt = _Receipt(requests, idempotency_key, digest, spec, encoded, joint=joint)
            try:
                async with requests.pending(idempotency_key):
                    done = await self._attempt(spec, key, steps, idempotency_key, receipt, options)
            except RequestRecorded:
                known = await self._recorded(idempotency_key, digest)
                if known is None:
                    raise Unavailable("the record of this idempotency key has just expired") from None
                return known
            except PolysiteError as error:
                if error.outcome != "refused" or isinstance(error, IdempotencyMismatch):
                    raise
                # It may have been carried out elsewhere meanwhile, and be refused for what it has done itself.
                known = await self._recorded(idempotency_key, digest)
                if known is not None:
                    return known
                if receipt.doubted:
                    raise OutcomeUnknown(
                        "this attempt was refused; what became of an earlier one is not known", reason=error.code
                    ) from error
                raise
            if not joint:
                await requests.done(idempotency_key, receipt.last or receipt.stored(done))
            elif receipt.last is not None:
                requests.done_later(idempotency_key, receipt.last)
            return done

    async def _attempt(
        self,
        spec: TableSpec,
        key: LockKey,
        steps: Sequence[SectionStep],
        idempotency_key: str,
        receipt: "_Receipt",
        options: dict[str, Any],
    ) -> SectionDone:
        """Carry the section out, beside whatever earlier attempts have left."""
        sections = self._sections
        asked_s = self._context.clock.monotonic_s()
        request_id = request_id_of(idempotency_key, receipt.lock)
        try:
            return await sections.run(spec, key, steps, request_id=request_id, beside=receipt, **options)
        except RepeatedRequest as repeated:
            ticket = repeated.ticket
        except ServedElsewhere as serving:
            # Another process is at it; behind its entry one learns what became of it.
            ticket = serving.reference.ticket
        except LockLost as lost:
            if not lost.attributes.get("repeated"):
                raise
            ticket = lost.attributes["fencing_token"]
        # An earlier attempt's entry came and went, or is before this one.
        # No record came with it: so far nothing was written. Another process may see the same and carry it out as well, or what
        # the earlier attempt sent may still come: the record that is stored first decides.
        if not sections.wrote_nothing(receipt.lock, ticket):
            receipt.doubted = True
        waited_s = self._context.clock.monotonic_s() - asked_s
        options = {**options, "wait_s": max(0.0, options["wait_s"] - waited_s)}
        return await sections.run(spec, key, steps, beside=receipt, **options)

    async def _recorded(self, idempotency_key: str, digest: bytes) -> SectionDone | None:
        answer = await self._requests.answer_of(idempotency_key, digest)
        return None if answer is None else done_of(answer)


def done_of(answer: bytes) -> SectionDone:
    """The recorded answer of a section, or of a write that went as one or without a lock, whichever road it took."""
    done = _answers.decode(answer)
    return SectionDone((), 0, done, False, 0.0) if isinstance(done, int) else done


class _Receipt:
    """The record of one section as its effect is stored. `last`: the one that went with the last batch under a held lock."""

    def __init__(
        self, requests: Requests, key: str, digest: bytes, spec: TableSpec, encoded: bytes, *, joint: bool
    ) -> None:
        self._requests = requests
        self._key = key
        self.digest = digest
        self._spec = spec
        self.lock = encoded
        self.joint = joint
        self._stamp = requests.next_stamp()
        self.place = requests.place(key)
        self.last: Record | None = None
        self.doubted = False
        self._claimed = False

    def sent(self) -> Record:
        """Something was sent, and nothing that is stored will tell what became of it."""
        return Record(self.digest, None, self._spec.keyspace, self._spec.name)

    async def is_recorded(self) -> bool:
        return await self._requests.find(self._key, self.digest) is not None

    async def before(self, done: SectionDone, writes: Sequence[Write]) -> None:
        if writes:
            self.last = msgspec.structs.replace(self.stored(done, self.lock), carried=carried_by(writes), stored=False)
        await self._requests.write(self._key, self.last or self.sent())

    def stored(self, done: SectionDone, lock: bytes = b"") -> Record:
        """Everything is stored; whether in time, the cell of `lock` tells."""
        answer = msgspec.msgpack.encode(done)
        keyspace, table = self._spec.keyspace, self._spec.name
        return Record(self.digest, None, keyspace, table, (), done.stamp, answer, lock, stored=True)

    def __call__(self, done: SectionDone, writes: Sequence[Write] | None) -> Receipt:
        """As `one_step.Beside` says."""
        if writes is None:
            # Inside the engine's step, on whatever thread that is: the stamp was drawn before.
            return self._requests.receipt(self._key, done_record(self.stored(done)), stamp=self._stamp)
        if not writes:
            self._claimed = True
            return self._requests.receipt(self._key, self.sent())
        self.last = self.stored(done, self.lock)
        return self._requests.receipt(self._key, self.last, first=not self._claimed)


def _step_parts(step: SectionStep) -> tuple[Any, ...]:
    if isinstance(step, GetStep):
        return "get", step.key
    if isinstance(step, PutIntent):
        return "put", step.key, step.cells, step.life_ms
    if isinstance(step, DeleteIntent):
        return "delete", step.key
    return "expect", step.key, step.exists, step.equals
