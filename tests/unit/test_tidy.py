"""What no linter knows: our words, our sizes, and what must never be in the repository.

Goal: one word for one thing, modules a reader can hold, nothing of the machine it was written on. Method: read every
tracked file; each rule is a function from text to findings, and is tried on a planted violation beside the real run.
"""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.source import ROOT, SOURCE, functions, python_files, tracked_files

MODULE_LINES_MAX = 600
FUNCTION_LINES_MAX = 60

LONG_FUNCTIONS: dict[str, str] = {}
"""`path:function` → why it is longer than FUNCTION_LINES_MAX and better so."""

NAMES = {
    "timeout": "say what it bounds and in which unit: `wait_s`, `lease_ms`",
    "token": "`fencing_token`, `bearer` or `reference`",
    "node": "`site`, `replica` or `process`",
    "nodes": "`sites`, `replicas` or `processes`",
    "ttl": "`expires_ms` or `expires_s`",
    "id": "say of what: `request_id`, `entry_id`",
    "mutex": "`lock_key` or `lock`",
    "lockref": "`reference`",
}
"""Names that nothing of ours may have, and what to say instead."""

NAMES_FINE = {
    ("src/polysite/server/auth.py", "token"): "the one place of bearer tokens, called so in the settings",
    ("src/polysite/server/settings.py", "token"): "the same",
    ("src/polysite/values/types/_parse.py", "token"): "a lexer's word; no lock is near",
}
"""(path, name) → why the word means what it usually means there."""

PHRASES = {
    r"\bnodes?\b": "site, replica or process",
    r"\bnetwork partitions?\b|\bpartitioned network\b|\bnet-?splits?\b|\bsplit[- ]brain\b": "cut",
    r"\bforced release\b": "preempt",
    r"\block tokens?\b": "lock reference, or fencing token",
    r"\bmutex(?:es)?\b": "lock",
    r"\bexclusive section\b": "critical section",
    r"\block owners?\b": "holder",
    r"\bepochs?\b": "fence, incarnation or tenure",
}
"""Words of prose (docs, docstrings, comments), and what to say instead."""

PHRASES_FINE = re.compile(r"Cassandra nodes?|nodes? of the (?:syntax )?tree|Unix epoch|ZooKeeper nodes?", re.IGNORECASE)
"""Where another system's own word is meant."""

GLOSSARY_PAGES = {"docs/glossary.md", "tests/unit/test_tidy.py"}
"""Where the banned words stand because they are banned."""

LEAKS = {
    r"(?<![\w.~<{])/(?:home|root|Users|work)/\w": "a path of the machine it was written on",
    r"\b(?:pypi|pythonhosted|npmjs|crates|maven|golang)\.(?:org|com|io|apache|dev)\b": "the host of a package registry",
    r"(?i)\bissue\s+#?\d+\b(?! of the )": "the number of an issue, which a reader cannot open",
    r"(?i)\b(?:clau[d]e|chat[g]pt|co[p]ilot|language mo[d]el)\b": "a tool that is no part of the project",
}
"""What no tracked file may contain."""

LEFTOVERS = r"\b(?:TO[D]O|FIX[M]E|XX[X]|HA[C]K)\b"


def text_files() -> Iterator[tuple[str, str]]:
    """Path and content of every tracked text file that people write."""
    for path in tracked_files():
        name = path.relative_to(ROOT).as_posix()
        if name == "LICENSE" or path.suffix in (".csv", ".gz", ".png", ".svg"):
            continue
        try:
            yield name, path.read_text()
        except UnicodeDecodeError:
            continue


def find(pattern: str, text: str, advice: str) -> list[str]:
    """`LINE: MATCH, ADVICE` for each match."""
    return [
        f"{text.count(chr(10), 0, match.start()) + 1}: {match[0]!r}, {advice}" for match in re.finditer(pattern, text)
    ]


def leaks(text: str) -> list[str]:
    return [found for pattern, advice in LEAKS.items() for found in find(pattern, text, advice)]


def leftovers(text: str) -> list[str]:
    return find(LEFTOVERS, text, "do it, or write down in docs/decisions why not")


def phrases(prose: str) -> list[str]:
    fine = [match.span() for match in PHRASES_FINE.finditer(prose)]
    found = []
    for pattern, instead in PHRASES.items():
        for match in re.finditer(pattern, prose, re.IGNORECASE):
            if not any(start <= match.start() and match.end() <= end for start, end in fine):
                found.append(f"{prose.count(chr(10), 0, match.start()) + 1}: {match[0]!r}, say {instead}")
    return found


def prose_of_python(source: str) -> str:
    """Comments and docstrings, each on the line it stands on; everything else blank."""
    lines = source.splitlines()
    prose = [re.sub(r"^[^#]*", "", line) if line.lstrip().startswith("#") or "  # " in line else "" for line in lines]
    for statement in ast.walk(ast.parse(source)):
        if (
            isinstance(statement, ast.Expr)
            and isinstance(statement.value, ast.Constant)
            and isinstance(statement.value.value, str)
        ):
            for number in range(statement.lineno - 1, statement.end_lineno or statement.lineno):
                prose[number] = lines[number]
    return "\n".join(prose)


def names(source: str) -> list[str]:
    """Parameters, variables and attributes of ours with a banned name; what others call their arguments is their affair."""
    found = []
    for part in ast.walk(ast.parse(source)):
        match part:
            case ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                pass
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                pass
            case _:
                continue
        if name in NAMES:
            found.append(f"{part.lineno}: the name {name!r}, {NAMES[name]}")
    return found


def too_long(name: str, source: str) -> list[str]:
    """Modules and functions over their bound."""
    found = []
    if source.count("\n") > MODULE_LINES_MAX:
        found.append(f"{source.count(chr(10))} lines; over {MODULE_LINES_MAX} a module does two things")
    for function in functions(ast.parse(source)):
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        if length > FUNCTION_LINES_MAX and f"{name}:{function.name}" not in LONG_FUNCTIONS:
            found.append(
                f"{function.lineno}: {function.name} has {length} lines; over {FUNCTION_LINES_MAX} it does two things"
            )
    return found


def without_goal(source: str) -> list[str]:
    """Tests that do not say what they are for."""
    return [
        f"{function.lineno}: {function.name} does not start with its goal and method"
        for function in functions(ast.parse(source))
        if function.name.startswith("test_") and not ast.get_docstring(function)
    ]


def report(findings: dict[str, list[str]]) -> str:
    return "\n".join(f"{name}:{found}" for name, founds in sorted(findings.items()) for found in founds)


def over_python(under: Path, rule: Callable[[str], list[str]], *, but: set[str] = frozenset()) -> str:  # type: ignore[assignment]
    files = {path.relative_to(ROOT).as_posix(): path for path in python_files(under)}
    return report({name: rule(path.read_text()) for name, path in files.items() if name not in but})


def test_nothing_of_the_machine_it_was_written_on() -> None:
    """No tracked file names a private path, a registry host or a tracker's number: they mean nothing to a reader."""
    assert not report({name: leaks(text) for name, text in text_files() if name != "tests/unit/test_tidy.py"})


def test_no_leftovers() -> None:
    """No note to oneself stays behind: it is done, or a decision says why not."""
    ours = {name: text for name, text in text_files() if not name.endswith(".lock")}
    assert not report({name: leftovers(text) for name, text in ours.items()})


def test_one_word_for_one_thing_in_docs() -> None:
    """The pages use the glossary's words, and none of those it replaces."""
    assert not report(
        {name: phrases(text) for name, text in text_files() if name.endswith(".md") and name not in GLOSSARY_PAGES}
    )


def test_one_word_for_one_thing_in_comments() -> None:
    """So do docstrings and comments, in the source and in the tests."""
    rule = lambda source: phrases(prose_of_python(source))  # noqa: E731
    assert not "\n".join(
        filter(None, [over_python(SOURCE, rule), over_python(ROOT / "tests", rule, but=GLOSSARY_PAGES)])
    )


def test_one_word_for_one_thing_in_names() -> None:
    """So do the names in the source."""
    found = over_python(SOURCE, names).splitlines()
    fine = [
        line for line in found for path, name in NAMES_FINE if line.startswith(f"{path}:") and f"name {name!r}" in line
    ]
    assert not set(found) - set(fine), "\n".join(sorted(set(found) - set(fine)))


def test_sizes() -> None:
    """No module and no function of the source is longer than a reader can hold; every exception is still needed."""
    files = {path.relative_to(SOURCE).as_posix(): path.read_text() for path in python_files(SOURCE)}
    assert not report({name: too_long(name, source) for name, source in files.items()})
    there = {f"{name}:{function.name}" for name, source in files.items() for function in functions(ast.parse(source))}
    assert set(LONG_FUNCTIONS) <= there, "an exception for a function that is gone"


def test_every_test_says_its_goal() -> None:
    """Each test starts with a docstring; a reader of a red line learns what was at stake."""
    assert not over_python(ROOT / "tests", without_goal)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (leaks, "see /" + "home/ana/notes"),
        (leaks, "index = https://" + "pypi" + ".org/simple"),
        (leaks, "as asked in iss" + "ue 12"),
        (leftovers, "x = 1  # TO" + "DO later"),
        (phrases, "each node votes"),
        (phrases, "when a network partition heals"),
        (phrases, "after a forced release"),
        (names, "def wait(timeout): ..."),
        (names, "class A:\n    token: str"),
        (names, "self.node = 1"),
        (without_goal, "def test_it():\n    assert True"),
        (lambda text: too_long("m.py", text), "def f():\n" + "    x = 1\n" * 61),
        (lambda text: too_long("m.py", text), "x = 1\n" * 601),
        (lambda text: phrases(prose_of_python(text)), "x = 1  # ask the other node\n"),
        (lambda text: phrases(prose_of_python(text)), 'def f():\n    """Ask the other node."""\n'),
    ],
)
def test_planted_violations_are_seen(rule: Callable[[str], list[str]], text: str) -> None:
    """Each rule finds what it is there for."""
    assert len(rule(text)) == 1


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (leaks, "PUT /v3/keyspaces/voting and /work-in-progress, ~/home"),
        (phrases, "an address of a Cassandra node"),
        (phrases, "the owner of a partition is cut off"),
        (names, "fetch(timeout=5)\nfencing_token = 3"),
        (without_goal, 'def test_it():\n    """Goal."""'),
        (lambda text: phrases(prose_of_python(text)), "for node in ast.walk(tree): pass\n"),
    ],
)
def test_innocent_text_passes(rule: Callable[[str], list[str]], text: str) -> None:
    """No rule cries over what is meant to be there."""
    assert rule(text) == []
