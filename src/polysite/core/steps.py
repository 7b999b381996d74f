"""The steps of a section over rows that were got under its lock: what each step sees, and whether expectations hold.

Every step is judged before anything is written, so that a section whose expectation fails writes nothing.
"""

from collections.abc import Mapping, Sequence

from polysite.core.one_shot import ExpectStep, GetStep, Mismatch, SectionStep, holds
from polysite.core.plans import DeleteIntent, PutIntent
from polysite.core.restamp import make_put, row_after_delete, row_after_put
from polysite.values.keys import RowKey
from polysite.values.rows import StoredRow
from polysite.values.tables import TableSpec


def judge_steps(
    table: TableSpec, rows: Mapping[RowKey, StoredRow], steps: Sequence[SectionStep]
) -> tuple[StoredRow | None, ...] | Mismatch:
    """The row for each get and None for each other step, or the first expectation that does not hold.

    `rows` has every row that a get or expect step names, as the session got it.
    """
    seen = dict(rows)
    results: list[StoredRow | None] = []
    for index, step in enumerate(steps):
        if isinstance(step, PutIntent):
            if step.key in seen:
                # The stamp is of no account here: the session gives the write its own when it is sent.
                put = make_put(table.regular_names, step.key, step.cells, 0, covers=False, life_ms=step.life_ms)
                after = row_after_put(seen[step.key], put)
                if after is not None:
                    seen[step.key] = after
            results.append(None)
        elif isinstance(step, DeleteIntent):
            if step.key in seen:
                seen[step.key] = row_after_delete(step.key, seen[step.key])
            results.append(None)
        elif isinstance(step, GetStep):
            results.append(seen[step.key])
        else:
            assert isinstance(step, ExpectStep)
            if not holds(step, seen[step.key]):
                return Mismatch(index, seen[step.key])
            results.append(None)
    return tuple(results)
