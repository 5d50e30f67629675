"""Django settings of one's own: they are a global of the process, and other tests have theirs."""

from __future__ import annotations

from contextlib import contextmanager


@contextmanager
def unconfigured():
    """Within the block no settings are configured; afterwards those from before hold again."""
    from django.conf import settings
    from django.utils.functional import empty

    before = settings._wrapped
    settings._wrapped = empty
    try:
        yield settings
    finally:
        settings._wrapped = before
