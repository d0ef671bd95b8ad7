"""What `bin/bench orders` reports is what it measured."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time

import pytest

from benchmarks.orders import Stage, milestones
from benchmarks.processes import Parts
from benchmarks.wire import Answer, Connection
from sandbox import bench


def test_percentiles_are_those_of_the_nearest_rank():
    assert milestones([float(n) for n in range(100, 0, -1)]) == {
        "p50": 51.0,
        "p95": 96.0,
        "p99": 100.0,
        "max": 100.0,
    }
    assert milestones([7.0]) == {"p50": 7.0, "p95": 7.0, "p99": 7.0, "max": 7.0}
    assert milestones([]) == {}


class TestAnswer:
    def test_tells_the_provider_time_among_others(self):
        answer = Answer(201, {"server-timing": "db;dur=3, provider;dur=12.5"}, b"{}")

        assert answer.timing("provider") == 12.5
        assert answer.timing("cache") is None

    def test_without_the_header_tells_none(self):
        assert Answer(201, {}, b"{}").timing("provider") is None


class TestStage:
    def test_subtracts_the_provider_order_by_order(self):
        stage = Stage(2, seconds=2.0, latencies_ms=[30.0, 90.0], provider_ms=[10.0, 80.0])

        found = stage.summary()

        assert found["orders_per_second"] == 1.0
        assert found["latency_ms"]["max"] == 90.0
        assert found["without_provider_ms"]["max"] == 20.0

    def test_claims_nothing_without_provider_where_an_answer_did_not_tell(self):
        stage = Stage(1, seconds=1.0, latencies_ms=[30.0, 90.0], provider_ms=[10.0])

        assert stage.summary()["without_provider_ms"] == {}

    def test_shares_the_processor_time_over_the_orders(self):
        stage = Stage(1, seconds=1.0, latencies_ms=[1.0] * 4, cpu_seconds={"web": 0.1})

        assert stage.summary()["cpu_ms_per_order"] == {"web": 25.0}


class TestParts:
    def test_counts_a_family_and_those_of_it_that_have_ended(self, tmp_path):
        spin = "import time; t = time.process_time() + 0.2\nwhile time.process_time() < t: pass"
        family = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {spin!r}])"
        with subprocess.Popen([sys.executable, "-c", f"{family}; time.sleep(30)"]) as process:
            (tmp_path / "run").mkdir()
            (tmp_path / "run" / "processes.json").write_text(f'{{"web": {{"pid": {process.pid}}}}}')
            parts = Parts(tmp_path)

            give_up_at = time.monotonic() + 20
            while parts.snapshot().cpu_seconds["web"] < 0.2 and time.monotonic() < give_up_at:
                time.sleep(0.05)

            assert 0.2 <= parts.snapshot().cpu_seconds["web"] < 5
            assert parts.peak_memory_mb("web") > 5
            process.kill()

    def test_without_a_running_shop_knows_itself_alone(self, tmp_path):
        parts = Parts(tmp_path)

        assert list(parts.snapshot().cpu_seconds) == ["load generator"]
        assert parts.peak_memory_mb("web") is None


class TestConnection:
    def test_is_kept_and_opened_again_when_the_server_closes_it(self):
        answers = iter([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"] * 2)
        visits = []

        async def serve(reader, writer):
            visits.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(next(answers))
            await writer.drain()
            writer.close()

        async def play():
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            connection = Connection(f"http://127.0.0.1:{port}")
            found = [await connection.call("GET", "/a"), await connection.call("GET", "/b")]
            await connection.close()
            server.close()
            await server.wait_closed()
            return found

        found = asyncio.run(play())

        assert [answer.json() for answer in found] == [{}, {}]
        assert [visit.split()[1] for visit in visits] == [b"/a", b"/b"]

    def test_does_not_hide_a_connection_that_was_lost(self):
        async def serve(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}")
            writer.close()

        async def play():
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            connection = Connection(f"http://127.0.0.1:{port}")
            with pytest.raises(ConnectionError):
                await connection.call("GET", "/")
            server.close()
            await server.wait_closed()

        asyncio.run(play())


def test_every_benchmark_is_listed_and_says_whether_it_needs_the_shop():
    assert {"orders", "payment_server"} <= bench.benchmarks().keys()
    assert bench.needs_shop("orders")
    assert not bench.needs_shop("payment_server")


def test_against_no_shop_says_so_in_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.orders", "--base-url", "http://127.0.0.1:9"],
        env={**os.environ, "ORDERKEEP_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.startswith("bench orders: no shop answers at http://127.0.0.1:9")
    assert done.stderr.count("\n") == 1
