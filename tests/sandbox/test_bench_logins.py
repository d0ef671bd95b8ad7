"""What `bin/bench logins` makes of its readings; measuring is for `bin/bench`."""

from benchmarks.logins import ROUTES, Readings, milestones

PRODUCT, QUOTE = ROUTES


def readings(*, product, quote):
    """`alone, beside log-ins`: the slowest of a hundred answers, in milliseconds."""
    found = Readings()
    for route, slowest in ((PRODUCT, product), (QUOTE, quote)):
        for beside, value in zip(("nothing", "log-ins"), slowest, strict=True):
            found.taken[route, beside] = [5.0] * 99 + [value]
    return found


class TestReadings:
    def test_tell_the_p99_from_the_slowest_hundredth(self):
        assert milestones([float(n) for n in range(1, 101)]) == {
            "p50": 51.0,
            "p95": 96.0,
            "p99": 100.0,
        }

    def test_bear_a_p99_twice_as_high_and_no_more(self):
        assert readings(product=(10.0, 20.0), quote=(10.0, 9.0)).doubled() == []
        assert readings(product=(10.0, 20.1), quote=(10.0, 9.0)).doubled() == [PRODUCT]
        assert readings(product=(10.0, 30.0), quote=(8.0, 17.0)).doubled() == [PRODUCT, QUOTE]

    def test_are_told_by_route_and_by_what_went_on_beside(self):
        rows = readings(product=(10.0, 20.0), quote=(10.0, 9.0)).summary()

        assert [(row["route"], row["beside"], row["requests"]) for row in rows] == [
            (PRODUCT, "log-ins", 100),
            (PRODUCT, "nothing", 100),
            (QUOTE, "log-ins", 100),
            (QUOTE, "nothing", 100),
        ]
