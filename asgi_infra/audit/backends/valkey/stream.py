"""The stream of entries in Valkey or Redis."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Lock
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final

from asgi_infra.audit.backends.valkey import scripts
from asgi_infra.audit.backends.valkey.driver import exceptions
from asgi_infra.audit.backends.valkey.settings import client_of, refuse_unsafe
from asgi_infra.audit.errors import AuditFullError, AuditOutcomeUnknownError, AuditUnavailableError
from asgi_infra.audit.record import Receipt
from asgi_infra.audit.stream.contract import AuditLeaseLostError, AuditStream, Message
from asgi_infra.audit.stream.frames import to_frame

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from asgi_infra.audit.record import Record

_MAX_REJECTED: Final = 1_000
_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.5
_UNREACHED: Final = (
    exceptions.BusyLoadingError,
    exceptions.MasterDownError,
    exceptions.ReadOnlyError,
    exceptions.AuthenticationError,
    exceptions.NoPermissionError,
    exceptions.TryAgainError,
)


class ValkeyStream(AuditStream):
    """A stream, with its lease and the ids that it remembers.

    Args:
        url: Of the server.
        name: Of the stream; makes the names of all keys.
        replicas: How many replicas have to have an entry on their disks.
        max_entries: What may wait for the relay.
        deduplicate: Seconds in which an id is known again.
        timeout: Seconds that one call may take.
    """

    def __init__(
        self, url: str, name: str, *, replicas: int, max_entries: int, deduplicate: float, timeout: float
    ) -> None:
        self._client = client_of(url, timeout)
        self._replicas, self._max_entries, self._timeout = replicas, max_entries, timeout
        self._remember = int(deduplicate * 1000)
        tag = f"{{asgi-infra:audit:{name}}}"
        self._stream, self._ids, self._rejected = f"{tag}:entries", f"{tag}:id:", f"{tag}:rejected"
        self._lease, self._fence, self._known = f"{tag}:lease", f"{tag}:fence", f"{tag}:duplicates"
        self._counting = Lock()
        self._duplicates = 0

    def open(self) -> None:
        with self._translated("nothing was kept"):
            refuse_unsafe(self._client, self._stream, self._replicas)

    def append(self, records: Sequence[Record]) -> list[Receipt]:
        unique: dict[str, Record] = {}
        for record in records:
            unique.setdefault(record.entry.id, record)
        found = dict(zip(unique, self._appended(list(unique.values())), strict=True))
        fresh = sum(found[entry_id] == record.leaf_hash for entry_id, record in unique.items())
        with self._counting:
            self._duplicates += len(records) - fresh
        return [Receipt(-1, found[record.entry.id]) for record in records]

    def acquire(self, owner: str, seconds: float) -> int | None:
        found = self._run(scripts.ACQUIRE, (self._lease, self._fence), owner, int(seconds * 1000))
        return None if found is None else int(found)

    def renew(self, token: int, seconds: float) -> None:
        if not self._run(scripts.RENEW, (self._lease,), token, int(seconds * 1000)):
            raise AuditLeaseLostError("the lease has run out, or another relay has it")

    def release(self, token: int) -> None:
        self._run(scripts.RELEASE, (self._lease,), token)

    def fetch(self, after: str | None, limit: int, wait: float) -> list[Message]:
        # The server must answer before the client gives up.
        block = int(min(wait, self._timeout * 0.8) * 1000) or None
        with self._translated("nothing was read"):
            found: Any = self._client.xread({self._stream: after or "0-0"}, count=limit, block=block)
        rows = next(iter(found.values()))[0] if isinstance(found, dict) and found else found[0][1] if found else []
        return [Message(position.decode(), fields.get(b"e", b"")) for position, fields in rows]

    def settle(self, token: int, position: str) -> None:
        time, _, number = position.partition("-")
        if not self._run(scripts.SETTLE, (self._lease, self._stream), token, f"{time}-{int(number) + 1}"):
            raise AuditLeaseLostError("the lease has run out, or another relay has it")

    def set_aside(self, message: Message, reason: str) -> None:
        fields: dict[Any, Any] = {"position": message.position, "reason": reason, "data": message.data}
        with self._translated("it may be set aside or not"):
            self._client.xadd(self._rejected, fields, maxlen=_MAX_REJECTED, approximate=False)

    def waiting(self) -> int:
        with self._translated("nothing was read"):
            return int(self._client.xlen(self._stream))

    def stats(self) -> dict[str, int]:
        with self._counting:
            return {"duplicates": self._duplicates}

    def close(self) -> None:
        self._client.close()

    def _appended(self, records: Sequence[Record]) -> list[bytes]:
        """Append, and try again while there is time: what is there already, the script knows."""
        deadline = monotonic() + self._timeout
        pause = _FIRST_PAUSE
        is_unknown = False
        while True:
            try:
                return self._append(records)
            except (AuditUnavailableError, AuditOutcomeUnknownError) as exc:
                is_unknown = is_unknown or isinstance(exc, AuditOutcomeUnknownError)
                if monotonic() + pause >= deadline:
                    if is_unknown and isinstance(exc, AuditUnavailableError):
                        raise AuditOutcomeUnknownError(
                            "the answer of the server was lost, and then the server"
                        ) from exc
                    raise
            sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _append(self, records: Sequence[Record]) -> list[bytes]:
        keys = [self._stream, self._known, *(f"{self._ids}{record.entry.id}" for record in records)]
        values: list[Any] = [self._max_entries, self._remember]
        for record in records:
            values += (record.leaf_hash, to_frame(record))
        wait = int(self._timeout * 800)
        with self._translated("the entries may be kept or not"), self._client.pipeline(transaction=False) as pipe:
            send: Any = pipe.execute_command
            send("EVAL", scripts.APPEND, len(keys), *keys, *values)
            send("WAITAOF", 1, self._replicas, wait)
            hashes, synced = pipe.execute(raise_on_error=False)
            if isinstance(hashes, Exception):
                raise hashes
            if isinstance(synced, Exception):
                raise AuditOutcomeUnknownError("the server can't tell whether the entries are on its disk") from synced
        if int(synced[0]) < 1 or int(synced[1]) < self._replicas:
            raise AuditOutcomeUnknownError(
                f"the entries are on the disks of {int(synced[0])} primary and {int(synced[1])} replicas, not yet of 1 "
                f"and {self._replicas}"
            )
        return list(hashes)

    def _run(self, script: str, keys: Sequence[str], *values: str | int) -> Any:
        with self._translated("it was done or not"):
            return self._client.eval(script, len(keys), *keys, *[str(value) for value in values])

    @contextmanager
    def _translated(self, consequence: str) -> Generator[None]:
        try:
            yield
        except _UNREACHED as exc:
            raise AuditUnavailableError(f"the server refused ({type(exc).__name__}); nothing was done") from exc
        except exceptions.OutOfMemoryError as exc:
            raise AuditFullError("the server has reached its maxmemory; nothing was kept") from exc
        except exceptions.ResponseError as exc:
            if str(exc).startswith("FULL"):
                raise AuditFullError("the stream is full: no relay empties it, or not quickly enough") from exc
            if str(exc).startswith("MISCONF"):
                raise AuditFullError("the server can't write to its disk; nothing was kept") from exc
            raise AuditUnavailableError(f"the server refused ({str(exc).partition(' ')[0][:32]})") from exc
        except (exceptions.RedisError, OSError) as exc:
            if _never_sent(exc):
                raise AuditUnavailableError("the server can't be reached; nothing was done") from exc
            raise AuditOutcomeUnknownError(f"the answer of the server was lost; {consequence}") from exc


def _never_sent(exc: BaseException) -> bool:
    """Return whether it was the connecting that failed; redis-py says so in the message alone."""
    return isinstance(exc, (exceptions.ConnectionError, exceptions.TimeoutError)) and "connecting to" in str(exc)
