"""docs/outgoing-webhooks.md shows what is really sent, and code that really verifies it."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
import textwrap
import time
import uuid
from pathlib import Path

import pytest
from django.conf import settings
from django.utils import timezone

from audit.models import OutboxMessage
from integrations.webhooks import events, signing
from orders.models import Cart, CartItem, Return, ReturnItem, Shipment, ShipmentItem
from tests import factories
from tests.shop import order_of

PAGE = (Path(settings.BASE_DIR) / "docs/outgoing-webhooks.md").read_text()
ROW = re.compile(r"^\| `([a-z._]+)` \| (.+?) \| `(\{.*\})` \|$", re.MULTILINE)
KINDS = {
    kind: (happens, json.loads(data.replace("{…}", "{}")))
    for kind, happens, data in ROW.findall(PAGE)
}
BLOCKS = dict(re.findall(r"```(json|python|javascript|java)\n(.*?)```", PAGE, re.DOTALL))


def shape(value):
    """Names all the way down; of a list, those of its first member."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    return [shape(inner) for inner in value[:1]] if isinstance(value, list) else None


@pytest.fixture
def placed(shopper):
    factories.ProductFactory(sku="APPLE")
    return order_of(shopper.order(("APPLE", 2)))


@pytest.mark.django_db
class TestEvents:
    def test_are_all_on_the_page_with_the_words_of_the_admin(self):
        assert {kind: happens for kind, (happens, _) in KINDS.items()} == {
            event.kind: event.happens for event in events.EVENTS
        }

    def test_carry_what_the_page_says(self, placed):
        item = placed.items.get()
        shipment = Shipment.objects.create(order=placed, carrier="UPS")
        ShipmentItem.objects.create(shipment=shipment, order_item=item, quantity=1)
        wish = Return.objects.create(order=placed, reason="broken")
        ReturnItem.objects.create(parent=wish, order_item=item, quantity=1)
        cart = Cart.objects.create(currency="USD", expires_at=timezone.now())
        CartItem.objects.create(cart=cart, product=item.product, quantity=3)
        payload = {
            "order_number": placed.order_number,
            "shipment": shipment.pk,
            "return": str(wish.public_id),
            "refund": str(uuid.uuid4()),
            "dispute": "dp_1",
            "status": "needs_response",
            "amount": "1.00",
            "currency": "USD",
            "customer_id": placed.customer_id,
            "marketing_consent": True,
        }
        for kind, (_, shown) in KINDS.items():
            message = OutboxMessage(
                fact=kind,
                aggregate_type=kind.partition(".")[0],
                aggregate_id=cart.pk if kind.startswith("cart") else placed.pk,
                payload=payload,
                occurred_at=timezone.now(),
            )
            data = events.envelope(message)["data"]

            assert shape({**data, "order": {}}) == shape({**shown, "order": {}}), kind
            assert ("order" in data) == ("order" in shown), kind

    def test_look_as_the_example(self, placed):
        message = OutboxMessage.objects.get(fact="order.confirmed")

        assert shape(events.envelope(message)) == shape(json.loads(BLOCKS["json"]))


class TestCodeThatVerifies:
    SECRET = b"s" * 32
    BODY = '{"type": "webhook.test", "says": "Grüße"}'.encode()

    PYTHON = """
        import base64, json, sys
        headers, body, secret = json.loads(sys.argv[1])
        print("yes" if verify(headers, base64.b64decode(body), secret) else "no")
    """
    JAVASCRIPT = """
        const [headers, body, secret] = JSON.parse(process.argv[2]);
        console.log(verify(headers, Buffer.from(body, "base64"), secret) ? "yes" : "no");
    """
    JAVA = """
        class Driver {
            public static void main(String[] given) throws Exception {
                Map<String, String> headers = Map.of("webhook-id", given[0],
                    "webhook-timestamp", given[1], "webhook-signature", given[2]);
                byte[] body = Base64.getDecoder().decode(given[3]);
                System.out.println(Webhooks.verify(headers, body, given[4]) ? "yes" : "no");
            }
        }
    """

    @pytest.fixture(params=["python", "javascript", "java"])
    def verify(self, request, tmp_path):
        """Runs the page's code in its language; says yes or no."""
        language = request.param
        program = {"python": sys.executable, "javascript": "node", "java": "java"}[language]
        if shutil.which(program) is None or (language == "java" and not shutil.which("javac")):
            pytest.skip(f"no {program} here")
        code, driver = BLOCKS[language], textwrap.dedent(getattr(self, language.upper()))
        if language == "java":  # run from its source, the first class is the one that is run
            imports, _, rest = code.partition("class Webhooks")
            code, driver = imports + driver, "class Webhooks" + rest
        suffix = {"python": "py", "javascript": "js", "java": "java"}[language]
        file = tmp_path / f"Driver.{suffix}"
        file.write_text(f"{code}\n{driver}\n")

        def run(headers, body=self.BODY, secret=self.SECRET):
            told = signing.PREFIX + base64.b64encode(secret).decode()
            sent = base64.b64encode(body).decode()
            arguments = [json.dumps([headers, sent, told])]
            if language == "java":
                names = ("webhook-id", "webhook-timestamp", "webhook-signature")
                arguments = [*(headers[name] for name in names), sent, told]
            ended = subprocess.run(
                [program, str(file), *arguments],
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
            return ended.stdout.strip()

        return run

    def test_tells_ours_from_all_others(self, verify):
        def headers(*secrets, ago=0):
            return signing.headers(
                message_id=uuid.UUID(int=7),
                timestamp=int(time.time()) - ago,
                body=self.BODY,
                secrets=secrets,
            )

        other = b"o" * 32

        assert verify(headers(self.SECRET)) == "yes"
        assert verify(headers(other, self.SECRET)) == "yes"  # while it is changed
        assert verify(headers(other)) == "no"
        assert verify(headers(self.SECRET), body=self.BODY + b" ") == "no"
        assert verify(headers(self.SECRET, ago=400)) == "no"
