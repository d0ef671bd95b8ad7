"""One process a core, each with a database, a payment server and a stage of its own.

Work comes in batches; each begins with an empty shop, so that no batch knows of another, and ends
with the books of the whole shop.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import multiprocessing.connection
import os
import queue
import tempfile
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.proof.actors import Stage
    from tests.proof.world import World

    Work = Callable[[World, Stage, Any], "Done"]

STAGEHANDS = 8
LITTER = 50_000  # objects that may lie about before the youngest are looked through; usually 700


@dataclass(kw_only=True)
class Done:
    """What came of a batch: counts by whatever its work counts by, and what is broken.

    `errors` are no broken promises: the harness, or something that nobody handles.
    """

    batch: Any = None
    counts: dict[Any, int] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, *by: Any, times: int = 1) -> None:
        """Add to a count."""
        self.counts[by] = self.counts.get(by, 0) + times


def run_batches(
    work: Work,
    batches: Sequence[Any],
    *,
    processes: int,
    first: int = 0,
    stagehands: int = STAGEHANDS,
) -> Iterator[Done]:
    """Work off the batches on so many processes; gives what came of each as it comes.

    Must be called where `bin/test` runs: the servers' addresses are in the environment.

    Args:
        first: the number of the first process: each number has servers and a database of its own.
        stagehands: how many may act at the same time, at most.
    """
    context = multiprocessing.get_context("spawn")
    todo: Any = context.Queue()
    done: Any = context.Queue()
    for batch in batches:
        todo.put(batch)
    workers = []
    for number in range(first, first + processes):
        todo.put(None)
        worker = context.Process(
            target=_serve, args=(number, work, todo, done, stagehands), daemon=True
        )
        worker.start()
        workers.append(worker)
    try:
        for _ in batches:
            yield _next(done, workers)
    finally:
        for worker in workers:
            worker.kill()  # its stagehands may stand before a boundary for ever
            worker.join()


def _next(done: Any, workers: Sequence[Any]) -> Done:
    while True:
        try:
            found: Done = done.get(timeout=1.0)
        except queue.Empty:
            if not any(worker.is_alive() for worker in workers):
                raise RuntimeError("every worker has ended; see above") from None
        else:
            return found


def _serve(number: int, work: Work, todo: Any, done: Any, stagehands: int) -> None:
    """In a process of its own: settings first, since they pick this process's servers."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["PYTEST_XDIST_WORKER"] = f"gw{number}"
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.test")
    import django  # noqa: PLC0415 - after the environment

    django.setup()
    logging.disable(logging.CRITICAL)  # thousands of failures on purpose

    from django.db import connection  # noqa: PLC0415
    from django.test.utils import setup_test_environment  # noqa: PLC0415

    from sandbox.postgres import throwaway_socket  # noqa: PLC0415
    from tests.proof.actors import Stage  # noqa: PLC0415

    setup_test_environment()
    its = connection.settings_dict
    its["HOST"] = throwaway_socket(its["PORT"]) or its["HOST"]
    its["TEST"]["NAME"] = f"proof_{number}"
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False, keepdb=True)
    with connection.cursor() as cursor:
        # What dies here are our processes, not the server: it need not wait for the disk.
        cursor.execute(f"ALTER DATABASE proof_{number} SET synchronous_commit = off")
    connection.close()
    stage = Stage(stagehands)
    # What is loaded stays: to look through it for garbage again and again costs time, and in a
    # child it would copy all of it.
    gc.collect()
    gc.freeze()
    gc.set_threshold(LITTER)
    while (batch := todo.get()) is not None:
        done.put(_work_off(work, stage, batch))


def _end_with_parent() -> None:
    """Nobody reads what an orphan finds out, and it would hold its servers' ports."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _work_off(work: Work, stage: Stage, batch: Any) -> Done:
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as mail_dir, new_world(Path(mail_dir)) as world:
            result = work(world, stage, batch)
    except Exception as exc:  # noqa: BLE001 - whatever it is, it is told; other batches go on
        told = [f"{batch}: {traceback.format_exc()}"]
        is_promise = type(exc).__name__ == "BrokenError"
        result = Done(broken=told) if is_promise else Done(errors=told)
    result.batch = batch
    result.seconds = time.monotonic() - began
    return result


def new_world(mail_dir: Path) -> Any:
    """An open shop on an empty database, with a provider that knows nothing yet."""
    import contextlib  # noqa: PLC0415 - before Django is set up nothing of ours may be imported

    from django.conf import settings  # noqa: PLC0415

    from tests.proof.world import World, on_stage  # noqa: PLC0415
    from tests.provider import PaymentServer  # noqa: PLC0415

    @contextlib.contextmanager
    def opened() -> Iterator[World]:
        empty_database()
        provider = PaymentServer(settings.STRIPE_API_BASE)
        provider.reset()
        with on_stage(mail_dir=mail_dir):
            world = World(provider=provider)
            world.open()
            yield world

    return opened()


def empty_database() -> None:
    """Take away every row of ours; what the migrations wrote for Django itself stays."""
    import pgtrigger  # noqa: PLC0415
    from django.db import connection  # noqa: PLC0415

    kept = {"django_migrations", "django_content_type", "auth_permission"}
    tables = [name for name in connection.introspection.table_names() if name not in kept]
    names = ", ".join(connection.ops.quote_name(name) for name in tables)
    with pgtrigger.ignore(), connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {names} RESTART IDENTITY CASCADE")
