"""Version, test and health."""

from polysite import __version__
from polysite.errors import PolysiteError
from polysite.server.exchange import Reply
from polysite.server.v2.call import Call
from polysite.server.v2.envelope import Failure, bare, success

RUNNING = "Cassandra Running and Listening to requests"
DOWN = "One or more nodes in the Cluster is/are down or not responding."
_LEVELS = frozenset(
    {
        "ANY",
        "ONE",
        "TWO",
        "THREE",
        "QUORUM",
        "ALL",
        "LOCAL_QUORUM",
        "EACH_QUORUM",
        "SERIAL",
        "LOCAL_SERIAL",
        "LOCAL_ONE",
    }
)


async def version(call: Call) -> Reply:
    return success(version=f"MUSIC:{call.settings.version}")


async def build(call: Call) -> Reply:
    return success(version=f"MUSIC:{call.settings.version}", build=f"MUSIC:{_build(call)}")


async def test(call: Call) -> Reply:
    about = {"Music Version": call.settings.version, "Music Build": _build(call)}
    return bare({str(number): {**about, str(number + 1): str(number + 2)} for number in range(3)})


def _build(call: Call) -> str:
    return f"{call.settings.version}-polysite-{__version__}"


async def ping(call: Call) -> Reply:
    """Whether the engines answer; the level is looked at for its name alone."""
    if call.names[0] not in _LEVELS:
        raise Failure("there is no such consistency level; they are " + ", ".join(sorted(_LEVELS)))
    return _state(await _ready(call))


async def old_ping(call: Call) -> Reply:
    return _state(await _ready(call), old=True)


async def health(call: Call) -> Reply:
    return bare({"MUSIC": "Active", "Cassandra": "Active" if await _ready(call) else "Inactive"})


def _state(ready: bool, *, old: bool = False) -> Reply:
    name, text = ("ACTIVE", RUNNING) if ready else ("INACTIVE", DOWN)
    told = {} if old else {"status": name, "message": text}
    return bare({**told, name: text}, status=200 if ready else 400)


async def _ready(call: Call) -> bool:
    try:
        return (await call.coordinator.health()).ready
    except PolysiteError:
        return False
