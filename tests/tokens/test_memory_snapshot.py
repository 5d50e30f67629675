"""The snapshot of a store in memory is read as it was written, or refused."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asgi_infra.testing import ManualClock
from asgi_infra.tokens import CorruptRecordError, InMemoryTokenStore, StoredToken, StoreUnavailableError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
OLD, NEW = b"o" * 32, b"n" * 32
CLOCK = ManualClock()
TOKEN = StoredToken.issue("alice", lifetime=timedelta(hours=1), metadata={"device": "phone"}, clock=CLOCK)


def opened(path: Path, key: object = None) -> InMemoryTokenStore:
    return InMemoryTokenStore(snapshot=path, key=key, clock=CLOCK)  # type: ignore[arg-type]


async def write(path: Path, key: object = None) -> str:
    async with opened(path, key) as store:
        await store.save(TOKEN)
        await store.deny("denied", CLOCK.after(60))
        return await store.generation("alice")


@pytest.mark.parametrize(("written", "read"), [(None, None), (OLD, OLD), (OLD, [NEW, OLD])])
async def test_a_snapshot_is_read_as_it_was_written(tmp_path: Path, written: object, read: object) -> None:
    path = tmp_path / "tokens"
    generation = await write(path, written)
    async with opened(path, read) as store:
        assert await store.get(TOKEN.jti) == TOKEN
        assert await store.is_denied("denied")
        assert await store.is_current("alice", generation)
    assert oct(path.stat().st_mode & 0o777) == "0o600"
    assert TOKEN.jti.encode() not in path.read_bytes()


@pytest.mark.parametrize(("written", "read"), [(None, OLD), (OLD, None), (OLD, NEW)])
async def test_under_another_key_nothing_is_forgotten_in_silence(tmp_path: Path, written: object, read: object) -> None:
    path = tmp_path / "tokens"
    await write(path, written)
    with pytest.raises(CorruptRecordError, match="needs another key"):
        await opened(path, read).is_denied("denied")


@given(at=st.integers(0, 10_000), flip=st.integers(1, 255), cut=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_snapshot_is_refused(tmp_path: Path, at: int, flip: int, cut: bool) -> None:
    path = tmp_path / "tokens"
    if not path.with_suffix(".good").exists():
        anyio.run(write, path)
        path.rename(path.with_suffix(".good"))
    data = bytearray(path.with_suffix(".good").read_bytes())
    at %= len(data)
    data[at] ^= flip
    path.write_bytes(data[:at] if cut else data)
    with pytest.raises(CorruptRecordError):
        anyio.run(opened(path).open)


async def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError):
        await opened(tmp_path).open()
