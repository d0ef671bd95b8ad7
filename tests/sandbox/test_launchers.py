"""The embedded PostgreSQL and Valkey: start, crash, second start, a port taken by a stranger."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import tempfile
import threading
from pathlib import Path

import psycopg2
import pytest
import redis

from config import postgres as programs
from config.processes import find_working_in
from sandbox import postgres, servers, valkey
from sandbox.processes import StartError, spawn, wait_until

MARK = "written before the crash"


@pytest.fixture
def cluster(tmp_path: Path):
    return postgres.Postgres(tmp_path / "post gres", log=tmp_path / "postgres.log", throwaway=True)


@pytest.fixture
def cache(tmp_path: Path):
    return valkey.Valkey(tmp_path / 'val "key"', log=tmp_path / "valkey.log")


def can_read(server: postgres.Postgres) -> bool:
    try:
        with connected(server):
            return True
    except psycopg2.OperationalError:
        return False


@contextlib.contextmanager
def connected(server: postgres.Postgres):
    connection = psycopg2.connect(server.url)
    connection.autocommit = True
    with contextlib.closing(connection), connection.cursor() as cursor:
        yield cursor


def crash(child) -> None:
    os.kill(child.process.pid, signal.SIGKILL)
    child.process.wait()


@contextlib.contextmanager
def reaped(child):
    """The part of PID 1: takes note of an orphan's end as soon as it ends."""
    reaper = threading.Thread(target=child.process.wait)
    reaper.start()
    yield
    reaper.join()


@contextlib.contextmanager
def occupied(port: int):
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", port))
        stranger.listen()
        yield


class TestPostgres:
    def test_is_durable_checked_and_in_utf8_with_one_sort_order_everywhere(self, tmp_path):
        kept = postgres.Postgres(tmp_path / "postgres", log=tmp_path / "postgres.log")
        with servers.running(kept), connected(kept) as cursor:
            seen = {}
            for setting in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
                cursor.execute(f"SHOW {setting}")
                seen[setting] = cursor.fetchone()[0]
            cursor.execute(
                "SELECT pg_encoding_to_char(encoding), datlocprovider, datlocale "
                "FROM pg_database WHERE datname = current_database()"
            )
            locale = cursor.fetchone()

        assert set(seen.values()) == {"on"}
        assert locale == ("UTF8", "b", "C.UTF-8")

    def test_gives_the_application_a_role_of_its_own_with_time_limits(self, cluster):
        with servers.running(cluster), connected(cluster) as cursor:
            cursor.execute(
                "SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user"
            )
            rights = cursor.fetchone()
            limits = {}
            for setting in postgres.ROLE_TIMEOUTS:
                cursor.execute(f"SHOW {setting}")
                limits[setting] = cursor.fetchone()[0]

        assert rights == (False, True)
        assert limits == postgres.ROLE_TIMEOUTS

    def test_gives_backups_a_role_that_may_copy_and_read_nothing(self, cluster):
        with servers.running(cluster):
            with connected(cluster) as cursor:
                cursor.execute("CREATE TABLE private AS SELECT 1 AS one")
            with contextlib.closing(psycopg2.connect(cluster.backup_url)) as backup:
                cursor = backup.cursor()
                cursor.execute(
                    "SELECT rolsuper, rolreplication FROM pg_roles WHERE rolname = current_user"
                )
                rights = cursor.fetchone()
                with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                    cursor.execute("SELECT * FROM private")

        assert rights == (False, True)

    def test_listens_on_loopback_alone_and_wants_the_password(self, cluster):
        with servers.running(cluster):
            with contextlib.closing(cluster._connect()) as owner, owner.cursor() as cursor:
                cursor.execute("SHOW listen_addresses")
                addresses = cursor.fetchone()[0]
                cursor.execute("SHOW unix_socket_directories")
                sockets = cursor.fetchone()[0]
            password = cluster.url.split(":")[2].split("@")[0]
            guessed = cluster.url.replace(password, "guessed")
            for host in filter(None, [addresses, sockets]):
                with pytest.raises(
                    psycopg2.OperationalError, match="password authentication failed"
                ):
                    psycopg2.connect(guessed, host=host)

        assert (addresses, sockets) == ("127.0.0.1", postgres.throwaway_socket(cluster.port))

    def test_keeps_its_rows_and_its_address_over_a_stop(self, cluster):
        with servers.running(cluster), connected(cluster) as cursor:
            cursor.execute("CREATE TABLE kept AS SELECT %s AS mark", [MARK])
            first = cluster.url

        with servers.running(cluster), connected(cluster) as cursor:
            cursor.execute("SELECT mark FROM kept")
            assert cursor.fetchone() == (MARK,)
        assert cluster.url == first

    def test_is_not_ready_while_it_replays_the_log_of_a_backup(self, cluster):
        with servers.running(cluster):
            pass
        (cluster.data / "standby.signal").touch()  # then it goes on replaying for ever
        cluster.prepare()

        child = spawn(cluster.command())
        try:
            assert wait_until(lambda: can_read(cluster), seconds=20)
            assert not cluster.is_ready()
        finally:
            child.stop()

    def test_keeps_its_rows_over_kill_9_of_the_postmaster(self, cluster):
        child = servers.start(cluster)
        with connected(cluster) as cursor:
            cursor.execute("CREATE TABLE kept AS SELECT %s AS mark", [MARK])
            crash(child)

        with servers.running(cluster), connected(cluster) as cursor:
            cursor.execute("SELECT mark FROM kept")
            assert cursor.fetchone() == (MARK,)

    def test_ends_the_server_that_a_killed_run_left_behind(self, tmp_path: Path, cluster):
        orphan = servers.start(cluster)
        again = postgres.Postgres(cluster.directory, log=tmp_path / "again.log", throwaway=True)

        with reaped(orphan), servers.running(again) as child:
            working = find_working_in(cluster.data, program="postgres")

        assert child.process.pid in {process.pid for process in working}
        assert orphan.process.pid not in {process.pid for process in working}

    def test_starts_though_nobody_reaps_the_killed_postmaster(self, tmp_path: Path, cluster):
        orphan = servers.start(cluster)
        orphan.process.kill()
        again = postgres.Postgres(cluster.directory, log=tmp_path / "again.log", throwaway=True)

        with servers.running(again), connected(again) as cursor:
            cursor.execute("SELECT 1")

        assert orphan.process.wait() == -signal.SIGKILL

    def test_takes_another_port_when_a_stranger_has_its_own(self, cluster):
        with servers.running(cluster):
            port = cluster.port

        with occupied(port), servers.running(cluster), connected(cluster) as cursor:
            cursor.execute("SELECT 1")
            assert cluster.port != port

    def test_makes_the_cluster_anew_when_initdb_was_killed_half_way(self, cluster):
        half = cluster.directory / "data.unfinished"
        half.mkdir(parents=True)
        (half / "PG_VERSION").write_text("18\n")

        with servers.running(cluster), connected(cluster) as cursor:
            cursor.execute("SELECT 1")
            assert not half.exists()

    def test_says_what_the_server_said_when_it_does_not_start(self, cluster, monkeypatch):
        monkeypatch.setattr(servers, "RETRY_SECONDS", 0.0)
        with servers.running(cluster):
            pass
        (cluster.data / "postgresql.conf").write_text("max_connections = many\n")

        with pytest.raises(StartError, match=r"postgres does not start: .*configuration file"):
            servers.start(cluster)

        assert find_working_in(cluster.data, program="postgres") == []

    def test_secrets_are_readable_by_their_owner_alone(self, cluster):
        with servers.running(cluster):
            modes = {
                path.name: path.stat().st_mode & 0o777
                for path in cluster.directory.glob("*.password")
            }

        assert modes == dict.fromkeys(
            ("application.password", "backup.password", "superuser.password"), 0o600
        )


class TestValkey:
    def test_keeps_its_values_over_a_stop_and_over_kill_9(self, cache):
        with servers.running(cache), redis.Redis.from_url(cache.url) as client:
            client.set("mark", MARK)
        child = servers.start(cache)
        with redis.Redis.from_url(cache.url) as client:
            assert client.get("mark") == MARK.encode()
        crash(child)

        with servers.running(cache), redis.Redis.from_url(cache.url) as client:
            assert client.get("mark") == MARK.encode()

    def test_wants_the_password_and_writes_every_change_down(self, cache):
        with servers.running(cache):
            stranger = valkey.connect(f"redis://127.0.0.1:{cache.port}", seconds=1)
            with stranger, pytest.raises(redis.AuthenticationError):
                stranger.ping()
            with redis.Redis.from_url(cache.url) as client:
                assert client.config_get("appendonly") == {"appendonly": "yes"}
                assert client.config_get("bind") == {"bind": "127.0.0.1"}

    def test_takes_another_port_when_a_stranger_has_its_own(self, cache):
        with servers.running(cache):
            port = cache.port

        with occupied(port), servers.running(cache), redis.Redis.from_url(cache.url) as client:
            assert client.ping()
            assert cache.port != port

    def test_ends_the_server_that_a_killed_run_left_behind(self, tmp_path: Path, cache):
        orphan = servers.start(cache)

        again = valkey.Valkey(cache.directory, log=tmp_path / "again.log")

        with reaped(orphan), servers.running(again) as child:
            working = find_working_in(cache.directory, program="valkey-server")
            assert [process.pid for process in working] == [child.process.pid]
        assert orphan.exit_code() == -signal.SIGKILL


class TestRootsWays:
    """Which identity PostgreSQL gets when root starts it."""

    pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another identity")

    def test_an_account_works_where_a_namespace_does_not(self, tmp_path: Path, monkeypatch):
        monkeypatch.setattr(programs, "NAMESPACE", ("false",))
        with reachable_directory() as directory:
            server = postgres.Postgres(directory, log=tmp_path / "log", throwaway=True)

            with servers.running(server) as child, connected(server) as cursor:
                cursor.execute("SELECT 1")
                owner = server.data.stat().st_uid
                runs_as = Path(f"/proc/{child.process.pid}").stat().st_uid

        assert owner == runs_as != 0

    def test_the_binaries_are_copied_where_the_account_cannot_read_them(
        self, tmp_path: Path, monkeypatch
    ):
        monkeypatch.setattr(programs, "NAMESPACE", ("false",))
        hidden = tmp_path / "hidden"
        hidden.mkdir(mode=0o700)
        binaries = programs.copy_binaries(postgres.find_binaries(), to=hidden / "wheel")
        monkeypatch.setenv("POSTGRES_BIN", str(binaries))
        with reachable_directory() as directory:
            server = postgres.Postgres(directory, log=tmp_path / "log", throwaway=True)

            with servers.running(server) as child, connected(server) as cursor:
                cursor.execute("SELECT 1")
                program = Path(child.command.argv[0])

        assert program.is_relative_to(directory)

    def test_tells_in_one_line_what_to_do_when_nothing_works(self, tmp_path: Path, monkeypatch):
        monkeypatch.setattr(programs, "NAMESPACE", ("false",))
        hidden = tmp_path / "hidden"
        hidden.mkdir(mode=0o700)

        with pytest.raises(StartError, match="refuses to run as root") as failure:
            servers.start(postgres.Postgres(hidden / "postgres", log=tmp_path / "log"))

        assert "\n" not in str(failure.value)


@contextlib.contextmanager
def reachable_directory():
    """A directory that every account may enter, which pytest's own is not."""
    directory = Path(tempfile.mkdtemp(prefix="orderkeep-test-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)
