"""What `bin/bench catalogue` reports is what it measured, and a missed goal shows."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.catalogue import Run, measure, misses_goal
from benchmarks.processes import Parts
from sandbox import bench


def fast(page="list", *, seconds=1.0, latency=5.0):
    return Run(page, seconds=seconds, latencies_ms=[latency] * 2_000).summary()


class TestTheGoal:
    def test_is_reached_by_enough_requests_that_are_fast_enough(self):
        assert not misses_goal(fast())

    @pytest.mark.parametrize("change", [{"seconds": 2.0}, {"latency": 20.0}])
    def test_is_missed_by_too_few_or_too_slow_ones(self, change):
        assert misses_goal(fast(**change))

    def test_is_none_for_the_search(self):
        assert not misses_goal(fast("search", seconds=100.0))

    def test_is_missed_by_no_answers_at_all(self):
        assert misses_goal(Run("list", seconds=1.0).summary())


class TestMeasure:
    def serve(self, status=b"200 OK", *, seconds=0.3):
        async def answer(reader, writer):
            while await reader.readline():
                while (await reader.readline()) != b"\r\n":
                    pass
                writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\nab")
                await writer.drain()
                writer.write(b"cde")
            writer.close()

        async def play():
            server = await asyncio.start_server(answer, "127.0.0.1", 0)
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            run = await measure(
                url, "list", Parts(Path(os.devnull)), connections=3, seconds=seconds
            )
            server.close()
            return run

        return asyncio.run(play())

    def test_counts_whole_answers(self):
        run = self.serve()

        assert len(run.latencies_ms) >= 3
        assert run.failures == 0
        assert all(latency > 0 for latency in run.latencies_ms)

    def test_counts_refusals_as_failures(self):
        run = self.serve(b"503 Service Unavailable")

        assert run.failures >= 3
        assert run.latencies_ms == []


def test_is_listed_and_wants_the_shop():
    assert "catalogue" in bench.benchmarks()
    assert bench.needs_shop("catalogue")


def test_against_no_shop_says_so_in_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.catalogue", "--base-url", "http://127.0.0.1:9"],
        env={**os.environ, "ORDERKEEP_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.startswith("bench catalogue: no shop answers at http://127.0.0.1:9")
    assert done.stderr.count("\n") == 1
