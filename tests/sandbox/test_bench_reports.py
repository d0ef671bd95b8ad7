"""`bin/bench reports` fills a shop and finds its reports equal to the ledger."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from sandbox import bench

ORDERS = 1_000


def test_reads_each_report_of_each_period(tmp_path):
    (tmp_path / "bench").mkdir()
    env = {**os.environ, "ORDERKEEP_HOME": str(tmp_path), "ENVIRONMENT": "local"}
    env.pop("DJANGO_SETTINGS_MODULE", None)

    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.reports", "--orders", str(ORDERS)],
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "bench" / "reports.json").read_text())
    assert report["orders"] == ORDERS
    assert [(each["report"], each["period"]) for each in report["read"]] == [
        (name, period) for period in ("30 days", "all") for name in ("report_revenue", "report_tax")
    ]
    assert all(each["is_equal"] and each["lines"] for each in report["read"])


def test_is_listed():
    assert "reports" in bench.benchmarks()
    assert not bench.needs_shop("reports")
