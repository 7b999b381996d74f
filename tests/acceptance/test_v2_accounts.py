"""Who may do what over the interface of MUSIC 3.x.

Method: an application with accounts and tokens over a site in memory; requests carry their credentials, or wrong ones.
"""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest import mock

import msgspec
import pytest

from polysite.api import KeyName
from polysite.clock import Runtime
from polysite.errors import BadRequest
from polysite.server import passwords
from polysite.server.auth import hash_token
from polysite.server.passwords import hash_password, parse_password_hash
from polysite.server.settings import (
    AccountSettings,
    AuthSettings,
    Settings,
    TelemetrySettings,
    TokenSettings,
    V2Settings,
)
from polysite.server.v2.interface import ENDPOINTS
from polysite.testing.loop import seeded
from tests.support.music import Answer, Music, how
from tests.support.sites import world_of

TYPE = "org.onap.music.cadi.keyspace"
with mock.patch.object(passwords, "_LOG_N", 2):
    QUICK_HASH = hash_password("päss:word", Runtime().randomness)
"""The password of every account here, stretched so little that tests are quick."""


def basic(name: str, password: str = "päss:word") -> dict[str, str]:
    """Basic credentials."""
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def settings(*, tokens: dict[str, dict[str, list[str]]] | None = None, **accounts: str) -> Settings:
    """Accounts by name, each with permissions after the type, with commas between, as "ks|GET,other|*"; tokens by their secret."""
    return Settings(
        auth=AuthSettings(
            tokens=[
                TokenSettings(name=name, sha256=hash_token(name), **rights) for name, rights in (tokens or {}).items()
            ],
            accounts=[
                AccountSettings(
                    name=name,
                    password=QUICK_HASH,
                    permissions=[f"{TYPE}|{permission}" for permission in permissions.split(",") if permission],
                )
                for name, permissions in accounts.items()
            ],
        ),
        telemetry=TelemetrySettings(log_level="debug"),
        v2=V2Settings(plain_paths=True, atomic_wait_ms=0),
    )


@asynccontextmanager
async def guarded(seed: int, **more: Any) -> AsyncIterator[Music]:
    """An application with accounts; admin, who may do everything, has made the table ks.music."""
    async with world_of(seed) as world:
        process = world.processes[0]
        music = Music(process.coordinator, runtime=process.runtime, settings=settings(**{"admin": "*|*", **more}))
        music.credentials = basic("admin")
        await music.make_table()
        music.credentials = {}
        yield music
        assert "request failed" not in music.log.getvalue()


def refused(answer: Answer) -> str:
    """The text of a refusal."""
    assert answer.status == 401, answer
    told: dict[str, Any] = answer.json
    assert told.keys() == {"responseCode", "responseMessage"}
    assert told["responseCode"] == 401
    text: str = told["responseMessage"]
    assert text.startswith("Unauthorized Access - ")
    return text


@seeded(inline_threads=True)
async def test_wrong_passwords_and_unknown_names_are_told_alike(seed: int) -> None:
    """Right credentials work, whatever signs are in them; wrong ones, none, broken ones and those of another scheme are 401."""
    async with guarded(seed) as music:

        async def ask(headers: dict[str, str]) -> Answer:
            return await music.ask("GET", Music.rows_path(), headers=headers)

        assert (await ask(basic("admin"))).status == 200
        wrong, unknown = refused(await ask(basic("admin", "guess"))), refused(await ask(basic("nobody")))
        assert wrong == unknown
        for header in (
            "",
            "Basic",
            "Basic !!!",
            "Basic YWRtaW4=",
            "Basic " + base64.b64encode(b"\xff:x").decode(),
            "Digest x",
        ):
            answer = await ask({"authorization": header})
            refused(answer)
            assert answer.headers["www-authenticate"].startswith("Basic ")
        assert refused(await ask({}))
        assert refused(await ask({"authorization": "Bearer nobody"}))
        assert "guess" not in music.log.getvalue()


@seeded(inline_threads=True)
async def test_a_password_is_stretched_once(seed: int) -> None:
    """Stretching takes its time, so right credentials are remembered, and wrong ones are not; neither stands anywhere in clear text."""
    async with guarded(seed) as music:
        with mock.patch.object(passwords, "_stretch", side_effect=passwords._stretch) as stretch:
            for _ in range(5):
                assert (await music.ask("GET", Music.rows_path(), headers=basic("admin"))).status == 200
            remembered = stretch.call_count
            assert remembered <= 1
            for _ in range(3):
                refused(await music.ask("GET", Music.rows_path(), headers=basic("admin", "guess")))
            refused(await music.ask("GET", Music.rows_path(), headers=basic("nobody", "guess")))
            assert stretch.call_count == remembered + 4, "a name that nobody has takes as long as any other"


def test_password_hashes() -> None:
    """A hash fits its password and no other; two of one password differ; what is no hash, or would take too long, is refused."""
    with mock.patch.object(passwords, "_LOG_N", 2):
        one, other = [hash_password("secret", Runtime().randomness) for _ in range(2)]
    assert one != other
    assert parse_password_hash(one).fits(b"secret")
    assert not parse_password_hash(one).fits(b"Secret")
    assert "secret" not in repr(parse_password_hash(one)) + one
    assert QUICK_HASH not in repr(AccountSettings(name="x", password=QUICK_HASH))
    name, log_n, r, p, salt, key = one.split("$")
    for bad in (
        "", "secret", f"md5${log_n}${r}${p}${salt}${key}", f"{name}$30${r}${p}${salt}${key}",
        f"{name}${log_n}${r}${p}$${key}", f"{name}${log_n}${r}${p}${salt}${salt}", f"{name}$x${r}${p}${salt}${key}",
    ):  # fmt: skip
        with pytest.raises(BadRequest) as told:
            parse_password_hash(bad)
        assert key not in str(told.value)


@seeded(inline_threads=True)
async def test_q19_a_permission_is_for_the_keyspace_of_the_path(seed: int) -> None:
    """A table or a key that is called like an allowed keyspace is not allowed by it; every path that leads to data is guarded; any
    keyspace goes with a named method."""
    async with guarded(seed, mine="mine|*", reader="*|GET", listed="other:KS|ALL", none="") as music:
        music.credentials = basic("admin")
        await music.make_table(table="mine")
        await music.make_table(keyspace="mine")
        music.credentials = basic("mine")
        for method, path in (
            ("GET", "/v2/keyspaces/ks/tables/mine/rows"),
            ("GET", "/v2/locks/enquire/ks.mine.mine"),
            ("POST", "/v2/locks/create/ks.music.mine"),
            ("GET", "/v2/locks/acquire/$ks.mine.mine$1"),
            ("GET", "/v2/priorityq/keyspaces/ks/mine/filter"),
            ("POST", "/v2/conditional/insert/keyspaces/ks/tables/mine"),
            ("PUT", "/v2/conditional/update/keyspaces/ks/tables/mine"),
            ("GET", "/keyspaces/ks/tables/mine/rows"),
            ("GET", "/locks/acquire/$ks.mine.mine$1"),
        ):
            refused(await music.ask(method, path, None if method == "GET" else {}))
        assert (await music.ask("GET", "/v2/keyspaces/MINE/tables/music/rows")).rows == []
        assert (await music.ask("POST", "/v2/locks/create/Mine.music.ks")).status == 200
        music.credentials = basic("reader")
        assert (await music.select()).rows == []
        refused(await music.insert({"id": "a"}))
        refused(await music.create("a"))
        refused(await music.delete("a"))
        music.credentials = basic("listed")
        assert (await music.insert({"id": "a"})).status == 200
        refused(await music.ask("GET", "/v2/keyspaces/mine/tables/music/rows"))
        music.credentials = basic("none")
        refused(await music.select())
        assert (await music.ask("GET", "/v2/version")).status == 200


@seeded(inline_threads=True)
@pytest.mark.parametrize("endpoint", [one for one in ENDPOINTS if one.right], ids=lambda one: one.name)
async def test_every_path_to_data_is_guarded(seed: int, endpoint: Any) -> None:
    """Without credentials, with the permission for another keyspace and with that for another method it is refused; with its own it is not."""
    method = "GET" if endpoint.method != "GET" else "POST"
    async with guarded(seed, right=f"ks|{endpoint.method}", method=f"ks|{method}", keyspace="other|*") as music:
        path = "/" + endpoint.pattern.replace("{keyspace...}", "ks").replace("{keyspace}", "ks").replace(
            "{name}", "ks.music.a"
        )
        path = path.replace("{id}", "$ks.music.a$1").replace("{table...}", "music").replace("{table}", "music")
        path = path.replace("{field...}", "note").replace("{queue}", "music")
        body: Any = None if endpoint.method in {"GET", "DELETE"} else {}
        for name in ("", "method", "keyspace"):
            refused(await music.ask(endpoint.method, path, body, headers=basic(name) if name else {}))
        assert (await music.ask(endpoint.method, path, body, headers=basic("right"))).status != 401


@seeded(inline_threads=True)
async def test_a_lock_is_its_account_s(seed: int) -> None:
    """Nobody else uses it, though its number is easy to guess: not to acquire, write, read, release or promote; not over plain paths."""
    async with guarded(
        seed, mallory="ks|*", tokens={"bearer": {right: ["*"] for right in ("read", "write", "lock")}}
    ) as music:
        music.credentials = basic("admin")
        lock = await music.lock("a", owner="mallory/admin")
        for credentials in (basic("mallory"), {"authorization": "Bearer bearer"}):
            music.credentials = credentials
            refused(await music.acquire(lock))
            refused(await music.put("a", {"count": 1}, lock=lock))
            refused(await music.critical_get("a", lock=lock))
            refused(await music.release(lock))
            refused(await music.promote(lock))
            refused(await music.ask("POST", f"/v2/locks/acquire-with-lease/{lock}", {"leasePeriod": 1}))
            refused(await music.ask("DELETE", f"/locks/release/{lock}"))
        music.credentials = basic("admin")
        assert (await music.put("a", {"count": 1}, lock=lock)).message == "Update performed"
        assert (await music.release(lock)).status == 200


@seeded(inline_threads=True)
async def test_a_lock_made_elsewhere_is_no_account_s(seed: int) -> None:
    """What a client of /v3 says of its owner, which may be somebody's name by chance, gives nobody its lock by the number."""
    async with guarded(seed, mallory="ks|*") as music:
        site = music.application.service.coordinator
        key = KeyName(keyspace="ks", table="music", key={"id": "a"})
        music.credentials = basic("mallory")
        for number, owner in enumerate(("mallory", "mallory/x", "", None, "account"), 1):
            lock = await site.acquire([key], wait_ms=0, owner=owner)
            refused(await music.acquire(f"$ks.music.a${number}"))
            refused(await music.release(f"$ks.music.a${number}"))
            await site.release(lock.reference)
        assert (await music.acquire(await music.enqueue("a"))).status == 200


@seeded(inline_threads=True)
async def test_tokens_have_the_rights_they_have_elsewhere(seed: int) -> None:
    """A bearer token does here what it may do at /v3: dropping somebody's lock takes admin, and a condition takes read."""
    tokens = {right: {right: ["ks"]} for right in ("read", "write", "lock", "admin")}
    async with guarded(seed, tokens=tokens) as music:
        use = {right: {"authorization": f"Bearer {right}"} for right in tokens}
        path = Music.rows_path(id="a")
        body: dict[str, Any] = {"values": {"count": 1}, **how({"kind": "atomic"})}
        assert (await music.ask("PUT", path, body, headers=use["write"])).message == "Update performed"
        for right in ("read", "lock", "admin"):
            refused(await music.ask("PUT", path, body, headers=use[right]))
        refused(await music.ask("PUT", path, {**body, "conditions": {"count": 1}}, headers=use["write"]))
        assert (await music.ask("GET", path, headers=use["read"])).rows[0]["count"] == 1
        refused(await music.ask("GET", path, headers=use["write"]))
        created = await music.ask("POST", "/v2/locks/create/ks.music.a", headers=use["lock"])
        lock = created.json["lock"]["lock"]
        for right in ("read", "write", "lock"):
            refused(await music.ask("DELETE", f"/v2/locks/delete/{lock}", headers=use[right]))
        assert (await music.ask("DELETE", f"/v2/locks/delete/{lock}", headers=use["admin"])).status == 200
        refused(await music.ask("DELETE", "/v2/keyspaces/ks", headers=use["write"]))
        refused(await music.ask("GET", "/v2/keyspaces/other/tables/t/rows", headers=use["read"]))


@seeded(inline_threads=True)
async def test_a_page_of_another_origin_is_refused(seed: int) -> None:
    """A browser sends credentials along with whatever a page asks for; one of another origin is refused, with accounts and without."""
    async with guarded(seed) as music:
        for origin in ("http://evil.example", "null", "http://[", ""):
            answer = await music.ask("GET", Music.rows_path(), headers={**basic("admin"), "origin": origin})
            assert "another origin" in refused(answer)
        own = await music.ask("GET", Music.rows_path(), headers={**basic("admin"), "origin": "http://127.0.0.1"})
        assert own.status == 200
    async with world_of(seed) as world:
        music = Music(world.processes[0].coordinator)
        answer = await music.ask("POST", "/v2/locks/create/ks.votes.a", headers={"origin": "http://evil.example"})
        assert "another origin" in refused(answer)


@seeded
async def test_accounts_that_cannot_work_are_refused_at_start(seed: int) -> None:
    """A permission that is none, or a password that is no hash, is told before anything is served, without the password."""
    async with world_of(seed) as world:
        for change in ({"permissions": ["ks|GET"]}, {"password": "open sesame"}):
            account = msgspec.structs.replace(AccountSettings(name="a", password=QUICK_HASH), **change)
            with pytest.raises(BadRequest) as told:
                Music(world.processes[0].coordinator, settings=Settings(auth=AuthSettings(accounts=[account])))
            assert "sesame" not in str(told.value)


@seeded(inline_threads=True)
async def test_permissions_of_another_type_count_for_nothing(seed: int) -> None:
    """Only those whose type begins with the setting are looked at; the escapes that permissions may have are undone."""
    hashed = AccountSettings(
        name="a", password=QUICK_HASH, permissions=["org.other|ks|*", f"{TYPE}|%2A|GET", f"{TYPE}|other|%2a"]
    )
    async with world_of(seed) as world:
        process = world.processes[0]
        given = Settings(auth=AuthSettings(accounts=[hashed]))
        music = Music(process.coordinator, settings=given, runtime=process.runtime)
        music.credentials = basic("a")
        assert (await music.select(table="votes")).rows == []
        refused(await music.insert({"id": "a"}, table="votes"))
        assert (await music.ask("DELETE", "/v2/keyspaces/other")).status == 400
