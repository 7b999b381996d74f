"""Clock, chance, concurrency, files and network come in only through the seams.

Goal: a run of the simulation is decided by its seed alone, and a reader knows the few places that touch the machine.
Method: read every module of `src/` as a tree, resolve what each name was imported as, and compare its uses of the machine
with the list of modules that own them. The detector itself is tried on planted violations.
"""

import ast
from collections.abc import Iterator

import pytest

from tests.support.source import SOURCE, dotted, imported_names, module_name, python_files

RULES: dict[str, tuple[str, ...]] = {
    "clock": ("time", "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today"),
    "chance": ("random", "secrets", "os.urandom", "os.getrandom", "uuid.uuid1", "uuid.uuid4", "uuid.uuid6", "uuid.uuid7"),
    "spawn": ("asyncio.create_task", "asyncio.ensure_future", "asyncio.TaskGroup", "asyncio.run_coroutine_threadsafe"),
    "sleep": ("asyncio.sleep",),
    "files": ("open", "io.open", "os.open", "os.fdopen", "os.replace", "os.unlink", "os.remove", "os.mkdir", "os.makedirs",
              "shutil", "tempfile", "mmap", "fcntl"),
    "network": ("socket", "socketserver", "ssl.create_default_context", "http.client", "http.server", "urllib.request", "aiohttp", "uvicorn",
                "asyncio.open_connection", "asyncio.open_unix_connection", "asyncio.start_server", "asyncio.start_unix_server"),
    "threads": ("threading", "_thread", "queue", "concurrent.futures", "multiprocessing", "asyncio.to_thread"),
    "processes": ("subprocess", "signal", "os.fork", "os.kill", "os.killpg", "os.execv", "os.execvp", "os.system",
                  "asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell"),
    "database": ("apsw", "sqlite3"),
}  # fmt: skip
"""What counts as a use of each seam: a module means everything in it."""

METHODS: dict[str, tuple[str, ...]] = {
    "spawn": ("create_task", "ensure_future", "run_in_executor"),
    "files": ("read_text", "read_bytes", "write_text", "write_bytes", "unlink", "mkdir", "touch", "rmdir"),
    "network": ("create_connection", "create_server", "create_unix_server", "create_unix_connection", "sock_connect"),
}
"""Attribute calls that give a seam away whatever they are called on."""

ALLOWED: dict[str, dict[str, str]] = {
    "polysite.clock": {
        "clock": "owns the machine's clocks",
        "chance": "owns the machine's randomness",
        "sleep": "sleeps by the machine's clock",
        "spawn": "owns spawning",
    },
    "polysite.cli": {
        "files": "reads and writes what the user names, and its own standard output",
        "processes": "`lock hold` runs a command and ends it when the lock is lost",
        "threads": "`lock hold` waits for its command and keeps the lock at once, without a loop",
        "spawn": "`import` keeps several requests under way; they end with the command",
    },
    "polysite.client.asgi_transport": {
        "spawn": "runs the application beside the request that is made of it, and waits for both"
    },
    "polysite.client.keeping": {"threads": "keeps the locks of the client without await alive"},
    "polysite.client.pacing": {
        "clock": "is the seam through which the client without await sees time",
        "chance": "is the seam through which the client draws jitter and names its requests",
    },
    "polysite.client.aiohttp_transport": {"network": "carries the async client's requests"},
    "polysite.client.pool_transport": {
        "network": "carries the client's requests without await",
        "threads": "is used from any thread, so its pool has a lock",
        "clock": "ages idle connections; nothing of the protocol is measured with it",
    },
    "polysite.client.trust": {"network": "makes the TLS context of whoever trusts an authority of his own"},
    "polysite.engines.cassandra": {
        "threads": "a driver connects and closes on a thread beside the loop; its answers come from one",
        "network": "makes the TLS context of the connections to Cassandra, and looks up the addresses of contact points",
        "clock": "tells the driver when a request began, for its time limit",
        "files": "reads the certificates for the driver that takes them as text",
    },
    "polysite.engines.sqlite": {
        "database": "owns the SQLite file",
        "files": "makes the file's folder, and the file with the right mode",
        "threads": "one thread writes, a few read; the loop never waits for the disk",
        "spawn": "hands reads to the reading threads",
    },
    "polysite.engines.zookeeper.session": {
        "spawn": "stops its client, and asks the server what it is, beside the loop; once per connection",
        "files": "reads the password of its user",
    },
    "polysite.engines.process_slots": {"files": "an exclusive file lock tells whether a process lives"},
    "polysite.lab.control": {"network": "speaks to a lab's keeper on a socket in the lab's folder"},
    "polysite.lab.drills.conductor": {"files": "writes down what a drill did"},
    "polysite.lab.engines.archive": {"files": "keeps the archive beside the jars"},
    "polysite.lab.engines.cache": {"files": "is the folder that engines are kept in, and its lock"},
    "polysite.lab.engines.fetching": {
        "files": "puts what Maven brought into its place, all or nothing",
        "processes": "runs Maven",
    },
    "polysite.lab.engines.loopback": {
        "chance": "draws addresses, so that runs side by side do not meet",
        "network": "tries whether a port is free",
    },
    "polysite.lab.engines.probes": {
        "network": "asks engines whether they serve",
        "clock": "bounds how long it asks, in the process of its own that it is where the engine lives behind a prefix",
    },
    "polysite.lab.engines.releases": {"files": "reads the lists that are shipped with it"},
    "polysite.lab.engines.running": {
        "files": "writes an engine's configuration, reads its logs",
        "processes": "starts and ends engines",
    },
    "polysite.lab.engines.tools": {
        "files": "looks for commands",
        "processes": "asks Java for its version",
    },
    "polysite.lab.entering": {
        "files": "opens the namespaces of a site, reads which processes are in them",
        "processes": "becomes a command at a site, and passes signals on to it",
    },
    "polysite.lab.keeper": {
        "clock": "measures start-ups",
        "files": "writes what the services of a site read, and the lab's log",
        "network": "is spoken to on a socket in the lab's folder, asks services whether they are ready",
        "processes": "starts, freezes and kills what runs at the sites, and buries it",
        "spawn": "starts the sites side by side",
    },
    "polysite.lab.launching": {
        "chance": "names the lab",
        "processes": "starts the keeper",
    },
    "polysite.lab.network": {
        "clock": "times the packets that it carries",
        "chance": "draws the packets that are lost",
        "files": "opens devices",
        "network": "makes the networks between the sites",
        "processes": "tries in a child whether networks can be made",
    },
    "polysite.lab.skew": {"files": "shares the skew of a clock between the keeper and a site's process"},
    "polysite.lab.state": {
        "files": "keeps a lab's state in its folder, and locks it",
        "processes": "ends a keeper that does not answer",
    },
    "polysite.lab.traffic": {
        "clock": "writes histories by the one clock that all clients of a machine share",
        "files": "reads its plan, writes its history",
        "processes": "starts the clients of a site as a process there, and is stopped by a signal",
    },
    "polysite.server.peer_listener": {
        "network": "listens to other processes on a socket beside the file",
        "files": "removes that socket",
    },
    "polysite.server.peers": {
        "network": "is the carrier of the peer channel",
        "threads": "imports its library beside the loop, when a peer is first spoken to",
        "files": "keeps the peer channel's secret",
    },
    "polysite.server.protocol": {"network": "is the carrier: bounds what a connection may do"},
    "polysite.server.run": {"network": "is the carrier: listens, serves, stops"},
    "polysite.server.settings": {"files": "reads the settings file"},
    "polysite.server.tls": {"files": "looks at the files of TLS before a server starts"},
    "polysite.server.socket_names": {"files": "opens the folder of a socket whose path is too long to be named"},
    "polysite.server.v2.accounts": {"threads": "stretches a password beside the loop, which takes its time"},
    "polysite.server.v2.properties": {"files": "reads the property file"},
    "polysite.sync": {
        "threads": "`polysite.sync.open` runs its coordinator on a thread with a loop",
        "spawn": "hands the calls of other threads to that loop",
    },
    "polysite.testing.cell_contract": {
        "spawn": "several changes of one cell at once, each awaited",
        "sleep": "lets the others have their turn",
    },
    "polysite.testing.coordinator_contract": {
        "spawn": "calls several verbs side by side, and awaits each of them",
        "sleep": "lets the loop go round until the coordinator has seen a call",
    },
    "polysite.testing.loop": {
        "chance": "is the seeded source of chance",
        "threads": "refuses threads, which no seed decides",
        "spawn": "is the loop that runs the tasks",
    },
    "polysite.testing.mutants": {
        "threads": "a mutant lives in a process of its own",
        "files": "keeps the seeds that convict the mutants, beside their table",
    },
    "polysite.testing.nines": {
        "sleep": "lets the loop's one true time pass, which no process's clock is",
        "spawn": "carries requests and probes, which belong to no simulated process; each is waited for",
        "threads": "runs many worlds side by side, each in a process of its own",
        "clock": "tells how long the measurement took",
    },
    "polysite.testing.world": {
        "sleep": "lets the loop's one true time pass, which no process's clock is",
        "spawn": "carries clients and starts of processes, which belong to no simulated process; each is waited for",
        "threads": "runs many worlds side by side, each in a process of its own",
    },
    "polysite.testing.history": {"files": "reads histories back for a judge"},
    "polysite.testing.simulated": {
        "chance": "draws from a seed",
        "sleep": "turns a drifting clock's duration into the loop's virtual time",
    },
}
"""Module (or package) → seam → why this one touches the machine itself."""


def uses(source: str) -> Iterator[tuple[str, str, int]]:
    """(seam, what, line) of each direct use of the machine in `source`."""
    tree = ast.parse(source)
    names = imported_names(tree)
    types_only = {id(node) for block in ast.walk(tree) if _is_types_only(block) for node in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in types_only:
            continue
        if isinstance(node, ast.Import):
            yield from _matches([alias.name for alias in node.names], node.lineno, whole_modules=True)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from _matches([f"{node.module}.{alias.name}" for alias in node.names], node.lineno)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            meaning = dotted(node, names)
            if meaning == "open" or (
                isinstance(node, ast.Attribute) and meaning and meaning.split(".")[0] in _roots(names)
            ):
                yield from _matches([meaning], node.lineno)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            meaning = dotted(node.func, names) or node.func.attr
            if not any(_is_within(meaning, rule) for rules in RULES.values() for rule in rules):
                for seam, methods in METHODS.items():
                    if node.func.attr in methods:
                        yield seam, f".{node.func.attr}()", node.lineno


def _is_types_only(node: ast.AST) -> bool:
    """An `if TYPE_CHECKING:` block is never executed."""
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _roots(names: dict[str, str]) -> set[str]:
    return {meaning.split(".")[0] for meaning in names.values()}


def _is_within(meaning: str, rule: str) -> bool:
    return meaning == rule or meaning.startswith(rule + ".")


def _matches(meanings: list[str], line: int, *, whole_modules: bool = False) -> Iterator[tuple[str, str, int]]:
    for meaning in meanings:
        for seam, rules in RULES.items():
            if any(_is_within(meaning, rule) for rule in rules if not (whole_modules and rule == "open")):
                yield seam, meaning, line


def owners(module: str, seam: str) -> list[tuple[str, str]]:
    """The entries of the allow-list that let `module` use `seam`."""
    return [(owner, seam) for owner, seams in ALLOWED.items() if seam in seams and _is_within(module, owner)]


def test_only_the_seams_touch_the_machine() -> None:
    """Every use in `src/` is on the allow-list, and every entry of the allow-list is still needed."""
    strays: dict[tuple[str, str], list[str]] = {}
    needed: set[tuple[str, str]] = set()
    for path in python_files(SOURCE):
        module = module_name(path)
        for seam, what, line in uses(path.read_text()):
            allowing = owners(module, seam)
            needed.update(allowing)
            if not allowing:
                strays.setdefault((module, seam), []).append(f"{what} in line {line}")
    assert not strays, "\n".join(f"{module} ({seam}): {', '.join(found)}" for (module, seam), found in strays.items())
    stale = {(owner, seam) for owner, seams in ALLOWED.items() for seam in seams} - needed
    assert not stale, f"allowed but unused: {sorted(stale)}"


@pytest.mark.parametrize(
    ("source", "seam"),
    [
        ("import time", "clock"),
        ("from time import monotonic as now", "clock"),
        ("import datetime as d\nd.datetime.now()", "clock"),
        ("from datetime import datetime\nstarted = datetime.now()", "clock"),
        ("import random", "chance"),
        ("from secrets import token_bytes", "chance"),
        ("import os\nkey = os.urandom(8)", "chance"),
        ("import uuid\nname = uuid.uuid4()", "chance"),
        ("from uuid import uuid4", "chance"),
        ("import asyncio\nasyncio.create_task(work())", "spawn"),
        ("import asyncio as aio\naio.ensure_future(work())", "spawn"),
        ("loop.create_task(work())", "spawn"),
        ("import asyncio\nasync def rest(): await asyncio.sleep(1)", "sleep"),
        ("with open('state') as file: pass", "files"),
        ("from pathlib import Path\nPath('state').read_text()", "files"),
        ("import socket", "network"),
        ("import http.client", "network"),
        ("import threading", "threads"),
        ("def late():\n    from threading import Lock", "threads"),
        ("import subprocess", "processes"),
        ("import apsw", "database"),
    ],
)
def test_planted_violations_are_seen(source: str, seam: str) -> None:
    """The detector names the seam of each kind of direct use, also behind aliases and inside functions."""
    assert seam in {found for found, _, _ in uses(source)}


@pytest.mark.parametrize(
    "source",
    [
        "from datetime import datetime, UTC\ndatetime.fromtimestamp(0, UTC)",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import threading",
        "import uuid\nuuid.UUID(int=0)",
        "import asyncio\nasyncio.Event()",
        "time = 5\nprint(time)",
        "runtime.spawner.spawn(work(), name='work')",
        "import os\nos.path.join('a', 'b')",
        "class Store:\n    def open(self): ...\nStore().open()",
    ],
)
def test_innocent_code_passes(source: str) -> None:
    """Values of the same libraries, our own names that look alike and imports for types alone are no use of the machine."""
    assert list(uses(source)) == []
