from __future__ import annotations

import logging
import threading

import pytest

from asgi_infra import faults


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "_counts", {})


def test_each_fault_is_counted_and_the_first_of_a_kind_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        faults.record("tracing.end", ValueError("broken hook"))
    faults.record("tracing.end", KeyError("other"))
    faults.record("metrics.end", ValueError("other place"))

    assert faults.counts() == {
        ("tracing.end", "ValueError"): 3,
        ("tracing.end", "KeyError"): 1,
        ("metrics.end", "ValueError"): 1,
    }
    assert [record.name for record in caplog.records] == ["asgi_infra"] * 3
    assert "tracing.end failed with ValueError" in caplog.text
    assert "broken hook" in caplog.text  # the traceback


def test_the_number_of_kinds_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    for number in range(1000):
        faults.record(f"place-{number}", ValueError())
    counts = faults.counts()
    assert len(counts) == faults._MAX_KINDS + 1
    assert sum(counts.values()) == 1000
    assert counts["other", "other"] == 1000 - faults._MAX_KINDS
    assert len(caplog.records) == faults._MAX_KINDS + 1


def test_a_logging_set_up_that_raises_does_not_reach_the_caller() -> None:
    class Broken(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            raise OSError("no space left")

    broken = Broken()
    logger = logging.getLogger("asgi_infra")
    logger.addFilter(broken)
    try:
        faults.record("log", ValueError())
    finally:
        logger.removeFilter(broken)
    assert faults.counts() == {("log", "ValueError"): 1}


def test_the_counts_that_are_returned_are_a_copy() -> None:
    faults.record("place", ValueError())
    faults.counts().clear()
    assert faults.counts()


def test_faults_of_many_threads_are_all_counted() -> None:
    def fail() -> None:
        for _ in range(500):
            faults.record("place", ValueError())

    threads = [threading.Thread(target=fail) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults.counts() == {("place", "ValueError"): 4000}


def test_a_fault_inside_of_the_recording_of_a_fault_does_not_wait_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    class Reentrant(dict[tuple[str, str], int]):
        def get(self, key: tuple[str, str], default: int = 0) -> int:  # type: ignore[override]
            if key[0] == "outer":
                faults.record("finaliser", OSError())
            return super().get(key, default)

    monkeypatch.setattr(faults, "_counts", Reentrant())
    thread = threading.Thread(target=faults.record, args=("outer", ValueError()), daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert faults.counts() == {("finaliser", "OSError"): 1, ("outer", "ValueError"): 1}
