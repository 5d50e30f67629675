"""What a server imports for `asgi-infra run`: the target, found in the environment, wrapped in the whole stack.

Every worker and every reload imports this module anew, and so gets the wrapping too. It serves servers that `run` does
not know as well:

```text
ASGI_INFRA_TARGET=shop:app daphne -v 0 asgi_infra.cli.runner:app
```

| variable | meaning |
|---|---|
| `ASGI_INFRA_TARGET` | `module:app` |
| `ASGI_INFRA_FACTORY` | `1` if the target is a function that returns the application |
| `ASGI_INFRA_SERVICE` | the service's name |
| `ASGI_INFRA_EXCLUDE` | path globs, one a line |
| `ASGI_INFRA_METRICS_PATH` | where to serve the metrics; empty for nowhere |

Where a standard variable such as `OTEL_EXPORTER_OTLP_ENDPOINT` says that spans are to go somewhere, telemetry is
started as `init_telemetry` does it; a tracer provider that the target has set is left alone.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from asgi_infra.cli.metrics_path import MetricsAt
from asgi_infra.cli.targets import load_target
from asgi_infra.cli.terminal import first_line
from asgi_infra.errors import ConfigurationError, InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asgi_infra.types import ASGIApp, Receive, Scope, Send

_Duck: TypeAlias = Any
"""An object of a framework or an application, known by its attributes alone."""

FACTORY = "asgi_infra.cli.runner:create_app"
"""The import string that servers are given."""
EXPORTING = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")
"""The variables any of which says that spans are wanted somewhere, unless it says `none`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapping:
    """What to serve and how, in the form in which it travels to the server's processes."""

    target: str
    factory: bool = False
    service: str | None = None
    exclude: tuple[str, ...] = ()
    metrics_path: str | None = None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Wrapping:
        """Read it from environment variables.

        Raises:
            ConfigurationError: If `ASGI_INFRA_TARGET` is not set.
        """
        target = environ.get("ASGI_INFRA_TARGET")
        if not target:
            raise ConfigurationError("ASGI_INFRA_TARGET must name the application, for example shop:app")
        return cls(
            target=target,
            factory=environ.get("ASGI_INFRA_FACTORY") == "1",
            service=environ.get("ASGI_INFRA_SERVICE") or None,
            exclude=tuple(line for line in environ.get("ASGI_INFRA_EXCLUDE", "").splitlines() if line.strip()),
            metrics_path=environ.get("ASGI_INFRA_METRICS_PATH") or None,
        )

    def to_environ(self) -> dict[str, str]:
        """Return the environment variables that `from_environ` reads."""
        return {
            "ASGI_INFRA_TARGET": self.target,
            "ASGI_INFRA_FACTORY": "1" if self.factory else "",
            "ASGI_INFRA_SERVICE": self.service or "",
            "ASGI_INFRA_EXCLUDE": "\n".join(self.exclude),
            "ASGI_INFRA_METRICS_PATH": self.metrics_path or "",
        }

    def check(self) -> None:
        """Look at the options as `build` will, without the target.

        Raises:
            ConfigurationError: If an option is wrong.
        """
        from asgi_infra.middleware.stack import InfraMiddleware

        InfraMiddleware(
            _nothing,
            service=self.service,
            exclude=self._excluded(),
            request_id=False,
            tracing=False,
            metrics=False,
            access_log=False,
        )

    def build(self) -> ASGIApp:
        """Import the target, start telemetry where the environment asks for it, and wrap the target.

        Raises:
            ConfigurationError: If the target can't be found or loaded, or an option is wrong.
            TelemetryError: If telemetry is asked for and can't be started.
        """
        from asgi_infra.middleware.hooks import publish_routes
        from asgi_infra.middleware.metrics_endpoint import metrics_app
        from asgi_infra.middleware.stack import InfraMiddleware

        app = load_target(self.target, factory=self.factory)
        publish_routes(app)
        if self.metrics_path is not None:
            app = MetricsAt(self.metrics_path, app, metrics_app())
        if exporting(os.environ) is not None:
            from asgi_infra.cli.flushing import FlushAtEnd
            from asgi_infra.telemetry import init_telemetry

            init_telemetry(service=self.service)
            app = FlushAtEnd(app)
        return InfraMiddleware(app, service=self.service, exclude=self._excluded())

    def _excluded(self) -> list[str]:
        if self.metrics_path is None:
            return list(self.exclude)
        return [*self.exclude, re.sub(r"[*?\[\]{},\\]", r"\\\g<0>", self.metrics_path)]


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """Stand for an application where none is asked."""


def exporting(environ: Mapping[str, str]) -> str | None:
    """Return the variable that says that spans are wanted somewhere, or `None`."""
    return next((name for name in EXPORTING if environ.get(name, "none") not in ("none", "")), None)


def create_app() -> ASGIApp:
    """Return the wrapped target; what is wrong with it is told in one line, and ends the process with code 2."""
    try:
        return Wrapping.from_environ(os.environ).build()
    except InfrastructureError as exc:
        print(f"asgi-infra: {first_line(exc)}", file=sys.stderr, flush=True)
        raise SystemExit(2) from exc


def __getattr__(name: str) -> _Duck:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()["app"] = app = create_app()
    return app
