"""`bin/bench books` fills a shop that is in order, and finds what it breaks itself."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys

import psycopg2
import pytest

from benchmarks import books
from sandbox import bench

ORDERS = 2_000


def run(home, *arguments):
    (home / "bench").mkdir(exist_ok=True)
    env = {**os.environ, "ORDERKEEP_HOME": str(home), "ENVIRONMENT": "local"}
    env.pop("DJANGO_SETTINGS_MODULE", None)
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.books", *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def databases():
    with contextlib.closing(psycopg2.connect(os.environ["DATABASE_URL"])) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT datname FROM pg_database")
        return {name for (name,) in cursor.fetchall()}


def test_fills_checks_breaks_and_finds(tmp_path):
    done = run(tmp_path, "--orders", str(ORDERS))

    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "bench" / "books.json").read_text())
    assert report["orders"] == ORDERS
    assert report["violations"] == {}
    assert report["not_found"] == []
    assert report["planted"] == len(books.PLANTED)
    assert report["rows"] > 15 * ORDERS
    assert len(report["seconds_by_invariant"]) == report["invariants"]
    assert f"{len(books.PLANTED)} of {len(books.PLANTED)}" in done.stdout
    assert books.DATABASE not in databases()


def test_says_in_one_line_that_another_run_uses_its_database(tmp_path):
    url = os.environ["DATABASE_URL"]
    with contextlib.closing(psycopg2.connect(url)) as beside:
        beside.autocommit = True
        cursor = beside.cursor()
        cursor.execute("SET statement_timeout = 0")  # dropping waits for a checkpoint
        cursor.execute(f"CREATE DATABASE {books.DATABASE}")
        try:
            own = f"{url.rpartition('/')[0]}/{books.DATABASE}"
            with contextlib.closing(psycopg2.connect(own)):
                done = run(tmp_path, "--orders", str(ORDERS))
        finally:
            cursor.execute(f"DROP DATABASE {books.DATABASE} WITH (FORCE)")

    assert done.returncode == 1
    assert "is being accessed by other users" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("orders", ["0", "999", "many"])
def test_refuses_too_few_orders(tmp_path, orders):
    assert run(tmp_path, "--orders", orders).returncode == 2


def test_is_listed():
    assert "books" in bench.benchmarks()
    assert "books_shop" not in bench.benchmarks()
    assert not bench.needs_shop("books")
