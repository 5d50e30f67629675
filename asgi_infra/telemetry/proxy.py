"""Providers that OpenTelemetry is given once, and that stand for whatever is behind them at the time.

OpenTelemetry's global providers can be set a single time in a process, and libraries keep the tracers and instruments
that they were handed. So these are set once, and what is behind them can be replaced and taken away.
"""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from opentelemetry import metrics, trace
from opentelemetry.metrics import _Gauge as Gauge

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.trace import Span


class TracerProviderProxy(trace.TracerProvider):
    """A tracer provider; what it does not have itself is that of the provider behind it."""

    def __init__(self) -> None:
        self._target: trace.TracerProvider = trace.NoOpTracerProvider()
        self._tracers: WeakSet[_TracerProxy] = WeakSet()
        self._lock = RLock()

    def point_at(self, target: trace.TracerProvider) -> None:
        """Put another provider behind this one, for every tracer that was ever handed out."""
        with self._lock:
            self._target = target
            for tracer in self._tracers:
                tracer.point_at(target)

    def after_fork(self) -> None:
        """Forget a lock that another thread of the parent process may have held."""
        self._lock = RLock()

    def get_tracer(self, *args: Any, **kwargs: Any) -> trace.Tracer:
        """Return a tracer of whatever provider is behind this one, now and later."""
        with self._lock:
            tracer = _TracerProxy(args, kwargs)
            tracer.point_at(self._target)
            self._tracers.add(tracer)
            return tracer

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._target, name)


class _TracerProxy(trace.Tracer):
    _target: trace.Tracer

    def __init__(self, args: Any, kwargs: Any) -> None:
        self._arguments = (args, kwargs)

    def point_at(self, provider: trace.TracerProvider) -> None:
        args, kwargs = self._arguments
        self._target = provider.get_tracer(*args, **kwargs)

    def start_span(self, *args: Any, **kwargs: Any) -> Span:
        return self._target.start_span(*args, **kwargs)

    # Any, because the API returns a private class: a context manager that decorates both kinds of functions.
    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Any:
        return self._target.start_as_current_span(*args, **kwargs)


class MeterProviderProxy(metrics.MeterProvider):
    """A meter provider; its meters and instruments measure into the provider behind it."""

    def __init__(self) -> None:
        self._target: metrics.MeterProvider = metrics.NoOpMeterProvider()
        self._meters: dict[Any, _MeterProxy] = {}
        self._lock = RLock()

    def point_at(self, target: metrics.MeterProvider) -> None:
        """Put another provider behind this one, and make all instruments anew there."""
        with self._lock:
            self._target = target
            for meter in self._meters.values():
                meter.point_at(target)

    def after_fork(self) -> None:
        """Forget the locks that other threads of the parent process may have held."""
        self._lock = RLock()
        for meter in self._meters.values():
            meter.lock = RLock()

    def get_meter(
        self, name: str, version: str | None = None, schema_url: str | None = None, attributes: Any = None
    ) -> metrics.Meter:
        """Return a meter of whatever provider is behind this one, now and later."""
        with self._lock:
            key = (name, version, schema_url, repr(attributes))
            meter = self._meters.get(key)
            if meter is None:
                meter = self._meters[key] = _MeterProxy(name, version, schema_url, attributes)
                meter.point_at(self._target)
            return meter

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._target, name)


class _InstrumentProxy:
    _target: Any

    def __init__(self, create: Callable[[metrics.Meter], Any]) -> None:
        self._create = create

    def point_at(self, meter: metrics.Meter) -> None:
        self._target = self._create(meter)


class _Counter(_InstrumentProxy, metrics.Counter):
    def add(self, *args: Any, **kwargs: Any) -> None:
        self._target.add(*args, **kwargs)


class _UpDownCounter(_InstrumentProxy, metrics.UpDownCounter):
    def add(self, *args: Any, **kwargs: Any) -> None:
        self._target.add(*args, **kwargs)


class _Histogram(_InstrumentProxy, metrics.Histogram):
    def record(self, *args: Any, **kwargs: Any) -> None:
        self._target.record(*args, **kwargs)


class _Gauge(_InstrumentProxy, Gauge):
    def set(self, *args: Any, **kwargs: Any) -> None:
        self._target.set(*args, **kwargs)


class _ObservableCounter(_InstrumentProxy, metrics.ObservableCounter):
    """Measured by its callbacks, which the provider behind it calls."""


class _ObservableUpDownCounter(_InstrumentProxy, metrics.ObservableUpDownCounter):
    """Measured by its callbacks, which the provider behind it calls."""


class _ObservableGauge(_InstrumentProxy, metrics.ObservableGauge):
    """Measured by its callbacks, which the provider behind it calls."""


_I = TypeVar("_I", bound=_InstrumentProxy)


class _MeterProxy(metrics.Meter):
    _target: metrics.Meter

    def __init__(self, name: str, version: str | None, schema_url: str | None, attributes: Any) -> None:
        super().__init__(name, version, schema_url)
        self._attributes = attributes
        self._instruments: dict[Any, Any] = {}
        self.lock = RLock()

    def point_at(self, provider: metrics.MeterProvider) -> None:
        with self.lock:
            self._target = provider.get_meter(self.name, self.version, self.schema_url, self._attributes)
            for instrument in self._instruments.values():
                instrument.point_at(self._target)

    def _instrument(self, kind: type[_I], method: str, name: str, *args: Any, **kwargs: Any) -> _I:
        key = (kind, name.lower(), *(args[-2:]))  # name, unit and description, as in the SDK
        with self.lock:
            instrument: _I | None = self._instruments.get(key)
            if instrument is None:
                instrument = kind(lambda meter: getattr(meter, method)(name, *args, **kwargs))
                instrument.point_at(self._target)
                self._instruments[key] = instrument
            return instrument

    def create_counter(self, name: str, unit: str = "", description: str = "") -> metrics.Counter:
        return self._instrument(_Counter, "create_counter", name, unit, description)

    def create_up_down_counter(self, name: str, unit: str = "", description: str = "") -> metrics.UpDownCounter:
        return self._instrument(_UpDownCounter, "create_up_down_counter", name, unit, description)

    def create_histogram(self, name: str, unit: str = "", description: str = "", **advisory: Any) -> metrics.Histogram:
        return self._instrument(_Histogram, "create_histogram", name, unit, description, **advisory)

    def create_gauge(self, name: str, unit: str = "", description: str = "") -> Gauge:
        return self._instrument(_Gauge, "create_gauge", name, unit, description)

    def create_observable_counter(
        self, name: str, callbacks: Any = None, unit: str = "", description: str = ""
    ) -> metrics.ObservableCounter:
        return self._instrument(_ObservableCounter, "create_observable_counter", name, callbacks, unit, description)

    def create_observable_up_down_counter(
        self, name: str, callbacks: Any = None, unit: str = "", description: str = ""
    ) -> metrics.ObservableUpDownCounter:
        return self._instrument(
            _ObservableUpDownCounter, "create_observable_up_down_counter", name, callbacks, unit, description
        )

    def create_observable_gauge(
        self, name: str, callbacks: Any = None, unit: str = "", description: str = ""
    ) -> metrics.ObservableGauge:
        return self._instrument(_ObservableGauge, "create_observable_gauge", name, callbacks, unit, description)
