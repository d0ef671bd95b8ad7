"""docs/storefront.md, request by request, with curl against a running shop."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.conf import settings

from orders.models import Order
from orders.services.shipping import Parcel, ship_order
from tests import factories

GUIDE = Path(settings.BASE_DIR, "docs", "storefront.md")
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OUTCOME = re.compile(r"# (\d{3})(?: · (.+))?")

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not shutil.which("curl"), reason="the guide is written with curl"),
]


@dataclass
class Request:
    """A command, the status it promises, and what the next ones take from its answer."""

    command: str
    status: int
    taken: dict[str, str]


def requests_of_guide():
    for block in BLOCK.findall(GUIDE.read_text()):
        command: list[str] = []
        for line in block.splitlines():
            if not (outcome := OUTCOME.fullmatch(line)):
                command.append(line)
                continue
            taken = dict(part.split(" = ") for part in (outcome[2] or "").split(", ") if part)
            yield Request("\n".join(command), int(outcome[1]), taken)
            command = []


def found(answer, path):
    """`.a[0].b` of the answer."""
    steps = re.findall(r"\.(\w+)|\[(\d+)\]", path)
    return functools.reduce(
        lambda here, step: here[step[0]] if step[0] else here[int(step[1])], steps, answer
    )


def ship(order_number):
    """What staff do meanwhile."""
    order = Order.objects.get(order_number=order_number)
    ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS", tracking_number="1Z999"))


def run(request, variables, directory):
    """The answer's status and body; as in a terminal, but without the progress meter."""
    command = re.sub(r"\bcurl ", "curl -s -w '\\n%{http_code}' ", request.command, count=1)
    ran = subprocess.run(
        ["/bin/sh", "-euc", command],
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        cwd=directory,
    )
    body, _, status = ran.stdout.rpartition("\n")
    return int(status), body


def test_says_what_happens(live_server, shop, provider, tmp_path):
    factories.ProductFactory(sku="DEMO-PLENTY", name="Plenty of It", on_hand=1_000)
    factories.CouponFactory(code="WELCOME10")
    variables = {"SHOP": live_server.url, "PAYMENT_SERVER": settings.STRIPE_API_BASE}

    for request in requests_of_guide():
        status, body = run(request, variables, tmp_path)

        assert status == request.status, f"{request.command}\n{body}"
        for name, path in request.taken.items():
            variables[name] = str(found(json.loads(body), path))
        if "/claim" in request.command:
            ship(variables["FIRST"])

    assert (variables["SKU"], variables["STATE"]) == ("DEMO-PLENTY", "NY")
    assert variables["STATUS"] == "confirmed"
    assert sorted(Order.objects.values_list("status", flat=True)) == [
        *["cancelled"] * 2,
        "shipped",
    ]
    assert (tmp_path / "invoice.pdf").read_bytes().startswith(b"%PDF-")


def test_has_every_request_that_it_shows_followed_by_its_status():
    commands = [line for block in BLOCK.findall(GUIDE.read_text()) for line in block.splitlines()]
    shown = sum(line.startswith("curl ") for line in commands)

    assert shown == len(list(requests_of_guide())) > 15
