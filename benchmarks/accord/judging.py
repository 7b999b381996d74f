"""What recorded attempts prove: that a cell's versions are one chain, and that nothing acknowledged was lost."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

from .client import Attempt


def violations(attempts: Iterable[Attempt]) -> list[str]:
    """Why the attempts are not those of linearizable cells, a sentence each; empty if nothing speaks against it.

    A version has one token, whoever saw it. Whoever begins after another has ended sees no older version, and applies only on
    a newer one. Local reads may be old, but show a version that was.
    """
    by_key: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        if attempt.kind != "scan":
            by_key[attempt.key].append(attempt)
    return [words for key in sorted(by_key) for words in _of_key(key, by_key[key])]


def _of_key(key: str, attempts: Sequence[Attempt]) -> list[str]:
    found: list[str] = []
    tokens: dict[int, str] = {}
    sent = {attempt.mine: attempt for attempt in attempts if attempt.mine}
    applied = Counter(attempt.version for attempt in attempts if attempt.outcome == "applied")
    found += [f"{key}: version {version} was applied {count} times" for version, count in applied.items() if count > 1]
    for attempt in attempts:
        if not attempt.version:
            continue
        known = tokens.setdefault(attempt.version, attempt.token)
        if known != attempt.token:
            found.append(f"{key}: version {attempt.version} is {known} and {attempt.token}")
        author = sent.get(attempt.token)
        if author is not None and author.expected + 1 != attempt.version:
            found.append(f"{key}: {attempt.token} was sent on {author.expected} and is seen as {attempt.version}")
        if author is not None and author.outcome in ("refused", "unavailable"):
            found.append(
                f"{key}: version {attempt.version} was answered {author.outcome} ({author.error}) and is there"
            )
    newest = max(tokens, default=0)
    settled = {attempt.version for attempt in attempts if attempt.outcome == "applied"}
    unknown = {attempt.expected + 1 for attempt in attempts if attempt.outcome == "unknown"}
    gaps = [version for version in range(1, newest + 1) if version not in settled | unknown]
    found += [f"{key}: nobody made version {version}" for version in gaps]
    found += _out_of_order(
        key,
        [
            attempt
            for attempt in attempts
            if attempt.kind != "local" and attempt.outcome in ("applied", "refused", "seen")
        ],
    )
    return found


def _out_of_order(key: str, answered: Sequence[Attempt]) -> list[str]:
    found: list[str] = []
    by_end = sorted(answered, key=lambda one: one.ended_s)
    seen, at = 0, 0
    for attempt in sorted(answered, key=lambda one: one.begun_s):
        while at < len(by_end) and by_end[at].ended_s < attempt.begun_s:
            seen = max(seen, by_end[at].version)
            at += 1
        if attempt.version < seen + (attempt.outcome == "applied"):
            found.append(
                f"{key}: {attempt.client} was {attempt.outcome} version {attempt.version} when {seen} had been seen"
            )
    return found


def lost(attempts: Sequence[Attempt]) -> list[str]:
    """Keys whose last read, by any site's `final` client, shows less than was acknowledged before."""
    acknowledged: dict[str, int] = defaultdict(int)
    for attempt in attempts:
        if attempt.outcome == "applied":
            acknowledged[attempt.key] = max(acknowledged[attempt.key], attempt.version)
    finals = [attempt for attempt in attempts if attempt.client.endswith("-final") and attempt.kind == "read"]
    found = [
        f"{one.key}: {one.site} reads version {one.version} ({one.error or one.outcome}), {acknowledged[one.key]} was acknowledged"
        for one in {(each.site, each.key): each for each in finals}.values()
        if one.version < acknowledged[one.key]
    ]
    unread = set(acknowledged) - {one.key for one in finals}
    return found + [f"{key}: nobody could read it at the end" for key in sorted(unread)]


def outcomes(attempts: Iterable[Attempt]) -> str:
    """How many compare-and-sets had which outcome."""
    count = Counter(attempt.outcome for attempt in attempts if attempt.kind == "cas")
    return " ".join(f"{name} {count[name]}" for name in ("applied", "refused", "unavailable", "unknown"))


def errors(attempts: Iterable[Attempt]) -> list[str]:
    """The kinds of errors with how often they came, the most frequent first."""
    count = Counter(f"{one.kind} {one.outcome} {one.error}" for one in attempts if one.error)
    return [f"{number} x {words}" for words, number in count.most_common(8)]


def longest_gap_s(attempts: Sequence[Attempt], site: str, begin_s: float, end_s: float) -> float:
    """The longest time in which nothing was applied at a site."""
    moments = sorted(one.ended_s for one in attempts if one.site == site and one.outcome == "applied")
    inside = [begin_s, *(moment for moment in moments if begin_s < moment < end_s), end_s]
    return max(after - before for before, after in pairwise(inside))


def first_after_s(attempts: Sequence[Attempt], site: str, moment_s: float) -> float | None:
    """How long after a moment a compare-and-set that was begun after it was applied at a site; None: never."""
    later = [
        one.ended_s for one in attempts if one.site == site and one.outcome == "applied" and one.begun_s > moment_s
    ]
    return min(later) - moment_s if later else None


def middle_ms(attempts: Iterable[Attempt]) -> tuple[float, float]:
    """Median and 95th percentile of how long they took."""
    took = sorted((one.ended_s - one.begun_s) * 1000 for one in attempts)
    if not took:
        return 0.0, 0.0
    return took[len(took) // 2], took[int(len(took) * 0.95)]
