"""The tests that every token store must pass: subclass them in your own, and get the whole contract."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    *(
        f"{__name__}.{part}"
        for part in (
            "cancellation",
            "elsewhere",
            "examples",
            "faults",
            "hostile",
            "keys",
            "lifetimes",
            "machine",
            "races",
            "rotation",
            "sharing",
            "sparing",
            "stateless",
        )
    )
)

from asgi_infra.testing.tokens.cancellation import Cancellation  # noqa: E402
from asgi_infra.testing.tokens.elsewhere import Elsewhere  # noqa: E402
from asgi_infra.testing.tokens.examples import Examples  # noqa: E402
from asgi_infra.testing.tokens.faults import LostRepliesContract  # noqa: E402
from asgi_infra.testing.tokens.hostile import Hostile  # noqa: E402
from asgi_infra.testing.tokens.keys import Keys  # noqa: E402
from asgi_infra.testing.tokens.lifetimes import Lifetimes  # noqa: E402
from asgi_infra.testing.tokens.machine import Modelled  # noqa: E402
from asgi_infra.testing.tokens.races import Races  # noqa: E402
from asgi_infra.testing.tokens.rotation import Rotations  # noqa: E402
from asgi_infra.testing.tokens.sharing import Sharing  # noqa: E402
from asgi_infra.testing.tokens.sparing import Sparing  # noqa: E402
from asgi_infra.testing.tokens.stateless import Stateless  # noqa: E402

__all__ = ["LostRepliesContract", "TokenStoreContract"]


class TokenStoreContract(
    Examples, Lifetimes, Rotations, Sparing, Stateless, Hostile, Keys, Modelled, Races, Elsewhere, Cancellation, Sharing
):
    """Everything that `TokenStore` promises, as tests; needs pytest, anyio and hypothesis.

    A subclass overrides the fixture `store_factory`. It returns a callable that takes the options of a store and
    returns a new one, on the data of this test: empty when the test begins, and the same for all stores of the test. It
    is pickled for tests with several processes, so `functools.partial` of a function of a module is what to return.

    A subclass that overrides the fixture `store` in its place, with one new store, gets the part of the contract that
    needs neither options nor a second store nor another clock; the other tests are skipped, and say so.

    Attributes:
        shared: Whether stores of one `store_factory` share their data. Tests with several stores, processes or
            keys are skipped where they don't.
        racers: How many callers rotate one token at once; 64.
        race_rounds: How often each race is run; 5.
        interleavings: How many random orders of rotating, touching and revoking are tried; 25.
        machine_examples: How many random sequences of calls are compared with a model; 15.
        machine_steps: How many calls each has at most; 30.
        process_rounds: How many tokens two processes fight for; 20.
        cancellations: At how many places each operation is given up; 25.

    Fixtures that may be overridden as well:

    - `anyio_backend`: the event loops to run on; asyncio.
    - `stored`: an async function that returns all stored bytes, to be searched for identifiers.

    Stores on a server should pass `LostRepliesContract` too.

    Example:
        >>> class TestMyTokenStore(TokenStoreContract):
        ...     race_rounds = 1000
        ...
        ...     @pytest.fixture
        ...     def store_factory(self, tmp_path):
        ...         return partial(MyTokenStore, tmp_path / "tokens")
    """
