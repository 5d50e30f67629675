"""How checks of tokens ended, for Prometheus."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from asgi_infra.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prometheus_client import CollectorRegistry, Counter

RESULTS: Final = ("accepted", "missing", "anonymous", "malformed", "invalid", "failed_open", "failed_closed")
"""What a check may end with: `missing` was refused and `anonymous` let in, both without a token."""

NAME: Final = "asgi_infra_token_checks"

_lock = Lock()
_counters: WeakKeyDictionary[CollectorRegistry, Counter] = WeakKeyDictionary()


def checks_in(registry: CollectorRegistry | None) -> Mapping[str, Counter]:
    """Return the counters `asgi_infra_token_checks_total` by `result`, in a registry that several may share.

    Args:
        registry: Where they show; by default `prometheus_client.REGISTRY`.

    Raises:
        ConfigurationError: It is no registry, or has this name from elsewhere.
    """
    from prometheus_client import REGISTRY, CollectorRegistry, Counter

    if registry is None:
        registry = REGISTRY
    if not isinstance(registry, CollectorRegistry):
        raise ConfigurationError(
            f"registry must be a prometheus_client.CollectorRegistry, not of type {type(registry).__name__}"
        )
    with _lock:
        counter = _counters.get(registry)
        if counter is None:
            try:
                counter = Counter(NAME, "Checks of the tokens that requests present.", ["result"], registry=registry)
            except ValueError as exc:
                raise ConfigurationError(
                    f"registry has another metric named {NAME}; give this one a registry= of its own"
                ) from exc
            _counters[registry] = counter
    return {result: counter.labels(result) for result in RESULTS}
