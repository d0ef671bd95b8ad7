"""The sinks as `bin/up --sinks` starts them: whom they are offered to."""

import os

import httpx
import pytest

from sandbox import servers
from sandbox.environment import INTEGRATIONS
from sandbox.hosting import Sinks
from sandbox.processes import wait_until
from tests.sandbox.sink_calls import event


@pytest.fixture
def sinks(tmp_path, monkeypatch):
    for name in INTEGRATIONS:
        for part in ("BASE_URL", "TOKEN", "BASE_URL_FILE", "TOKEN_FILE"):
            monkeypatch.delenv(f"{name}_{part}", raising=False)
    return Sinks(tmp_path / "sinks", log=tmp_path / "sinks.log")


def test_are_offered_to_every_integration_and_let_it_in(sinks):
    with servers.running(sinks):
        offered = sinks.endpoints()

        assert {*offered} == {f"{n}_{part}" for n in INTEGRATIONS for part in ("BASE_URL", "TOKEN")}
        for name in INTEGRATIONS:
            told = event()
            answer = httpx.post(
                f"{offered[f'{name}_BASE_URL']}/events",
                json=told,
                headers={
                    "Authorization": f"Bearer {offered[f'{name}_TOKEN']}",
                    "Idempotency-Key": told["id"],
                },
                trust_env=False,
            )
            assert answer.status_code == 200


@pytest.mark.parametrize("part", ["BASE_URL", "TOKEN", "TOKEN_FILE"])
def test_are_not_offered_to_what_is_configured_even_in_part(sinks, monkeypatch, part):
    monkeypatch.setenv(f"CRM_{part}", "https://crm.example")

    offered = sinks.endpoints()

    assert "CRM_BASE_URL" not in offered
    assert "CRM_TOKEN" not in offered
    assert "SUPPORT_BASE_URL" in offered


def test_keep_their_port_and_what_they_got(sinks):
    with servers.running(sinks) as child:
        url = sinks.url
        os.kill(child.process.pid, 9)
        assert wait_until(lambda: child.exit_code() is not None, seconds=5)
    with servers.running(sinks):
        assert sinks.url == url
