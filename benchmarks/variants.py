"""Everything that is put around an application to be measured: nothing, our features, the floor, the peers."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from prometheus_client import CollectorRegistry
from starlette.middleware import Middleware

from asgi_infra.middleware.access_log import AccessLog
from asgi_infra.middleware.metrics import Metrics
from asgi_infra.middleware.stack import InfraMiddleware
from asgi_infra.middleware.tracing import Tracing as TracingFeature
from benchmarks.floor import Floor
from benchmarks.peers import NEED_STARLETTE, PEERS, installed

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.tracing import Tracing

BARE, FLOOR, ALL, PEERS_TOGETHER = "bare", "floor", "all features", "peers together"
FEATURES = ("request_id", "tracing", "metrics", "access_log")


@dataclass
class Setting:
    """What one variant gets for itself: the same configuration as all others, and nothing shared with them."""

    tracing: Tracing
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    # Closed by `close`; buffered, as the standard streams of a process are.
    sink: BinaryIO = field(default_factory=lambda: open(os.devnull, "wb"))  # noqa: SIM115

    def settle(self) -> None:
        self.tracing.flush()

    def close(self) -> None:
        self.tracing.close()
        self.sink.close()


@dataclass(frozen=True)
class Variant:
    name: str
    group: str
    layers: Callable[[Setting], list[Middleware]]
    """The middlewares, the outermost first."""

    def around(self, app: Any, setting: Setting) -> Any:
        for layer in reversed(self.layers(setting)):
            app = layer.cls(app, *layer.args, **layer.kwargs)
        return app


def ours(setting: Setting, features: tuple[str, ...] = FEATURES, **options: Any) -> list[Middleware]:
    configured: dict[str, Any] = {
        "request_id": True,
        "tracing": TracingFeature(tracer_provider=setting.tracing.provider),
        "metrics": Metrics(registry=setting.registry),
        "access_log": AccessLog(stream=setting.sink),
    }
    chosen: dict[str, Any] = {name: configured[name] if name in features else False for name in FEATURES}
    return [Middleware(InfraMiddleware, **chosen, **options)]


def floor(setting: Setting) -> list[Middleware]:
    return [Middleware(Floor, tracer_provider=setting.tracing.provider, registry=setting.registry, sink=setting.sink)]


def _one(feature: str) -> Variant:
    return Variant(feature.replace("_", " "), "ours", lambda setting: ours(setting, (feature,)))


# Those that are compared stand side by side, because neighbours are measured closest in time.
MAIN = (
    Variant(BARE, "bare", lambda setting: []),
    Variant(FLOOR, "floor", floor),
    Variant(ALL, "ours", ours),
)
SINGLE = tuple(_one(feature) for feature in FEATURES)
PEER = tuple(
    Variant(name, "peer", layers)
    for name, (modules, layers) in PEERS.items()
    if all(installed(module) for module in modules)
)
ANYWHERE = (*MAIN, *SINGLE, *(variant for variant in PEER if variant.name not in NEED_STARLETTE))
"""What works around any ASGI application."""
ON_STARLETTE = (*MAIN, *PEER)


def named(*names: str) -> tuple[Variant, ...]:
    """Return the variants of these names that are there, in this order."""
    known = {variant.name: variant for variant in (*MAIN, *SINGLE, *PEER)}
    return tuple(known[name] for name in names if name in known)
