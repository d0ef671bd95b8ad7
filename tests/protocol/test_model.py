"""The executable model of the protocol holds, and would notice if one of its rules were missing.

Here with at most one fault and without the largest configurations; whole it takes minutes:
`python tests/model/placement_model.py`, and `--mutants` for every rule broken in turn.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[1] / "model" / "placement_model.py"
_spec = importlib.util.spec_from_file_location("placement_model", PATH)
assert _spec
assert _spec.loader
model = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(model)

QUICK = [
    "one request, sweeper",
    "same key twice",
    "request, cancel, staff refund",
    "two sweepers, refunds",
    "confirm refused for good",
    "a day lost",
    "provider contradicts itself",
]
BROKEN = [
    "without guard",
    "without close",
    "without remembered",
    "without keydone",
    "release first",
    "unknown is declined",
    "confirm before T1b",
    "expiry not swept",
]


def configuration(name: str):
    found = next(cfg for cfg in model.CONFIGS if cfg.name == name)
    return found._replace(faults=min(found.faults, 1))


@pytest.mark.parametrize("name", QUICK)
def test_the_protocol_has_no_violation(name):
    result = model.explore(configuration(name), model.PROTOCOL)

    assert result.violation is None, "\n".join(result.trace)
    assert result.states > 1_000


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_noticed(name):
    without, broken_rules, _ = model.MUTANTS[name]
    rules = (model.PROTOCOL - without) | broken_rules

    assert any(model.explore(configuration(cfg), rules).violation for cfg in QUICK)
