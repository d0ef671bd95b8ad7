"""What storefronts were written against stays: docs/api-versions.md."""

import json

import pytest

from config import docs
from tests.architecture.surface import SNAPSHOT, breaks, surface

OLD = {"GET /a": {"required": [], "optional": ["query q"], "answers": ["200 id"], "codes": []}}


@pytest.fixture(scope="module")
def now():
    return surface(docs._document())


def test_nothing_that_clients_build_on_is_gone(now):
    assert breaks(json.loads(SNAPSHOT.read_text()), now) == []


def test_the_snapshot_knows_what_was_added(now):
    assert json.loads(SNAPSHOT.read_text()) == now, "write it anew: see docs/api-versions.md"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"required": ["query q"], "optional": []}, ["GET /a requires query q now"]),
        ({"optional": []}, ["GET /a takes query q no more"]),
        ({"answers": []}, ["GET /a answers 200 id no more"]),
        ({"optional": ["query q", "query r"], "answers": ["200 id", "200 name"]}, []),
    ],
)
def test_a_change_is_judged_by_who_would_stumble(change, told):
    assert breaks(OLD, {"GET /a": {**OLD["GET /a"], **change}}) == told


def test_a_route_that_is_gone_is_told():
    assert breaks(OLD, {}) == ["GET /a is gone"]
