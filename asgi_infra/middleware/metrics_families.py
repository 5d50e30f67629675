"""Plain numbers as the metric families of prometheus-client, which is imported when the first one is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from asgi_infra.middleware.metrics_spec import HELP

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.metrics_core import Metric
    from prometheus_client.samples import Exemplar

    from asgi_infra.middleware.metrics_spec import Spec
    from asgi_infra.middleware.series import Histogram, RawExemplar

Labels: TypeAlias = tuple[str, ...]

_MAX_EXEMPLAR = 128  # characters of all names and values together; OpenMetrics 1.0, section "Exemplars"


def clean(value: object) -> str:
    """Return a value as a string that UTF-8 can encode, whatever it is."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    try:
        text = str(value)
    except Exception:  # noqa: BLE001 - a value that can't say what it is
        return type(value).__name__
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def counter(name: str, text: str, names: Labels, rows: Iterable[tuple[Labels, float, float | None]]) -> Metric:
    """Return a family of counters; a row has labels, value, and the Unix time when it was made, where that is known."""
    from prometheus_client.metrics_core import Metric

    family = Metric(name.removesuffix("_total"), text, "counter")
    with_created = _shows_created()
    for values, value, created in rows:
        labels = dict(zip(names, values, strict=True))
        family.add_sample(name, labels, value)
        if with_created and created is not None:
            family.add_sample(f"{family.name}_created", labels, created)
    return family


def gauge(spec: Spec, metric: str, names: Labels, rows: Iterable[tuple[Labels, int]]) -> Metric:
    """Return a family of gauges; a row has labels and value."""
    from prometheus_client.metrics_core import Metric

    family = Metric(spec.name(metric), HELP[metric], "gauge")
    for values, value in rows:
        family.add_sample(family.name, dict(zip(names, values, strict=True)), value)
    return family


def histogram_family(
    spec: Spec, metric: str, rows: Iterable[tuple[Labels, Histogram, float, dict[int, RawExemplar]]]
) -> Metric:
    """Return a family of histograms; a row has labels, numbers, the Unix time when it was made, and exemplars."""
    from prometheus_client.metrics_core import Metric
    from prometheus_client.utils import floatToGoString

    name = spec.name(metric)
    family = Metric(name, HELP[metric], "histogram", unit=name.rpartition("_")[2])
    with_created = _shows_created()
    for values, numbers, created, exemplars in rows:
        labels = dict(zip(spec.labels, values, strict=True))
        edges = [*map(floatToGoString, numbers.bounds), "+Inf"]
        for i, (edge, count) in enumerate(zip(edges, [*numbers.at_most, numbers.count], strict=True)):
            family.add_sample(f"{name}_bucket", {**labels, "le": edge}, count, exemplar=_exemplar(exemplars.get(i)))
        family.add_sample(f"{name}_count", labels, numbers.count)
        family.add_sample(f"{name}_sum", labels, numbers.total)
        if with_created:
            family.add_sample(f"{name}_created", labels, created)
    return family


def _exemplar(raw: RawExemplar | None) -> Exemplar | None:
    from prometheus_client.samples import Exemplar

    if raw is None:
        return None
    span_context, request_id, value, timestamp = raw
    labels = {}
    if span_context is not None:
        labels = {"trace_id": f"{span_context.trace_id:032x}", "span_id": f"{span_context.span_id:016x}"}
    if request_id is not None:
        labels["request_id"] = clean(request_id)
        if sum(len(name) + len(text) for name, text in labels.items()) > _MAX_EXEMPLAR:
            del labels["request_id"]
    return Exemplar(labels, value, timestamp) if labels else None


def _shows_created() -> bool:
    from prometheus_client import metrics

    return bool(getattr(metrics, "_use_created", True))  # what PROMETHEUS_DISABLE_CREATED_SERIES decides
