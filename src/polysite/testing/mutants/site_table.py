"""Mutants of one site's coordinator: stewards, combining, waiting, take-over, idempotency keys, leases.

Each leaves out a rule whose absence a user would notice: an answer that is not true, a lock that nobody gets, or a call that does not end. Rules
that only save time (a push that is not sent, a wish that is not kept back) have none: without them everything is still right, only slower.
"""

from polysite.testing.mutants.applying import Edit
from polysite.testing.mutants.mutant import Mutant, one

_COMBINING, _STEWARDS, _WAITING, _CRITICAL, _TENURES, _ONCE = (
    f"polysite.site.{name}" for name in ("combining", "stewards", "waiting", "critical", "tenures", "once")
)
_LEASE, _TRANSITIONS = "polysite.core.lease", "polysite.core.transitions"

COMPACT_SOON = (
    Edit("polysite.site.settings", "    janitor_s: float = 30.0\n", "    janitor_s: float = 0.5\n"),
    Edit("polysite.site.settings", "    compact_idle_s: float = 600.0\n", "    compact_idle_s: float = 1.0\n"),
)
"""Beside a mutant of compaction, which else comes only to cells that rest for ten minutes; the sound code survives with it."""

LIVING_ARE_TAKEN_OVER = Edit(
    _TENURES,
    "            if await self.is_dead(entry):\n                live = await self._take_over(reference, state, entry)\n                return await self._serve_here(live, here)\n            address",
    "            if True:\n                live = await self._take_over(reference, state, entry)\n                return await self._serve_here(live, here)\n            address",
)
"""Without I4. Also what shows that a session which was taken over must not go on: else there is no such session."""

SITE_MUTANTS: tuple[Mutant, ...] = (
    # waiting
    one(
        "waiters do not look at the cell",
        "6.5 views and liveness",
        _WAITING,
        "        if state.look_timer is not None or state.looking:\n            return\n",
        "        if True:\n            return\n",
    ),
    one(
        "a wait has no end",
        "architecture 8 wait_ms",
        _WAITING,
        "            timer = self._context.timers.after(left_s, lambda waiter=waiter: _wake(waiter))  # type: ignore[misc]\n",
        "            timer = self._context.timers.after(1e9, lambda waiter=waiter: _wake(waiter))  # type: ignore[misc]\n",
    ),
    # leases
    one(
        "entries are renewed for clients that show no life",
        "6.5 renew; B26",
        _LEASE,
        "        return now_s - self.last_sign_s >= self.lease_s\n",
        "        return False\n",
    ),
    one(
        "gets are answered whatever the lease",
        "I15; B11",
        _CRITICAL,
        "        if live.core.may_answer_done(self._clock.monotonic_s()):\n            return 0.0\n",
        "        if True:\n            return 0.0\n",
    ),
    one(
        "LockLost told of a stored put",
        "I15",
        _CRITICAL,
        '        except PolysiteError as error:\n            raise OutcomeUnknown(\n                "the write was stored, but',
        '        except PolysiteError as error:\n            raise error\n            raise OutcomeUnknown(\n                "the write was stored, but',
    ),
    one(
        "a write that outlives its release is done",
        "6.5 release; B11",
        _CRITICAL,
        "        if live.ended or not live.core.may_answer_done(self._clock.monotonic_s()):\n",
        "        if not live.ended and not live.core.may_answer_done(self._clock.monotonic_s()):\n",
    ),
    one(
        "a write without an answer counts as not sent",
        "6.5; 1.6 unacknowledged put; B9",
        _CRITICAL,
        "                except OutcomeUnknown:\n                    core.unanswered(planned.op)\n                    unanswered = True\n",
        "                except OutcomeUnknown:\n                    core.not_sent(planned.op)\n                    raise\n",
    ),
    # wishes and changes
    one(
        "a lease counts from the answer",
        "I15",
        _COMBINING,
        "        sent_s = self._clock.monotonic_s() if pending.sent_s is None else pending.sent_s\n",
        "        sent_s = self._clock.monotonic_s()\n",
    ),
    # stewards
    one(
        "who hears nothing of the steward goes on waiting",
        "6.6 own change",
        _STEWARDS,
        "        item.timer = self._context.timers.after(delay_s, partial(self._go_alone, state, item))\n",
        "        item.timer = self._context.timers.after(1e9, partial(self._go_alone, state, item))\n",
    ),
    one(
        "noted counts as decided",
        "6.6 steward is advice",
        _STEWARDS,
        "            for item in self._open(handing):\n                self._alone_in(state, item, combine.decided_within_s(",
        "            for item in self._open(handing):\n                self._alone_in(state, item, 1e9 + combine.decided_within_s(",
    ),
    # sessions that move
    one(
        "the session of a process that lives is taken over",
        "I4",
        *LIVING_ARE_TAKEN_OVER,
    ),
    # idempotency keys
    one(
        "the record of a section is not looked for",
        "architecture 8 Idempotency-Key",
        _ONCE,
        "        answer = await self._requests.answer_of(idempotency_key, digest)\n        return None if answer is None else done_of(answer)\n",
        "        return None\n",
        Edit(
            _ONCE,
            "        return await self._requests.find(self._key, self.digest) is not None\n",
            "        return False\n",
        ),
    ),
    one(
        "the record of a section is not made before its effect",
        "architecture 8 Idempotency-Key",
        _ONCE,
        "        await self._requests.write(self._key, self.last or self.sent())\n",
        "        return\n",
    ),
    # rows without locks
    one(
        "an unlocked write is stamped above the locks",
        "1.6 eventual writes; B8",
        "polysite.site.plain",
        "        first = max(self._context.clock.wall_us(), self._last_stamp + 1, 0)\n        if first + count > PLAIN_STAMP_MAX:\n",
        "        first = max(2**52 + self._context.clock.wall_us() + 10**7, self._last_stamp + 1, 0)\n        if False:\n",
        Edit("polysite.site.plain", "        if early_ms := self.early_ms:\n", "        if early_ms := 0.0:\n"),
        Edit(
            "polysite.site.row_verbs",
            "        return lock_cell.decode(view.content).issued > 0\n",
            "        return False\n",
        ),
        Edit(
            "polysite.site.row_verbs",
            "        if state is not None and state.version >= 0 and state.cell.issued > 0:\n",
            "        if False:\n",
        ),
    ),
    # tidying
    one(
        "a compaction forgets the fence",
        "6.5 compact",
        _TRANSITIONS,
        '    return replace(cell, recent=b"", departed=b""), DONE\n',
        '    return replace(cell, recent=b"", departed=b"", fence=0), DONE\n',
        Edit(_TRANSITIONS, "    check_step(cell, after)\n    return after, result\n", "    return after, result\n"),
        *COMPACT_SOON,
    ),
)
"""Joined to `table.MUTANTS`."""
