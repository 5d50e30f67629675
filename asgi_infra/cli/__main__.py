"""`python -m asgi_infra.cli` is the same as the console script `asgi-infra`."""

from __future__ import annotations

import sys

from asgi_infra.cli import main

if __name__ == "__main__":
    sys.exit(main())
