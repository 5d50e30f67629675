"""The shop in the whole stack, with somebody who watches it, on a server in this process."""

from __future__ import annotations

import os
import socket
from collections import OrderedDict
from typing import IO, TYPE_CHECKING, cast

import uvicorn
from prometheus_client import CollectorRegistry

from asgi_infra.cli.demo.accounts import Account, Accountant
from asgi_infra.cli.demo.ledger import Ledger
from asgi_infra.cli.demo.narrator import Narrator
from asgi_infra.cli.demo.sessions import OPEN
from asgi_infra.cli.demo.shop import create_shop
from asgi_infra.cli.metrics_path import MetricsAt
from asgi_infra.errors import InfrastructureError
from asgi_infra.logs import configure_logging
from asgi_infra.middleware.access_log import AccessLog
from asgi_infra.middleware.metrics import Metrics
from asgi_infra.middleware.metrics_endpoint import metrics_app
from asgi_infra.middleware.stack import InfraMiddleware
from asgi_infra.middleware.tokens import Tokens
from asgi_infra.telemetry import init_telemetry
from asgi_infra.tokens import InMemoryTokenStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgi_infra.cli.terminal import Terminal

_MAX_ACCOUNTS = 256
_QUIET = ("uvicorn.error", "asyncio", "asgi_infra.database.engine")  # the latter for SQLAlchemy's pool


class Stage:
    """The wrapped shop, its server, and the accounts of its latest requests.

    Args:
        terminal: Where the requests are shown.
        listener: The socket to serve on.

    Attributes:
        ledger: The shop's audit log.
    """

    def __init__(self, terminal: Terminal, listener: socket.socket) -> None:
        self._accounts: OrderedDict[str, Account] = OrderedDict()
        self._narrator = Narrator(terminal)
        self._listener = listener
        registry = CollectorRegistry()
        self._accountant = Accountant(registry, self._on_account, self._narrator.tell_late, self._narrator.tell_line)
        self._set_up_process(self._accountant)
        store = InMemoryTokenStore()
        self.ledger = Ledger()
        self.app = InfraMiddleware(
            MetricsAt("/metrics", create_shop(store), metrics_app(registry)),
            service="shop",
            exclude={"*": ["/metrics"], "tokens": OPEN},
            tokens=Tokens(store, require="/session/**", registry=registry),
            metrics=Metrics(registry=registry, exemplars=True),
            access_log=AccessLog(),
            audit=self.ledger.audit,
        )
        self.server = uvicorn.Server(
            uvicorn.Config(self.app, log_config=None, access_log=False, timeout_graceful_shutdown=3)
        )

    def account_of(self, request_id: str) -> Account | None:
        """Return the account of one of the latest requests, or `None`."""
        return self._accounts.get(request_id)

    def outputs(self) -> Sequence[str]:
        """Return the latest log lines and spans, as they came out."""
        return tuple(self._accountant.outputs)

    async def serve(self) -> None:
        """Serve until a signal comes, or `server.should_exit` is set."""
        await self.server.serve([self._listener])

    def _on_account(self, account: Account) -> None:
        self._accounts[account.request_id] = account
        while len(self._accounts) > _MAX_ACCOUNTS:
            self._accounts.popitem(last=False)
        self._narrator.tell(account)

    def _set_up_process(self, accountant: Accountant) -> None:
        init_telemetry(service="shop", exporters=[accountant], sampler=1.0)
        configure_logging(
            service="shop",
            levels=dict.fromkeys(_QUIET, "WARNING"),
            stream=cast("IO[bytes]", accountant),
            queue="never",
        )


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address; port 0 takes a free one.

    Raises:
        InfrastructureError: If the address is taken, or not one of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family)
    except socket.gaierror as exc:
        raise InfrastructureError(
            f"can't listen on {host}:{port}: no address is known for {host!r}. "
            "Choose an address of this machine with --host, such as 127.0.0.1"
        ) from exc
    except OSError as exc:
        reason = os.strerror(exc.errno) if exc.errno is not None and exc.errno > 0 else str(exc)
        raise InfrastructureError(
            f"can't listen on {host}:{port}: {reason}. Choose another port with --port; 0 takes a free one"
        ) from exc
    # Connections inherit it. asyncio sets it on sockets whose protocol number says TCP alone, and this one says 0;
    # without it the second response of a connection waits some 40 ms for the acknowledgement of the first.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
