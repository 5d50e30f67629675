from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

import pytest

import asgi_infra
from asgi_infra.errors import ConfigurationError, InfrastructureError, MissingExtraError
from asgi_infra.tokens import (
    InMemoryTokenStore,
    RedisTokenStore,
    SQLTokenStore,
    StoredToken,
    TokenStore,
    open_token_store,
    opening,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SECRET = "hunter2"


class OtherStore(InMemoryTokenStore):
    """Stands for a third party's."""


def open_other(url: str, **options: Any) -> TokenStore:
    assert url == "other://place"
    return OtherStore(**options)


def open_nothing(url: str, **options: Any) -> Any:
    return {"url": url}


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def add(**targets: str) -> None:
        def entry_points(*, group: str) -> Iterable[EntryPoint]:
            assert group == "asgi_infra.token_stores"
            return [EntryPoint(name, target, group) for name, target in targets.items()]

        monkeypatch.setattr(opening, "entry_points", entry_points)

    return add


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory://", InMemoryTokenStore),
        ("MEMORY://", InMemoryTokenStore),
        ("sqlite:///tokens.db", SQLTokenStore),
        ("postgresql://alice:hunter2@db.example.org/shop", SQLTokenStore),
        ("postgres://alice:hunter2@db.example.org/shop", SQLTokenStore),
        ("redis://:hunter2@cache.example.org:6379/0", RedisTokenStore),
        ("rediss://cache.example.org", RedisTokenStore),
        ("valkey://cache.example.org", RedisTokenStore),
        ("valkeys://cache.example.org", RedisTokenStore),
        ("redis+cluster://one.example.org:6379,two.example.org:6379", RedisTokenStore),
        ("redis+sentinel://one.example.org:26379/shop", RedisTokenStore),
    ],
)
def test_a_url_names_a_store_that_connects_when_it_is_used(url: str, kind: type[TokenStore]) -> None:
    store = open_token_store(url, grace=5)
    assert type(store) is kind
    assert SECRET not in repr(store)


def test_the_face_of_the_package_opens_stores_too() -> None:
    assert asgi_infra.open_token_store is open_token_store


@pytest.mark.anyio
async def test_a_store_that_was_opened_by_url_works() -> None:
    from datetime import timedelta

    async with open_token_store("memory://", max_sessions=1) as store:
        token = StoredToken.issue("alice", lifetime=timedelta(hours=1))
        await store.save(token)
        assert await store.get(token.jti) == token


@pytest.mark.parametrize("url", [None, 5, b"memory://", ["memory://"]])
def test_a_url_is_text(url: Any) -> None:
    with pytest.raises(ValueError, match=r"^url must be a str, not"):
        open_token_store(url)


@pytest.mark.parametrize("url", ["", " ", "memory", "memory:", "://hunter2", "hunter2@host/shop", "1st://hunter2"])
def test_a_url_has_a_scheme(url: str) -> None:
    with pytest.raises(ValueError, match=r"^url must begin with a scheme") as caught:
        open_token_store(url)
    assert SECRET not in str(caught.value)
    assert isinstance(caught.value, InfrastructureError)


@pytest.mark.parametrize("scheme", ["mysql", "http", "file", "x" * 1000])
def test_an_unknown_scheme_is_refused_without_showing_the_url(scheme: str) -> None:
    with pytest.raises(ConfigurationError, match="no token store serves") as caught:
        open_token_store(f"{scheme}://alice:{SECRET}@db.example.org/shop")
    message = str(caught.value)
    assert SECRET not in message
    assert "example.org" not in message
    assert "memory" in message
    assert len(message) < 300


@pytest.mark.parametrize(
    ("scheme", "meant"),
    [("reids", "redis"), ("Valky", "valkey"), ("postgre", "postgres"), ("reids+sentinel", "redis+sentinel")],
)
def test_a_scheme_with_a_slip_is_answered_with_the_one_that_was_meant(scheme: str, meant: str) -> None:
    with pytest.raises(ConfigurationError, match=f"; did you mean '{re.escape(meant)}'\\?$"):
        open_token_store(f"{scheme}://db.example.org")


def test_the_known_schemes_hold_the_ways_to_reach_several_servers() -> None:
    with pytest.raises(ConfigurationError, match=r"redis, redis\+cluster, redis\+sentinel, redis\+unix, rediss"):
        open_token_store("http://db.example.org")


def test_the_url_of_a_store_in_memory_holds_nothing_else() -> None:
    with pytest.raises(ValueError, match=r"^url must be just 'memory://'") as caught:
        open_token_store(f"memory://{SECRET}")
    assert SECRET not in str(caught.value)


def test_a_wrong_option_is_refused() -> None:
    with pytest.raises(ValueError, match="grace"):
        open_token_store("memory://", grace=-1)


def test_a_star_import_brings_every_name_without_any_extra() -> None:
    extras = ("redis", "sqlalchemy", "aiosqlite", "asyncpg", "joserfc", "cryptography")
    program = f"""
import sys
sys.modules.update(dict.fromkeys({extras}))
from asgi_infra.tokens import *
import asgi_infra.tokens
print(set(asgi_infra.tokens.__all__) - set(globals()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == ("set()\n", "")


# Third parties


def test_a_third_party_adds_a_scheme(added: Callable[..., None]) -> None:
    added(other=f"{__name__}:open_other")
    assert type(open_token_store("other://place", grace=5)) is OtherStore
    with pytest.raises(ValueError, match="grace"):
        open_token_store("other://place", grace=-1)


def test_schemes_of_third_parties_are_among_the_known_ones(added: Callable[..., None]) -> None:
    added(other=f"{__name__}:open_other")
    with pytest.raises(ValueError, match=r"known are .*memory, other, postgres"):
        open_token_store("unknown://place")


def test_a_third_party_can_not_take_a_scheme_of_this_package(added: Callable[..., None]) -> None:
    added(memory=f"{__name__}:open_nothing")
    assert type(open_token_store("memory://")) is InMemoryTokenStore


def test_what_a_third_party_opens_must_be_a_store(added: Callable[..., None]) -> None:
    added(broken=f"{__name__}:open_nothing")
    with pytest.raises(ValueError, match=r"'broken' has returned dict, no TokenStore$"):
        open_token_store(f"broken://{SECRET}")


@pytest.mark.parametrize(
    ("url", "missing", "module"),
    [
        ("redis://cache.example.org", "redis", "asgi_infra.tokens.backends.redis"),
        ("sqlite:///tokens.db", "sqlalchemy", "asgi_infra.tokens.backends.sql"),
    ],
)
def test_a_missing_driver_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, url: str, missing: str, module: str
) -> None:
    for name in list(sys.modules):
        if name.startswith((f"{missing}.", module, "asgi_infra.database")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError, match=f"'{missing}' is not installed.*pip install"):
        open_token_store(url)
