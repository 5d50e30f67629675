"""What a token store raises: each class says what became of the operation, and whether to try again.

```text
TokenStoreError                asgi_infra.errors: catch this one for all of them
├── DuplicateTokenError        a token with this jti is stored already; nothing was changed
├── StoreFullError             a bound is reached, and what is stored may not make room
├── StoreUnavailableError      the server can't be reached or refused; nothing was changed
├── OutcomeUnknownError        the answer was lost after sending: done or not, nobody knows
├── CorruptRecordError         what is stored was not written by this package, or with another key
└── StoreClosedError           the store has been closed, or belongs to another process
```

`__cause__` holds the driver's exception. Messages hold no identifier, no token and no password.
"""

from __future__ import annotations

from typing import ClassVar

from asgi_infra.errors import TokenStoreError


class StoreError(TokenStoreError):
    """Base of the more telling classes.

    Attributes:
        retryable: Whether doing the same again is safe and may well succeed.
    """

    _retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, retryable: bool | None = None) -> None:
        super().__init__(message)
        self.retryable = self._retryable if retryable is None else retryable


class DuplicateTokenError(StoreError):
    """A token with this `jti` is stored already; nothing was changed."""


class StoreFullError(StoreError):
    """A bound is reached, and nothing that is stored may be dropped: deny entries that still matter, for example."""


class StoreUnavailableError(StoreError):
    """The store could not be reached in time, or refused; nothing was changed. `retryable`."""

    _retryable = True


class OutcomeUnknownError(StoreError):
    """The answer was lost after the operation had been sent: it was done, or it was not.

    `retryable` for everything but `save`: the other operations do nothing a second time. After a `save` look with
    `get` whether the token is there.
    """

    _retryable = True


class CorruptRecordError(StoreError):
    """What is stored under this identifier was not written by this package, is damaged, or needs another key."""


class StoreClosedError(StoreError):
    """The store has been closed, or was opened before a fork."""
