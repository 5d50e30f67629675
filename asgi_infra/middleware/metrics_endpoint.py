"""The page that Prometheus scrapes, as an ASGI application."""

from __future__ import annotations

import gzip
import os
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import anyio
from anyio.lowlevel import RunVar

from asgi_infra import faults
from asgi_infra.errors import ConfigurationError
from asgi_infra.middleware.metrics_spec import MULTIPROCESS_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector

    from asgi_infra.types import ASGIApp, RawHeaders, Receive, Scope, Send

_MAX_FILTERS = 1000
_MAX_HEADER = 4096
_OPENMETRICS = "application/openmetrics-text"
_TEXT = "text/plain"
# The versions that prometheus-client writes; "" is its default for the type.
_VERSIONS = {_OPENMETRICS: {"", "1.0.0"}, _TEXT: {"", "0.0.4", "1.0.0"}}

# One thread at a time for collecting: apart from the application's own threads, which may all be busy just when
# somebody looks, and without the means to start many.
_limiters: RunVar[anyio.CapacityLimiter] = RunVar("asgi_infra_metrics_limiter")


def metrics_app(registry: CollectorRegistry | None = None, *, compress: bool = True) -> ASGIApp:
    """Return an ASGI application that answers with the metrics of a registry, at whatever path it is mounted.

    It answers GET and HEAD, as OpenMetrics 1.0 where the client asks for that and as Prometheus text elsewhere, with
    gzip where the client accepts it; `?name[]=...` leaves only the families or samples of these names. Collecting runs
    in a thread. Where `PROMETHEUS_MULTIPROC_DIR` is set and no registry given, it shows the sum of all workers.

    Args:
        registry: What to show; by default `prometheus_client.REGISTRY`.
        compress: Whether to use gzip at all.

    Raises:
        ConfigurationError: `registry` is no registry, or the directory of `PROMETHEUS_MULTIPROC_DIR` is missing.

    Example:
        >>> app.routes.append(Route("/metrics", metrics_app()))  # Starlette, FastAPI
        >>> app.mount("/metrics", metrics_app())  # answers at /metrics/, and redirects to it
    """
    return _MetricsApp(_source(registry), compress)


class _MetricsApp:
    """An object and not a function, so that routers take it for an application and not for an endpoint."""

    def __init__(self, gather: Callable[[], Collector], compress: bool) -> None:
        self._gather = gather
        self._compress = compress

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            status, headers, body = await _answer(scope, self._gather, self._compress)
            headers.append((b"content-length", str(len(body)).encode()))
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
        elif kind == "lifespan":
            await _lifespan(receive, send)
        elif kind == "websocket":
            await send({"type": "websocket.close", "code": 1000})


def _source(registry: CollectorRegistry | None) -> Callable[[], Collector]:
    from prometheus_client import REGISTRY

    if registry is not None and not hasattr(registry, "collect"):
        raise ConfigurationError(
            f"registry must be a prometheus_client.CollectorRegistry, not of type {type(registry).__name__}"
        )
    if registry is None and os.environ.get(MULTIPROCESS_VARIABLE):
        from asgi_infra.middleware.metrics_multiprocess import all_workers, check_environment

        directory = check_environment()
        return lambda: all_workers(directory)
    return lambda: REGISTRY if registry is None else registry


async def _answer(scope: Scope, gather: Callable[[], Collector], compress: bool) -> tuple[int, RawHeaders, bytes]:
    if scope["method"] not in ("GET", "HEAD"):
        return 405, [(b"allow", b"GET, HEAD"), (b"content-type", b"text/plain")], b"Method Not Allowed"
    try:
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"), max_num_fields=_MAX_FILTERS)
    except ValueError:
        return 400, [(b"content-type", b"text/plain")], b"Bad Request"
    accept = _header(scope, b"accept")
    zipped = compress and _accepts_gzip(_header(scope, b"accept-encoding"))
    try:
        limiter = _limiters.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(1)
        _limiters.set(limiter)
    try:
        content_type, body = await anyio.to_thread.run_sync(
            _render, gather, accept, frozenset(query.get("name[]", ())), zipped, limiter=limiter
        )
    except Exception as exc:  # noqa: BLE001 - a collector of anybody's
        faults.record("metrics_app", exc)
        return 500, [(b"content-type", b"text/plain")], b"Collecting the metrics failed; the log says why"
    headers = [(b"content-type", content_type.encode("latin-1")), (b"vary", b"accept, accept-encoding")]
    if zipped:
        headers.append((b"content-encoding", b"gzip"))
    return 200, headers, body


def _render(gather: Callable[[], Collector], accept: str, names: frozenset[str], zipped: bool) -> tuple[str, bytes]:
    from prometheus_client.exposition import choose_encoder

    encode, content_type = choose_encoder(_wanted(accept))
    collector = gather()
    body = encode(_Named(collector, names) if names else collector)
    return content_type, gzip.compress(body, 6) if zipped else body


class _Named:
    """A collector that shows only families and samples of certain names."""

    def __init__(self, collector: Collector, names: frozenset[str]) -> None:
        self._collector = collector
        self._names = names

    def collect(self) -> Iterable[Metric]:
        from prometheus_client.metrics_core import Metric

        for family in self._collector.collect():
            samples = family.samples
            if family.name not in self._names:
                samples = [sample for sample in samples if sample.name in self._names]
            if samples:
                named = Metric(family.name, family.documentation, family.type, family.unit)
                named.samples = samples
                yield named


def _wanted(accept: str) -> str:
    """Return the one media type of an Accept header that suits best, of those that there are."""
    best, best_quality = "", 0.0
    for name, parameters in _preferences(accept):
        quality = _quality(parameters)
        if parameters.get("version", "") in _VERSIONS.get(name, ()) and quality > best_quality:
            kept = [f"{key}={parameters[key]}" for key in ("version", "escaping") if key in parameters]
            best, best_quality = "; ".join([name, *kept]), quality
    return best


def _accepts_gzip(accept_encoding: str) -> bool:
    qualities = {name: _quality(parameters) for name, parameters in _preferences(accept_encoding)}
    return qualities.get("gzip", qualities.get("*", 0.0)) > 0


def _preferences(header: str) -> Iterator[tuple[str, dict[str, str]]]:
    for part in header.split(","):
        name, *parameters = (item.strip() for item in part.split(";"))
        pairs = (parameter.partition("=") for parameter in parameters)
        yield name.lower(), {key.strip().lower(): value.strip() for key, _, value in pairs}


def _quality(parameters: dict[str, str]) -> float:
    try:
        return float(parameters.get("q", "1"))
    except ValueError:
        return 0.0


def _header(scope: Scope, name: bytes) -> str:
    values = [value for key, value in scope.get("headers", ()) if key.lower() == name]
    return b",".join(values)[:_MAX_HEADER].decode("latin-1")


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
