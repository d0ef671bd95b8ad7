"""What pip-audit says decides: a known hole fails, and what nobody could audit is never clean."""

import json

import pytest

from sandbox.holes import CANARY, Outcome, judge

KNOWN = {"name": CANARY[0], "version": CANARY[1], "vulns": [{"id": "PYSEC-2018-66"}]}
UNKNOWN = KNOWN | {"vulns": []}
SOUND = {"name": "django", "version": "5.2.8", "vulns": []}
ROTTEN = {
    "name": "urllib3",
    "version": "1.26.4",
    "vulns": [{"id": "PYSEC-2021-108"}, {"id": "PYSEC-2023-192"}],
}
NOT_FOUND = {"name": "ours", "skip_reason": "Dependency not found and could not be audited"}


def judged(*dependencies):
    return judge(json.dumps({"dependencies": dependencies, "fixes": []}))


def test_a_lock_file_without_holes_is_clean():
    verdict = judged(SOUND, KNOWN)

    assert (verdict.outcome, verdict.told) == (Outcome.CLEAN, "1 dependencies, no known hole")


@pytest.mark.parametrize("others", [[KNOWN], [UNKNOWN], [KNOWN, SOUND, NOT_FOUND], []])
def test_a_hole_is_named_whatever_else_was_audited(others):
    verdict = judged(ROTTEN, *others)

    assert verdict.outcome is Outcome.HOLES
    assert verdict.told == "urllib3 1.26.4: PYSEC-2021-108, PYSEC-2023-192"


@pytest.mark.parametrize(
    "dependencies",
    [[SOUND, UNKNOWN], [SOUND], [SOUND, NOT_FOUND, KNOWN], [NOT_FOUND, UNKNOWN], [KNOWN], []],
)
def test_what_could_not_be_audited_is_skipped(dependencies):
    assert judged(*dependencies).outcome is Outcome.SKIPPED


@pytest.mark.parametrize("output", ["", "No route to host", "[]", "{}", "null"])
def test_an_answer_that_is_none_is_skipped_and_says_why(output):
    verdict = judge(output, complaint="WARNING: slow\nERROR: Could not connect\n")

    assert verdict.outcome is Outcome.SKIPPED
    assert verdict.told.endswith("ERROR: Could not connect")
