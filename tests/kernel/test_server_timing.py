"""How long a request waited for others, and how its client reads it."""

from __future__ import annotations

from config.kernel import server_timing


def test_waits_for_the_same_one_add_up(monkeypatch):
    times = iter([1.0, 1.25, 5.0, 5.5])
    monkeypatch.setattr(server_timing.time, "perf_counter", lambda: next(times))

    with server_timing.measured() as waits:
        for _ in range(2):
            with server_timing.waiting_for("provider"):
                pass

    assert waits == {"provider": 0.75}
    assert server_timing.header(waits) == "provider;dur=750.0"


def test_outside_a_request_nothing_is_kept():
    with server_timing.waiting_for("provider"):
        pass

    with server_timing.measured() as waits:
        pass

    assert waits == {}
