"""The mutants: small changes of the production code, each a rule left out, with where the rule comes from.

Text is matched exactly; `tests/unit/testing/test_mutants.py` sees to it that every change still fits. Sources: I1 to I19 and the table of
mutants are `locks.md` 6.5 of the design, B1 to B19 its faults of the original, 1.6 its steps.
"""

from polysite.testing.mutants.applying import Edit
from polysite.testing.mutants.mutant import Mutant, one
from polysite.testing.mutants.serving_table import SERVING_MUTANTS
from polysite.testing.mutants.site_table import LIVING_ARE_TAKEN_OVER, SITE_MUTANTS

_CORE = "polysite.core."
_TRANSITIONS, _SESSION, _TENURE, _RANGES = (f"{_CORE}{name}" for name in ("transitions", "session", "tenure", "ranges"))
_RESTAMP, _ROWSTATE, _SETTLE, _COMBINE, _CELL = (
    f"{_CORE}{name}" for name in ("restamp", "rowstate", "settle", "combine", "lock_cell")
)
_LEASE = f"{_CORE}lease"
_CRITICAL, _COMBINING = "polysite.site.critical", "polysite.site.combining"
_READING = "polysite.stores.embedded.reading"

SMALL_WINDOW = Edit(f"{_CORE}stamps", "WINDOW = 2**20", "WINDOW = 12")
"""Beside a mutant that only shows when a tenure uses up its window; the sound code survives with it."""


SMALL_BATCHES = Edit(_TENURE, "batch_writes_max: int = 1_000", "batch_writes_max: int = 4")
"""Beside a mutant that only shows when a partition is settled in several batches; the sound code survives with it."""

STALE_CELLS_SHOW = Edit(
    _READING,
    "        if stamp >= row_stamp and value is not None:\n",
    "        if value is not None:\n",
)
"""Without I8: a cell whose stamp is below its row's row_stamp does not count as null."""

RETRIES_PAUSE = Edit(
    _CRITICAL,
    "                if attempt + 1 < WRITE_ATTEMPTS_MAX:\n",
    "                if attempt + 1 < WRITE_ATTEMPTS_MAX:\n                    live.op_ended(planned.op)\n                    await self._clock.sleep_s(1.5)\n",
)
"""Giving a write up and sending it again are not one step any more: what waits for it goes on in between."""

ABSENT_MARKS_END = Edit("polysite.site.context", "absent_life_ms=864_000_000 if", "absent_life_ms=1_000 if")
"""Beside a mutant that only shows when the mark on an absent row has ended, which else takes ten days; the sound code survives with it."""


MUTANTS: tuple[Mutant, ...] = (
    # the cell
    one(
        "release clean sets floor := last",
        "6.5",
        _TRANSITIONS,
        "    return max(cell.floor, last + 1, now)\n",
        "    return max(cell.floor, last)\n",
    ),
    one(
        "dirty release treated as clean",
        "6.5; 1.6 unacknowledged put; B9",
        _TENURE,
        "        if self._ledger.clean():\n",
        "        if True:\n",
    ),
    one(
        "dirty release without fence",
        "6.5; 1.6 flag",
        _TRANSITIONS,
        "    return replace(_pop(cell, floor=floor), fence=floor), DONE\n",
        "    return _pop(cell, floor=floor), DONE\n",
    ),
    one(
        "preempt without fence",
        "6.5; 1.6 flag; B4, B6, B10, B17, B19",
        _TRANSITIONS,
        "        floor = max(cell.floor + WINDOW, now)\n        after = replace(after, floor=floor, fence=floor)\n",
        "        floor = max(cell.floor + WINDOW, now)\n        after = replace(after, floor=floor)\n",
    ),
    one(
        "preempt sets floor := last seen",
        "6.5; 1.6 slot",
        _TRANSITIONS,
        "        floor = max(cell.floor + WINDOW, now)\n        after = replace(after, floor=floor, fence=floor)\n",
        "        floor = cell.floor\n        after = replace(after, floor=floor, fence=floor)\n",
    ),
    one(
        "take over without fence",
        "6.5",
        _TRANSITIONS,
        "        floor = cell.floor + WINDOW\n        after = replace(after, floor=floor, fence=floor)\n    return after, DONE\n",
        "        floor = cell.floor + WINDOW\n        after = replace(after, floor=floor)\n    return after, DONE\n",
    ),
    one(
        "take over without new window",
        "6.5",
        _TRANSITIONS,
        "        floor = cell.floor + WINDOW\n        after = replace(after, floor=floor, fence=floor)\n    return after, DONE\n",
        "        after = replace(after, fence=cell.floor)\n    return after, DONE\n",
    ),
    one(
        "nonce unchecked: who was taken over goes on",
        "6.5; I1",
        _CELL,
        "    if entry is None or entry.nonce != nonce:\n        return None\n    first = cell.queue[0]\n",
        "    if entry is None:\n        return None\n    first = cell.queue[0]\n",
        Edit(
            _TENURE,
            '                assert cell.fence == self.fence, "the fence moved under the head of the queue"\n',
            "",
        ),
    )._replace(
        covering=(LIVING_ARE_TAKEN_OVER,),
        shadowed_by="I4: a session is taken over once its process cannot be running any more, so nobody is left that could go on. One whose process is only "
        "silent may be taken over after its lease as well; but who has watched it for that long drops it at that moment, and no run has shown a call in between.",
    ),
    one(
        "write past the window",
        "6.5",
        _TENURE,
        "        return self._next_stamp + count <= self._window_end\n",
        "        return True\n",
        Edit(
            _TENURE,
            '        return self.standing in {"first", "exclusive"} and self._window_end - self._next_stamp < EXTEND_BELOW\n',
            "        return False\n",
        ),
        Edit(_TRANSITIONS, '    assert last < cell.floor + WINDOW, "a stamp past the window was used"\n', ""),
        SMALL_WINDOW,
    ),
    one(
        "extend keeps window",
        "6.5",
        _TRANSITIONS,
        "    return replace(cell, floor=cell.floor + WINDOW), DONE\n",
        "    return replace(cell, floor=cell.floor), DONE\n",
        Edit(
            _TENURE,
            "            self._window_end = window_end(cell.floor)\n",
            "            self._window_end = max(self._window_end, window_end(cell.floor))\n",
        ),
        Edit(
            _TENURE,
            '                assert window_end(cell.floor) >= self._window_end, "the window went back under the head of the queue"\n',
            "",
        ),
        Edit(
            _TENURE,
            "        return Extend(self.ticket, self.nonce)\n",
            "        self._window_end += WINDOW\n        return Extend(self.ticket, self.nonce)\n",
        ),
        Edit(_TRANSITIONS, '    assert last < cell.floor + WINDOW, "a stamp past the window was used"\n', ""),
        SMALL_WINDOW,
    ),
    one(
        "enqueue without max(floor)",
        "6.5; 1.6 ticket; B5",
        _TRANSITIONS,
        "    floor = cell.floor if cell.queue else max(cell.floor + 1, now)\n",
        "    floor = cell.floor if cell.queue else now\n",
        Edit(_TRANSITIONS, "    check_step(cell, after)\n    return after, result\n", "    return after, result\n"),
    ),
    one(
        "release by one who is not head",
        "6.5; B16",
        _TRANSITIONS,
        "    return None if entry is cell.queue[0] else NOT_HEAD\n",
        "    return None\n",
        Edit(
            _TENURE,
            "            return Cancel(self.ticket, self.nonce)\n",
            "            return ReleaseClean(self.ticket, self.nonce, None)\n",
        ),
    ),
    one(
        "fence cleared by a clean release",
        "6.5; B5",
        _TRANSITIONS,
        "    return _pop(cell, floor=_floor_after(cell, wish.last, now)), DONE\n",
        "    return replace(_pop(cell, floor=_floor_after(cell, wish.last, now)), fence=0), DONE\n",
        Edit(_TRANSITIONS, "    check_step(cell, after)\n    return after, result\n", "    return after, result\n"),
    ),
    one(
        "preempt drops entries that live",
        "6.5 preempt; B26",
        _LEASE,
        "            if now_s - seen.since_s >= seen.lease_s + stagger_s\n",
        "            if now_s - seen.since_s >= seen.lease_s / 8 + stagger_s\n",
    ),
    one(
        "preempt by ticket alone: a beat does not save",
        "6.5 preempt; B26",
        _TRANSITIONS,
        "        if (entry.ticket, entry.nonce, entry.beat) in observed\n",
        "        if any(entry.ticket == seen.ticket for seen in observed)\n",
    ),
    # reads and the fence
    one(
        "no fence rule",
        "6.5; 1.6 sync; B2, B3",
        _RESTAMP,
        "    return unsettled or counts_from < fence or (mixed and counts_from == 0)\n",
        "    return unsettled or (mixed and counts_from == 0)\n",
    ),
    one(
        "compare row_stamp with fence - 1",
        "6.5",
        _RESTAMP,
        "    return unsettled or counts_from < fence or (mixed and counts_from == 0)\n",
        "    return unsettled or counts_from < fence - 1 or (mixed and counts_from == 0)\n",
    ),
    one(
        "unsettled rule missing",
        "6.5",
        _RESTAMP,
        "    return unsettled or counts_from < fence or (mixed and counts_from == 0)\n",
        "    return counts_from < fence or (mixed and counts_from == 0)\n",
    ),
    one(
        "absent rows not re-stamped",
        "6.5",
        _RESTAMP,
        "    counts_from = row_counts_from(row)\n",
        "    counts_from = row_counts_from(row)\n    if not is_there(row):\n        return False\n",
    ),
    one(
        "highest cell stamp used in place of row_stamp",
        "6.5; I7",
        _RESTAMP,
        "    return max(row.row_stamp, row.part_stamp)\n",
        "    return max(row.row_stamp, row.part_stamp, *(cell.stamp for cell in row.cells.values()), 0)\n",
    ),
    one(
        "row_stamp set by partial puts",
        "6.5; I7",
        _RESTAMP,
        "row_stamp=stamp if covers else None, absent=False",
        "row_stamp=stamp, absent=False",
    ),
    one(
        "put on an absent row without nulls",
        "6.5",
        _RESTAMP,
        "    if covers and len(cells) < len(columns):\n",
        "    if False:\n",
    )._replace(
        covering=(
            STALE_CELLS_SHOW,
            Edit(
                _RESTAMP,
                "    return Rewritten((DeleteRow(key=row.key, stamp=first), mark), after)\n",
                "    return Rewritten((mark,), after)\n",
            ),
        ),
        shadowed_by="I8, and the tombstone: who knows a row to be absent has deleted it, or re-stamped it as absent, or found a fence of 0, below which nothing "
        "is unanswered. So a tombstone hides whatever of the row may still come, and where it did not, I8 would, by the row_stamp of the put.",
    ),
    one(
        "partial put leaves the absent mark",
        "6.5",
        _RESTAMP,
        "row_stamp=stamp if covers else None, absent=False, life_ms=life_ms",
        "row_stamp=stamp if covers else None, absent=None, life_ms=life_ms",
    ),
    one(
        "re-stamp only the columns present",
        "6.5",
        _RESTAMP,
        "            name: (row.cells[name].value if name in row.cells else None) for name in columns\n",
        "            name: row.cells[name].value for name in columns if name in row.cells\n",
    )._replace(
        covering=(STALE_CELLS_SHOW,),
        shadowed_by="I8: a cell whose stamp is below its row's row_stamp counts as null, so what the re-stamp left out does not show.",
    ),
    one(
        "re-stamp at the old stamp",
        "6.5; 1.6 low stamp; B2",
        _RESTAMP,
        "        put = Put(key=row.key, cells=values, stamp=first, row_stamp=first, absent=False)\n",
        "        put = Put(key=row.key, cells=values, stamp=max(1, *(cell.stamp for cell in row.cells.values()), 0), row_stamp=first, absent=False)\n",
    ),
    one(
        "re-stamp not awaited",
        "6.5",
        _CRITICAL,
        "            if isinstance(got, Restamp):\n                trips += await self._send(live, got.planned)\n                return got.row, trips\n",
        "            if isinstance(got, Restamp):\n                return got.row, trips\n",
        Edit(
            _SESSION,
            "        self._ledger.sent(operation)\n        return Restamp(operation.planned, rewritten.row)\n",
            "        self._end(operation)\n        return Restamp(operation.planned, rewritten.row)\n",
        ),
    ),
    one(
        "absent re-stamp without row tombstone",
        "6.5",
        _RESTAMP,
        "    return Rewritten((DeleteRow(key=row.key, stamp=first), mark), after)\n",
        "    return Rewritten((mark,), after)\n",
        ABSENT_MARKS_END,
    ),
    one(
        "waiter uses the fence seen at enqueue",
        "I6",
        _TENURE,
        "        self.fence = cell.fence\n        self.standing = now_role\n",
        "        self.standing = now_role\n",
    ),
    one(
        "speculative read without version check",
        "6.5",
        _SESSION,
        "            or self.first_version != version + 1\n",
        "",
    ),
    one(
        "speculative read: fence ignored",
        "6.5",
        _SESSION,
        "        operation = self._begin_read(part, self._ledger.row(part, key))\n        got = self.got(ReadRow(operation.op, key), row)\n",
        "        return Answer(row)\n        operation = self._begin_read(part, self._ledger.row(part, key))\n        got = self.got(ReadRow(operation.op, key), row)\n",
    ),
    one(
        "get overlaps own put",
        "I10",
        _SESSION,
        "        blockers = self._ledger.blockers_of_row(part, row, for_get=True)\n",
        "        blockers = self._ledger.blockers_of_row(part, row, for_get=False)\n",
        Edit(
            _SESSION,
            "        if row.copy is not None and not (settle",
            "        if row.copy is not None and not row.inflight and not (settle",
        ),
    ),
    one(
        "known absent outlives a send",
        "I9",
        _ROWSTATE,
        "            and not row.inflight\n            and not part.inflight\n            and not part.row_unsettled(row)\n",
        "",
        Edit(
            _SESSION,
            "        self._ledger.set_copy(row, row_after_put(row.copy, put))\n",
            "        self._ledger.set_copy(row, row.copy if row.copy is not None and not row.copy.present else row_after_put(row.copy, put))\n",
        ),
    ),
    one(
        "one stamp for a whole batch",
        "I3",
        _SESSION,
        "                effect.covers = stamp if covers else effect.covers\n            stamp += 1\n",
        "                effect.covers = stamp if covers else effect.covers\n            stamp += 0\n",
    ),
    one(
        "covering write with a lower stamp settles",
        "6.5",
        _ROWSTATE,
        "        return lost > max(row.covered, self.covered)\n",
        "        return lost > max(row.covered, self.covered) and not row.covered\n",
        Edit(
            _ROWSTATE,
            "            for op in [op for op, lost in row.unanswered.items() if lost < covered]:\n",
            "            for op in [op for op, lost in row.unanswered.items() if covered]:\n",
        ),
    ),
    one(
        "stale retry executed",
        "I11",
        _ROWSTATE,
        "        part = operation.part\n        if operation.range_stamp and part.last_sent > max(",
        "        return True\n        part = operation.part\n        if operation.range_stamp and part.last_sent > max(",
    )._replace(
        covering=(
            RETRIES_PAUSE,
            Edit(
                _ROWSTATE,
                "                del row.unanswered[op]\n                self._forget_write(op)\n",
                "                del row.unanswered[op]\n",
            ),
        ),
        shadowed_by="A write is given up and sent again in one step, so that no get of its rows comes between the two; and one that a re-stamp has covered is "
        "forgotten, so that it cannot be sent again. A later write that only overlaps it has the higher stamp, whichever of the two is stored last.",
    ),
    one(
        "late push accepted",
        "I14",
        _SESSION,
        "        if not self._is_first or self._release is not None or version != self.first_version:\n            return False\n",
        "        if not self._is_first or self._release is not None:\n            return False\n",
        Edit(
            _SESSION,
            "        if key in part.rows or part.last_sent or part.exclusive_op or self._doubts(row):\n            return False\n",
            "        if self._doubts(row):\n            return False\n",
        ),
    ),
    one(
        "acknowledge after one replica",
        "6.5; 1.6 quorum",
        _CRITICAL,
        '                        await self._store.write(core.table, sending.writes, "majority")\n',
        '                        await self._store.write(core.table, sending.writes, "local")\n',
    ),
    one(
        "read from one replica",
        "1.6 quorum",
        _CRITICAL,
        '                row = await self._store.read(core.table, read.key, "majority")\n',
        '                row = await self._store.read(core.table, read.key, "local")\n',
    ),
    # ranges
    one(
        "range get without settling",
        "I13; B41",
        _RANGES,
        "        return part_stamp < self.fence or (self._mixed and part_stamp == 0)\n",
        "        return False\n",
    ),
    one(
        "part_stamp not compared with fence",
        "I13",
        _RANGES,
        "        return part_stamp < self.fence or (self._mixed and part_stamp == 0)\n",
        "        return part_stamp == 0 and (self.fence > 0 or self._mixed)\n",
    ),
    one(
        "unsettled rows ignored by range gets",
        "I13",
        _RANGES,
        "        unsettled = self._is_first and part.unsettled\n",
        "        unsettled = self._is_first and part.range_unsettled\n",
    ),
    one(
        "settle without range tombstone",
        "I13",
        _SETTLE,
        "        writes: list[Write] = [*tombstones, *found]\n",
        "        writes: list[Write] = [*found]\n",
    ),
    one(
        "settled rows at the tombstone's stamp",
        "I13",
        _SETTLE,
        "        tombstone_stamp = stamp\n        stamp += 1\n",
        "        tombstone_stamp = stamp\n",
    ),
    one(
        "batches of a settle not awaited",
        "I13",
        _RANGES,
        "        if operation.pending:\n            if self._shared_kind:\n                part.resend = operation\n            self._end(operation)\n            return NotSettled()\n",
        "        for op in operation.pending:\n            part.unanswered.pop(op, None)\n",
    ),
    one(
        "one row's re-stamp settles the partition",
        "6.5",
        _ROWSTATE,
        "            row.covered = max(row.covered, effect.covers)\n",
        "            row.covered = max(row.covered, effect.covers)\n            self.cover_partition(part, effect.covers)\n",
    ),
    one(
        "unanswered range delete released clean",
        "6.5",
        _ROWSTATE,
        "            if part.inflight or part.unsettled:\n                return False\n",
        "            if part.inflight or any(map(part.row_unsettled, part.rows.values())):\n                return False\n",
        Edit(
            _ROWSTATE,
            "        if not row.unanswered and not self.unanswered:\n            return False\n        lost = max(max(row.unanswered.values(), default=0), max(self.unanswered.values(), default=0))\n",
            "        if not row.unanswered:\n            return False\n        lost = max(row.unanswered.values(), default=0)\n",
        ),
    ),
    # shared holders
    one(
        "shared: all re-stamp",
        "6.5; B7",
        _SESSION,
        '        if self.standing == "shared":\n            if self._doubts(row):\n',
        "        if False:\n            if self._doubts(row):\n",
        Edit(
            _TENURE,
            "        self.fence = cell.fence\n        self.standing = now_role\n",
            '        if now_role == "shared":\n            self._next_stamp, self._window_end = max(self._next_stamp, cell.floor), window_end(cell.floor)\n        self.fence = cell.fence\n        self.standing = now_role\n',
        ),
    ),
    one(
        "shared reader keeps its old fence",
        "I5, I12",
        _SESSION,
        "        if self.version < version or self.fence != operation.fence:\n            return ReadAgain()\n",
        "",
    ),
    one(
        "shared: re-read on retry of a re-stamp",
        "I11",
        _SESSION,
        '        if operation.kind == "restamp" and self._shared_kind:\n',
        "        if False:\n",
    ),
    one(
        "shared: part_stamp trusted at first sight",
        "I13",
        _RANGES,
        "        return not self._shared_kind or part_stamp == operation.known_part_stamp\n",
        "        return True\n",
        SMALL_BATCHES,
    ),
    one(
        "promotion without upto",
        "6.5; B15",
        _TRANSITIONS,
        'kind="promoting", upto=run[-1].ticket)), DONE\n',
        'kind="promoting", upto=entry.ticket)), DONE\n',
    ),
    one(
        "shared readers beside a writer",
        "B15",
        _CELL,
        '        return "exclusive" if first is entry else "waiting"\n',
        '        return "exclusive" if first is entry else "shared" if entry.kind == "shared" else "waiting"\n',
    ),
    # leases
    one(
        "answers are done whatever the lease",
        "I15; B11",
        _TENURE,
        '        return until_s is not None and now_s < until_s and self.standing != "lost"\n',
        '        return until_s is not None and self.standing != "lost"\n',
    ),
    # wishes, changes, unknown answers
    one(
        "absence read as released",
        "I18",
        _COMBINE,
        "        if entry is None or entry.nonce != wish.nonce:\n            return None\n        if isinstance(wish, Promote):\n",
        "        if entry is None or entry.nonce != wish.nonce:\n            return Done()\n        if isinstance(wish, Promote):\n",
    ),
    # An enqueue was made and not answered, its process stood still, and more changes followed than the cell remembers: the entry is made twice.
    one(
        "a version that has not moved means not made",
        "I18",
        _COMBINE,
        "    if version == change.expected_version:\n        return SendAgain()\n",
        "    if version == change.expected_version:\n        return NotMade({})\n",
        Edit(
            _COMBINING,
            "        if state.version <= change.expected_version:\n",
            "        if state.version < change.expected_version:\n",
        ),
    ),
    one(
        "a wish is carried out again",
        "I17",
        _COMBINE,
        "        if remembered is not None:\n            results[asked.wish_id] = remembered\n            continue\n",
        "",
    ),
    # A process dies while a section with an idempotency key waits in the queue: the next one of its site is asked, and enqueues it beside.
    one(
        "a request is enqueued again",
        "6.5 enqueue; B24",
        _TRANSITIONS,
        "        if queued is not None:\n            return cell, Enqueued(queued.ticket, repeated=True)\n        gone = departed_ticket(cell, wish.request_id)\n        if gone is not None:\n            return cell, Enqueued(gone, repeated=True, gone=True)\n",
        "",
    ),
    *SITE_MUTANTS,
    *SERVING_MUTANTS,
)
"""Each is convicted by a run of the simulation, or its seed is None and it is looked for."""
