"""What a NATS stream must be like to hold audit entries, and what is asked of the server."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import urlopen

from asgi_infra.audit.errors import AuditUnavailableError
from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SCHEMES: Final = ("nats", "tls", "nats+tls")
NANOSECONDS: Final = 1_000_000_000
MAX_REJECTED: Final = 1_000


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """The names and bounds of one stream."""

    name: str
    replicas: int
    max_bytes: int
    deduplicate: float

    @property
    def subject(self) -> str:
        """Where producers publish."""
        return f"{self.name}.entries"

    @property
    def rejected(self) -> str:
        """The stream of what was no entry."""
        return f"{self.name}_rejected"

    @property
    def bucket(self) -> str:
        """The key-value bucket of the lease."""
        return f"{self.name}_relay"

    def configuration(self) -> dict[str, Any]:
        """Return how the stream is made."""
        return {
            "name": self.name,
            "subjects": [self.subject],
            "storage": "file",
            "retention": "limits",
            "discard": "new",
            "max_bytes": self.max_bytes,
            "num_replicas": self.replicas,
            "duplicate_window": int(self.deduplicate * NANOSECONDS),
            "allow_atomic": True,
        }

    def rejected_configuration(self) -> dict[str, Any]:
        """Return how the stream of what was no entry is made: the oldest go."""
        return {
            "name": self.rejected,
            "subjects": [f"{self.name}.rejected"],
            "storage": "file",
            "discard": "old",
            "max_msgs": MAX_REJECTED,
            "num_replicas": self.replicas,
        }

    def bucket_configuration(self, seconds: float) -> dict[str, Any]:
        """Return how the bucket of the lease is made: what is in it goes by itself when the lease has run out."""
        age = int(seconds * NANOSECONDS)
        return {
            "name": f"KV_{self.bucket}",
            "subjects": [f"$KV.{self.bucket}.>"],
            "storage": "file",
            "discard": "new",
            "max_msgs_per_subject": 1,
            "max_age": age,
            "duplicate_window": min(age, 120 * NANOSECONDS),
            "num_replicas": self.replicas,
            "allow_rollup_hdrs": True,
            "deny_delete": True,
            "allow_direct": True,
        }

    def refuse_unsafe(self, found: Mapping[str, Any]) -> None:
        """Refuse a stream that was made otherwise, so that it could lose entries.

        Raises:
            ConfigurationError: It names everything that is wrong.
        """
        unlimited = found.get("max_msgs", -1) < 0 and found.get("max_bytes", -1) < 0
        faults = {
            "storage must be file": found.get("storage") != "file",
            "retention must be limits": found.get("retention", "limits") != "limits",
            "discard must be new": found.get("discard") != "new" and not unlimited,
            "max_age must be 0": found.get("max_age", 0) != 0,
            "max_msgs_per_subject must be unlimited": found.get("max_msgs_per_subject", -1) > 0,
            "persist_mode must not be async": found.get("persist_mode") == "async",
            "no_ack must be off": bool(found.get("no_ack")),
            "deny_purge must be off": bool(found.get("deny_purge")),
            "it must not be a mirror, have sources or be sealed": any(
                found.get(name) for name in ("mirror", "sources", "sealed")
            ),
            f"num_replicas must be at least {self.replicas}": found.get("num_replicas", 1) < self.replicas,
            f"subjects must be {self.subject} alone": found.get("subjects") != [self.subject],
        }
        if wrong := [text for text, is_wrong in faults.items() if is_wrong]:
            raise ConfigurationError(f"stream {self.name} could lose entries: {'; '.join(wrong)}")


def require_name(name: object) -> str:
    """Return the name of a stream.

    Raises:
        ConfigurationError: It is none.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError("stream must be 1 to 64 letters, digits, - and _")
    return name


def parse(url: str) -> tuple[list[str], str | None]:
    """Return the servers that a URL names, each as a URL, and the stream.

    Raises:
        ConfigurationError: The URL is wrong.
    """
    problem = ConfigurationError(
        "url must be nats://host:port/stream (nats+tls:// for TLS; several hosts with commas); options are parameters"
    )
    try:
        parts = urlsplit(url)
        user, at, hosts = parts.netloc.rpartition("@")
        scheme = "nats" if parts.scheme == "nats" else "tls"
        servers = [urlunsplit((scheme, f"{user}{at}{host}", "", "", "")) for host in hosts.split(",")]
        right = all(urlsplit(server).hostname and urlsplit(server).port != 0 for server in servers)
    except ValueError:
        raise problem from None  # the library's message may hold a password
    if not right or parts.scheme not in _SCHEMES or parts.query or parts.fragment:
        raise problem
    return servers, unquote(parts.path).strip("/") or None


def refuse_lazy_server(monitor: str, timeout: float) -> None:
    """Refuse a server that acknowledges what it has not brought to the disk.

    Raises:
        ConfigurationError: It does.
        AuditUnavailableError: Its monitoring endpoint can't be asked.
    """
    try:
        with urlopen(f"{monitor.rstrip('/')}/varz", timeout=timeout) as answer:  # noqa: S310 - the scheme is checked
            found = json.load(answer)
        always = found["jetstream"]["config"].get("sync_always", False)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        if isinstance(exc, HTTPError):
            exc.close()
        raise AuditUnavailableError("the monitoring endpoint of the NATS server does not tell of JetStream") from exc
    if always is not True:
        raise ConfigurationError(
            "the NATS server must have sync_interval: always in its jetstream block; otherwise entries that it has "
            "acknowledged are lost when machines fail"
        )
