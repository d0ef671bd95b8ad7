"""Log lines reach the process's own stderr, whatever has been put in the place of `sys.stderr`."""

import json
import logging
import subprocess
import sys

from celery.app import trace as app_trace

FINISHED = {"id": "1", "return_value": "None", "runtime": 0.01, "args": (), "kwargs": {}}

AS_A_WORKER_DOES = """
import django
django.setup()
import structlog
from config.celery import app

app.log.redirect_stdouts("WARNING")
structlog.get_logger("orderkeep").info("told_by_a_worker", text={text!r})
"""


def lines_of_a_worker(*, text):
    ran = subprocess.run(
        [sys.executable, "-c", AS_A_WORKER_DOES.format(text=text)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == ""
    return ran.stderr.splitlines()


def test_a_worker_writes_one_line_of_json_where_celery_has_replaced_stderr():
    (line,) = lines_of_a_worker(text="short")

    assert json.loads(line)["event"] == "told_by_a_worker"


def test_an_event_longer_than_a_pipe_takes_at_once_is_written_whole():
    (line,) = lines_of_a_worker(text="ä" * 2000)  # six characters each, in JSON

    assert len(line) > 4096
    assert json.loads(line)["text"] == "ä" * 2000


def test_tells_of_finished_tasks_but_not_that_the_relay_ran(caplog):
    with caplog.at_level(logging.INFO):
        for name in ("audit.tasks.relay", "orders.tasks.sweep"):
            app_trace.info(app_trace.LOG_SUCCESS, {**FINISHED, "name": name})

    assert [record.args["name"] for record in caplog.records] == ["orders.tasks.sweep"]
