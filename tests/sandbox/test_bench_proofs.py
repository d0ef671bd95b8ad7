"""The proofs as commands: what they run, what they break, and that they say when something is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from benchmarks import crash, mutants, schedules
from benchmarks.mutations import MUTANTS, Mutant
from sandbox import bench, check
from tests.proof.workers import Done, run_batches

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.rule)
def test_a_mutant_is_up_to_date_with_the_code(mutant, tmp_path):
    copy = tmp_path / mutant.file
    copy.parent.mkdir(parents=True)
    shutil.copy(ROOT / mutant.file, copy)

    mutants.break_code(mutant, tmp_path)

    assert copy.read_text() != (ROOT / mutant.file).read_text()
    compile(copy.read_text(), mutant.file, "exec")


def test_a_mutant_whose_text_is_gone_is_an_error(tmp_path):
    (tmp_path / "code.py").write_text("a = 1\na = 1\n")
    gone = Mutant(rule="x", file="code.py", edits=(("b = 1", "b = 2"),))
    twice = Mutant(rule="x", file="code.py", edits=(("a = 1", "a = 2"),))

    for mutant in (gone, twice):
        with pytest.raises(ValueError, match=r"times in code\.py"):
            mutants.break_code(mutant, tmp_path)


def test_there_are_enough_mutants_and_each_rule_has_one():
    assert len(MUTANTS) >= 20
    assert len({mutant.rule for mutant in MUTANTS}) == len(MUTANTS)


def test_the_long_proofs_are_benchmarks_on_servers_of_their_own():
    for name in ("crash", "schedules", "mutants"):
        assert bench.needs_test_servers(name)
        assert not bench.needs_shop(name)
    assert {arguments[0] for arguments in check.NIGHTLY.values()} <= bench.benchmarks().keys()


def test_workers_play_on_a_shop_of_their_own_and_tell_what_went_wrong(provider):
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    batches = [(0, 3, ""), BREAKS, (3, 5, "")]

    done = list(run_batches(play_or_break, batches, processes=1, first=number))

    held = [sum(n for by, n in one.counts.items() if by[0] == "plays") for one in done]
    assert held == [3, 0, 2]
    assert not any(one.broken for one in done)
    assert [len(one.errors) for one in done] == [0, 1, 0]
    assert "ZeroDivisionError" in done[1].errors[0]


BREAKS = (0, 0, "")


def play_or_break(world, stage, batch):
    return (
        schedules.play_batch(world, stage, batch) if batch != BREAKS else Done(counts={(): 1 // 0})
    )


def test_every_outcome_of_the_grid_is_in_one_batch():
    numbers = [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 0)]

    batches = crash._batches(numbers, one_in=3)

    assert batches == [(0, [0, 1, 2, 3], 3), (0, [4], 3), (1, [0], 3)]


def test_the_report_of_the_grid_counts_by_use_case_and_outcome():
    done = Done(batch=(0, (1, 2), 1), seconds=2.0)
    done.count("boundaries", 1, times=3)
    done.count("boundaries reached", 1, times=2)
    done.count("cells", 1, "exception", times=4)
    done.count("cells", 2, "exception", times=5)
    done.count("not reached", 1, "a cell")

    names = {(0, 1): ("placing", "paid"), (0, 2): ("placing", "declined")}
    report = crash._report([done], names, seconds=2.0)

    assert report["by_outcome"] == {"paid": {"placing": 4}, "declined": {"placing": 5}}
    assert report["by_blow"] == {"exception": 9}
    assert (report["boundaries"], report["boundaries_reached"]) == ({"placing": 3}, {"placing": 2})
    assert report["not_reached"] == ["a cell"]
