"""What an audit logger raises: each class says what became of the entries.

```text
AuditError                    asgi_infra.errors: catch this one for all of them
├── AuditUnavailableError     the store can't be reached or refused; nothing of the batch was kept (retryable)
├── AuditOutcomeUnknownError  the store may have kept the batch, or not (retryable: an id is only ever one entry)
├── AuditFullError            no room: in the queue, the spill file or on the disk (retryable)
├── AuditIntegrityError       what is stored is not what was stored; nothing is written until somebody has looked
├── AuditClosedError          the logger has been closed
└── AuditNotFoundError        no such entry, or it was purged; also a LookupError
```

`__cause__` holds the library's exception. What checking and making proofs raises stands in
`asgi_infra.audit.proofs.errors`. No message holds what an entry's private fields hold.
"""

from __future__ import annotations

from typing import ClassVar

from asgi_infra.errors import AuditError


class AuditStoreError(AuditError):
    """Base of what became of a call to the store.

    Attributes:
        retryable: Whether the same call may well succeed later. Logging the same entries again is always safe: an `id`
            is only ever one entry.
    """

    retryable: ClassVar[bool] = False


class AuditUnavailableError(AuditStoreError):
    """The store can't be reached, or it refused; nothing of the batch was kept."""

    retryable = True


class AuditOutcomeUnknownError(AuditStoreError):
    """The store failed so late that it may have kept the batch, or not. Log the same entries again to know."""

    retryable = True


class AuditFullError(AuditStoreError):
    """There is no room: on the disk, in the spill file or in the queue."""

    retryable = True


class AuditIntegrityError(AuditStoreError):
    """What is stored is not what was stored: changed, cut, reordered, or signed by another key."""


class AuditClosedError(AuditStoreError):
    """The logger has been closed, or is being closed; what it had accepted before is stored."""


class AuditNotFoundError(AuditStoreError, LookupError):
    """The log has no such entry, or what was asked of it has been purged."""
