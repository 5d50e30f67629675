"""Exceptions that come from outside of the code that they interrupt."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType


def of_signal_handler(exc: BaseException) -> bool:
    """Return whether a signal handler of the application raised it: a time limit, for example.

    Such an exception is meant for the application, wherever it strikes.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    handlers = (signal.getsignal(number) for number in signal.valid_signals())
    codes = {getattr(handler, "__code__", None) for handler in handlers} - {None}
    traceback: TracebackType | None = exc.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code in codes:
            return True
        traceback = traceback.tb_next
    return False
