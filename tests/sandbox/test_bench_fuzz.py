"""What `bin/bench fuzz` reports is what was answered, and an operation without success shows."""

from benchmarks.fuzz import IDENTITIES, summary
from tests.fuzz import fuzzing
from tests.proof.workers import Done

SENT = [
    Done(
        batch=("anonymous", 0, 1),
        counts={("GET /a", 200): 3, ("GET /a", 400): 1, ("GET /b", 401): 2, ("GET /m", 403): 9},
    ),
    Done(
        batch=("customer", 0, 1),
        counts={("GET /a", 200): 1, ("GET /b", 409): 1, ("GET /b", "failures"): 1},
        broken=["customer, GET /b: Undocumented status"],
    ),
]


def test_statuses_and_failures_are_added_up():
    report = summary(SENT, unreachable={}, seed=1)

    assert report["cases"] == {"anonymous": 15, "customer": 2}
    assert report["operations"]["GET /a"] == {
        "cases": 5,
        "statuses": {"200": 4, "400": 1},
        "failures": 0,
    }
    assert report["operations"]["GET /b"]["failures"] == 1
    assert report["broken"] == ["customer, GET /b: Undocumented status"]


def test_an_operation_nobody_succeeded_at_is_named_unless_it_cannot_be_reached():
    report = summary(SENT, unreachable={"GET /m": "for 127.0.0.1 alone"}, seed=1)

    assert report["never_succeeded"] == ["GET /b"]


def test_everybody_is_asked_about():
    assert IDENTITIES == fuzzing.IDENTITIES
