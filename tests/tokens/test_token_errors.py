from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import pytest

import asgi_infra.tokens
from asgi_infra.errors import ConfigurationError, InfrastructureError
from asgi_infra.tokens import (
    CorruptRecordError,
    DuplicateTokenError,
    OutcomeUnknownError,
    StoreClosedError,
    StoreFullError,
    StoreUnavailableError,
    TokenStoreError,
)

if TYPE_CHECKING:
    from asgi_infra.tokens.errors import StoreError

RETRYABLE: dict[type[StoreError], bool] = {
    DuplicateTokenError: False,
    StoreFullError: False,
    StoreUnavailableError: True,
    OutcomeUnknownError: True,
    CorruptRecordError: False,
    StoreClosedError: False,
}
kinds = pytest.mark.parametrize("kind", RETRYABLE, ids=lambda kind: kind.__name__)


@kinds
def test_every_error_of_a_store_is_a_token_store_error(kind: type[StoreError]) -> None:
    assert issubclass(kind, TokenStoreError)
    assert issubclass(kind, InfrastructureError)
    assert not issubclass(kind, (ValueError, OSError, ConfigurationError))


@kinds
def test_the_kinds_of_errors_exclude_each_other(kind: type[StoreError]) -> None:
    assert [other for other in RETRYABLE if issubclass(kind, other)] == [kind]


def test_the_package_exports_every_error_of_a_store() -> None:
    exported = {getattr(asgi_infra.tokens, name) for name in asgi_infra.tokens.__all__ if name.endswith("Error")}
    assert {error for error in exported if issubclass(error, TokenStoreError)} == {*RETRYABLE, TokenStoreError}


@kinds
def test_an_error_says_whether_to_try_again(kind: type[StoreError]) -> None:
    assert kind("went wrong").retryable is RETRYABLE[kind]
    assert kind("went wrong", retryable=True).retryable is True
    assert kind("went wrong", retryable=False).retryable is False
    assert str(kind("went wrong")) == "went wrong"


@kinds
@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_a_copy_of_an_error_says_the_same(kind: type[StoreError], again: Any) -> None:
    for retryable in (None, True, False):
        error = kind("went wrong", retryable=retryable)
        found = again(error)
        assert type(found) is kind
        assert (str(found), found.args, found.retryable) == (str(error), error.args, error.retryable)
