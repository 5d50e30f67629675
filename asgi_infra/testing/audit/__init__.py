"""What every audit logger has to pass.

Subclass `AuditLoggerContract` in a test module, and tell it how to make a logger:

```python
class TestMyAuditLogger(AuditLoggerContract):
    persistent = True

    def make_logger(self, place: Path, **options: Any) -> AuditLogger:
        return MyAuditLogger(place, **options)
```

It needs pytest, Hypothesis and anyio (with trio, or an `anyio_backend` fixture of your own that leaves it out), and for
checkpoints `cryptography`.
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    *(f"{__name__}.{each}" for each in ("concurrency", "lifetime", "model", "proving", "reading", "writing"))
)

from asgi_infra.testing.audit.concurrency import ConcurrencyContract  # noqa: E402
from asgi_infra.testing.audit.lifetime import LifetimeContract  # noqa: E402
from asgi_infra.testing.audit.model import ModelContract  # noqa: E402
from asgi_infra.testing.audit.proving import ProvingContract  # noqa: E402
from asgi_infra.testing.audit.reading import ReadingContract  # noqa: E402
from asgi_infra.testing.audit.writing import WritingContract  # noqa: E402


class AuditLoggerContract(
    WritingContract, ReadingContract, ProvingContract, LifetimeContract, ConcurrencyContract, ModelContract
):
    """The whole contract of an audit logger, as examples, properties and a comparison with a list."""


__all__ = ["AuditLoggerContract"]
