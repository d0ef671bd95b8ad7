"""What the OpenAPI document promises holds for requests that nobody thought of.

A few from each phase of schemathesis, always the same; `bin/bench fuzz` sends thousands.
"""

from __future__ import annotations

import pytest

from config import docs
from tests import factories
from tests.fuzz import fuzzing

PASSING = {
    "seed": 20261127,
    "generation": {"max-examples": 2, "deterministic": True, "no-shrink": True},
    "phases": {
        # Numbers learnt from answers would let one operation cancel the order of another's example.
        "examples": {"extra-data-sources": {"responses": False}},
        "fuzzing": {"extra-data-sources": {"responses": False}},
        "coverage": {"enabled": False},  # a thousand cases: bin/bench fuzz
        "stateful": {"enabled": False},  # likewise
    },
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("identity", fuzzing.IDENTITIES)
def test_every_answer_is_one_the_document_tells_of(transactional_db, identity):
    factories.open_shop()
    shop = fuzzing.furnish(identity)

    report = fuzzing.run(shop, settings=PASSING)

    assert report.failures == []
    assert len(report.statuses) == sum(len(path) for path in docs._document()["paths"].values())
    if identity == "customer":
        assert set(report.without_success()) == fuzzing.UNREACHABLE.keys()
