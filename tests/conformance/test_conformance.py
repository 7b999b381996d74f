"""Every recorded exchange with MUSIC 3.2.40 is sent again, in order, to a server of ours.

Goal: today's clients need not notice. An answer is the recorded one, or the one that the table of differences gives a reason for.
"""

import contextlib
import http.client

import pytest

from polysite.clock import Runtime
from polysite.server.passwords import hash_password
from tests.support.exchanges import Difference, Recorded, Told, differences, parsed, recorded, same
from tests.support.server_process import ANSWER_S, ServerProcess

TABLE = differences()
EXCHANGES = [one for one in recorded() if one.section != "down" and one.name != "auth-none"]
"""What was recorded while the engine was down stands in a module of its own; `auth-none` is a fault of the recording."""

IMPATIENT = {
    "POLYSITE_V2_ATOMIC_WAIT_MS": "0",
    "POLYSITE_V2_PROMOTE_WAIT_MS": "0",
    "POLYSITE_SITE_SECTION_WAIT_MS": "200",
}
TRACING = """
[v2]
keyspace_active = false
transaction_id = { required = true, prefix = "X-ATT" }
conversation_id = { required = true, prefix = "X-CSI" }
message_id = { required = true }
client_id = { required = true }
"""
ACCOUNTS = (
    ("all", "*|*"),
    ("gk", "gk|*"),
    ("ro", "gk|GET"),
    ("starget", "*|GET"),
    ("otherns", ""),
    ("colon", "a:gk|*"),
)


def accounts() -> str:
    """Settings with the accounts of the recording; the password of each is p."""
    lines = []
    for name, permission in ACCOUNTS:
        told = f"org.onap.music.cadi.keyspace|{permission}" if permission else "org.other.keyspace|gk|*"
        lines.append(
            f'[[auth.accounts]]\nname = "{name}"\npassword = "{hash_password("p", Runtime().randomness)}"\n'
            f'permissions = ["{told}"]\n'
        )
    return "".join(lines)


def group(one: Recorded) -> str:
    """Which settings of the server an exchange was recorded under."""
    if one.section != "inst":
        return "plain"
    return "accounts" if one.name.startswith("auth-") else "tracing"


def send(server: ServerProcess, one: Recorded) -> Told:
    """Send an exchange as it was sent to the original."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=ANSWER_S)) as connection:
        connection.putrequest(one.method, one.path, skip_accept_encoding=True)
        for name, value in one.headers.items():
            connection.putheader(name, value)
        if one.body is not None:
            connection.putheader("content-length", str(len(one.body)))
        connection.endheaders()
        if one.body:
            connection.send(one.body)
        response = connection.getresponse()
        return Told(response.status, parsed(response.read().decode()))


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    """What our server answered, by exchange. The groups follow each other on the same data."""
    folder = tmp_path_factory.mktemp("conformance")
    config = folder / "polysite.toml"
    found: dict[str, Told] = {}
    for settings in ("plain", "tracing", "accounts"):
        config.write_text({"plain": "", "tracing": TRACING, "accounts": accounts()}[settings])
        with ServerProcess(folder / "data", variables=IMPATIENT, flags=("--config", str(config))) as server:
            for one in EXCHANGES:
                if group(one) == settings:
                    found[one.name] = send(server, one)
            assert server.terminate() == 0
    return found


@pytest.mark.slow
@pytest.mark.parametrize("one", EXCHANGES, ids=lambda one: one.name)
def test_an_answer_is_the_recorded_one_or_differs_for_a_reason(one: Recorded, answers: dict[str, Told]) -> None:
    """Each exchange against the answer of the original. Nothing is compared loosely: what differs stands whole in the table."""
    told = answers[one.name]
    difference = TABLE.get(one.name)
    if difference is None:
        assert same(one, told), (
            f"{one.method} {one.path}: was {one.status} {one.answer}, is {told.status} {told.answer}"
        )
    else:
        assert differs_as_said(difference, told), f"{told} is neither the recorded answer nor {difference}"
        assert not same(one, told), "the table says that this is different, and it is not"


def differs_as_said(difference: Difference, told: Told) -> bool:
    """Whether an answer is the one in the table."""
    if told.status != difference.status:
        return False
    if difference.members is not None:
        return isinstance(told.answer, dict) and difference.members.items() <= told.answer.items()
    return bool(told.answer == difference.answer)


def test_the_table_has_no_entry_for_an_exchange_that_is_not_there() -> None:
    """A difference that nothing shows would be a reason for nothing."""
    names = {one.name for one in recorded()}
    assert set(TABLE) <= names
    assert len(names) == len(list(recorded())), "names of exchanges tell them apart"
