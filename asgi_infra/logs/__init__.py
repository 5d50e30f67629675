"""Logs of the process: one call sets them up, `logging` of the standard library writes them.

```python
from asgi_infra.logs import configure_logging

configure_logging("INFO", "json", levels={"sqlalchemy": "WARNING"}, service="shop")
```
"""

from __future__ import annotations

from asgi_infra.logs.setup import Logging, configure_logging, flush_logging, get_logging
from asgi_infra.logs.structured import StructlogRedactor

__all__ = ["Logging", "StructlogRedactor", "configure_logging", "flush_logging", "get_logging"]
