"""Stock in the admin: each button, the preview of a file, and who may do what."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from django.conf import settings
from django.contrib.auth.models import Group, Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError
from django.urls import reverse
from django.utils import timezone

from audit.models import AuditLog
from inventory import documents, scheduled_prices, stock_files
from inventory.models import Price, ScheduledPrice, StockDocument, StockLevel
from tests import factories
from tests.admin import rows
from tests.inventory.test_services import make_order, reserve, stands, want

pytestmark = pytest.mark.django_db
HEADER = "sku,warehouse,quantity,mode,reason\n"


@pytest.fixture
def east():
    return factories.WarehouseFactory(code="EAST")


@pytest.fixture
def apples(east):
    """Ten on hand in MAIN, four of them promised."""
    product = factories.ProductFactory(sku="APPLE", price="20.00", on_hand=10)
    reserve(make_order(), want(product, 4))
    return product


@pytest.fixture
def level(apples):
    return apples.stock_levels.get()


@pytest.fixture
def clerk(client):
    """Staff who may look at stock and products, and nothing else."""
    user = rows.make_customer(99, email="clerk@example.com", is_staff=True)
    client.force_login(user)
    allow(user, "view_stocklevel", "view_product", "view_scheduledprice", "view_stockdocument")
    return user


def allow(user, *codenames):
    user.user_permissions.add(
        *Permission.objects.filter(codename__in=codenames, content_type__app_label="inventory")
    )


def page(row, name="change", *more):
    return reverse(f"admin:inventory_{row._meta.model_name}_{name}", args=[row.pk, *more])


def press(browser, row, name, **said):
    return browser.post(page(row, "do", name), {"request_key": uuid4(), **said}, follow=True)


def text(answer):
    return answer.content.decode()


def audited():
    found = AuditLog.objects.filter(event_type__startswith="STAFF_ACTION").order_by("pk")
    return [(row.event_type, row.data["action"], row.data["state"]) for row in found]


LEVEL_ACTIONS = {
    "receive": ("receive_stock", {"quantity": 5}, (15, 4)),
    "adjust": ("adjust_stock", {"delta": -2}, (8, 4)),
    "count": ("count_stock", {"counted": 9, "seen_on_hand": 10}, (9, 4)),
    "transfer": ("transfer_stock", {"quantity": 2, "to_warehouse": "EAST"}, (8, 4)),
}
actions = pytest.mark.parametrize("name", LEVEL_ACTIONS)


def said_for(name, east):
    _, said, _ = LEVEL_ACTIONS[name]
    return {**said, **({"to_warehouse": east.pk} if "to_warehouse" in said else {})}


class TestAButtonOfAStockLevel:
    @actions
    def test_moves_stock_on_record(self, browser, superuser, apples, level, east, name):
        answer = press(browser, level, name, reason="because", **said_for(name, east))

        assert answer.status_code == 200
        after = LEVEL_ACTIONS[name][2]
        assert stands(apples)[0] == after
        document = StockDocument.objects.get()
        assert (document.kind, document.reason, document.user) == (name, "because", superuser)
        states = [{"on_hand": on_hand, "allocated": 4} for on_hand in (10, after[0])]
        assert audited() == [
            ("STAFF_ACTION_ASKED", name, states[0]),
            ("STAFF_ACTION_DONE", name, states[1]),
        ]
        by_service = AuditLog.objects.filter(entity_type="stock_level").exclude(
            event_type__startswith="STAFF"
        )
        assert {row.user_id for row in by_service} == {superuser.pk}
        assert "because" in text(browser.get(page(level)))  # the history on the level's page

    @actions
    def test_sent_twice_moves_it_once(self, browser, apples, level, east, name):
        said = {"request_key": uuid4(), "reason": "because", **said_for(name, east)}

        for _ in range(2):
            browser.post(page(level, "do", name), said)

        assert stands(apples)[0] == LEVEL_ACTIONS[name][2]
        assert StockDocument.objects.count() == 1

    @actions
    def test_wants_a_reason(self, browser, apples, level, east, name):
        answer = press(browser, level, name, **said_for(name, east))

        assert "This field is required." in text(answer)
        assert stands(apples) == [(10, 4)]

    @pytest.mark.parametrize(
        ("name", "said", "why"),
        [
            ("adjust", {"delta": -7}, "at most 6 can be taken away"),
            ("count", {"counted": 3, "seen_on_hand": 10}, "4 are promised"),
            ("count", {"counted": 9, "seen_on_hand": 11}, "count again"),
            ("transfer", {"quantity": 7, "to_warehouse": "EAST"}, "at most 6"),
        ],
    )
    def test_that_would_break_a_promise_says_why(
        self, browser, apples, level, east, name, said, why
    ):
        said = {**said, **({"to_warehouse": east.pk} if "to_warehouse" in said else {})}

        answer = press(browser, level, name, reason="because", **said)

        assert why in text(answer)
        assert stands(apples) == [(10, 4)]
        assert audited()[-1][0] == "STAFF_ACTION_REFUSED"

    @pytest.mark.parametrize("name", LEVEL_ACTIONS)
    def test_shows_what_lies_there_before_it_asks(self, browser, level, name):
        shown = text(browser.get(page(level, "do", name)))

        assert re.search(r"Available</dt><dd>6<", shown)

    def test_counting_remembers_what_was_on_hand(self, browser, level):
        shown = text(browser.get(page(level, "do", "count")))

        assert re.search(r'name="seen_on_hand" value="10"', shown)

    def test_does_not_transfer_to_the_same_place(self, browser, apples, level):
        press(browser, level, "transfer", quantity=1, reason="x", to_warehouse=level.warehouse_id)

        assert stands(apples) == [(10, 4)]

    @actions
    def test_is_for_whoever_has_its_right_alone(self, client, clerk, apples, level, east, name):
        permission = LEVEL_ACTIONS[name][0]
        others = {right for right, *_ in LEVEL_ACTIONS.values()} - {permission}
        allow(clerk, *others)
        said = {"reason": "because", **said_for(name, east)}

        assert press(client, level, name, **said).status_code == 403
        assert f"/do/{name}/" not in text(client.get(page(level)))
        assert stands(apples) == [(10, 4)]

        allow(clerk, permission)
        assert f"/do/{name}/" in text(client.get(page(level)))
        assert press(client, level, name, **said).status_code == 200
        assert stands(apples)[0] == LEVEL_ACTIONS[name][2]


class TestLowStock:
    def test_is_set_on_the_levels_page(self, browser, level):
        press(browser, level, "threshold", low_stock_threshold=6)

        level.refresh_from_db()
        assert level.low_stock_threshold == 6
        assert audited()[-1] == ("STAFF_ACTION_DONE", "threshold", {"low_stock_threshold": 6})

    def test_is_for_whoever_has_its_right(self, client, clerk, level):
        assert press(client, level, "threshold", low_stock_threshold=6).status_code == 403
        allow(clerk, "set_low_stock_threshold")

        assert press(client, level, "threshold", low_stock_threshold=6).status_code == 200

    @pytest.mark.parametrize(("threshold", "is_low"), [(5, False), (6, True), (None, False)])
    def test_is_a_list_of_its_own(self, browser, level, threshold, is_low):
        StockLevel.objects.filter(pk=level.pk).update(low_stock_threshold=threshold)

        found = browser.get("/admin/inventory/stocklevel/?low=1").context["cl"].result_count

        assert found == is_low


class TestOnAProductsPage:
    def test_stock_is_received_where_none_ever_lay(self, browser, apples, east):
        press(browser, apples, "receive", warehouse=east.pk, quantity=3, reason="first delivery")

        assert stands(apples) == [(10, 4), (3, 0)]
        assert audited() == [
            ("STAFF_ACTION_ASKED", "receive", {"on_hand": {"MAIN": 10}}),
            ("STAFF_ACTION_DONE", "receive", {"on_hand": {"EAST": 3, "MAIN": 10}}),
        ]

    def test_a_price_is_scheduled(self, browser, superuser, apples):
        press(
            browser,
            apples,
            "schedule-price",
            currency="USD",
            amount="15.00",
            starts_at="2040-01-01T08:00",
            ends_at="2040-02-01T08:00",
        )

        scheduled = ScheduledPrice.objects.get()
        there = ZoneInfo(settings.SHOP_TIME_ZONE)  # until the browser has told its own
        assert scheduled.starts_at == datetime(2040, 1, 1, 8, tzinfo=there)
        assert (scheduled.amount, scheduled.created_by) == (15, superuser)
        assert "2040" in text(browser.get(page(apples)))

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"starts_at": "2020-01-01T08:00"}, "in the future"),
            ({"ends_at": "2040-01-01T08:00"}, "after it starts"),
            ({"currency": "JPY", "amount": "15.50"}, "finer than the smallest unit"),
            ({"amount": "-1"}, "greater than or equal to 0"),
            ({"currency": "BHD"}, "not one of the available choices"),
        ],
    )
    def test_a_price_that_makes_no_sense_is_refused(self, browser, apples, changes, why):
        said = {"currency": "USD", "amount": "15.00", "starts_at": "2040-01-01T08:00"}

        answer = press(browser, apples, "schedule-price", **{**said, **changes})

        assert why in text(answer)
        assert not ScheduledPrice.objects.exists()

    @pytest.mark.parametrize(
        ("name", "permission"),
        [("receive", "receive_stock"), ("schedule-price", "add_scheduledprice")],
    )
    def test_each_button_asks_for_its_right(self, client, clerk, apples, name, permission):
        assert client.get(page(apples, "do", name)).status_code == 403
        allow(clerk, permission)

        assert client.get(page(apples, "do", name)).status_code == 200


class TestStoppingAScheduledPrice:
    @pytest.fixture
    def running(self, apples):
        now = timezone.now()
        scheduled = scheduled_prices.schedule_price(
            product_id=apples.pk,
            currency="USD",
            amount=Decimal("15.00"),
            starts_at=now + timedelta(seconds=1),
            ends_at=now + timedelta(days=1),
            now=now,
        )
        scheduled_prices.apply_due_prices(now=now + timedelta(seconds=1))
        assert Price.objects.get().amount == 15
        return scheduled

    def test_asks_first_and_then_brings_the_former_price_back(self, browser, running):
        assert "the former price returns" in text(browser.get(page(running, "do", "stop")))
        assert Price.objects.get().amount == 15

        press(browser, running, "stop")

        assert Price.objects.get().amount == 20
        assert audited() == [
            ("STAFF_ACTION_ASKED", "stop", {"status": "running", "price": ["15.00"]}),
            ("STAFF_ACTION_DONE", "stop", {"status": "done", "price": ["20.00"]}),
        ]

    def test_says_if_the_price_stays_as_it_was_set_by_hand(self, browser, running):
        Price.objects.update(amount=18)

        assert "stays as it is" in text(press(browser, running, "stop"))
        assert Price.objects.get().amount == 18

    def test_is_for_whoever_has_its_right(self, client, clerk, running):
        assert press(client, running, "stop").status_code == 403
        assert Price.objects.get().amount == 15


class TestStockByFile:
    URL = "/admin/inventory/stocklevel/file/"

    def choose(self, browser, content, **said):
        content = content if isinstance(content, bytes) else content.encode()
        file = SimpleUploadedFile("stock.csv", content, content_type="text/csv")
        return browser.post(
            self.URL, {"request_key": uuid4(), "reason": "Monday", "file": file, **said}
        )

    def form_of(self, answer):
        """What a browser sends when the button under the preview is pressed."""
        shown = text(answer)
        hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', shown))
        textarea = r'<textarea hidden name="text"[^>]*>\n(.*?)</textarea>'
        content = re.search(textarea, shown, re.DOTALL)
        assert content
        hidden["seen"] = hidden["seen"].replace("&quot;", '"')
        return {**hidden, "text": content[1].replace("&quot;", '"'), "apply": "1"}

    def test_is_previewed_and_then_applied(self, browser, superuser, apples):
        content = HEADER + 'APPLE,MAIN,8,count,"May, shelf 3"\nAPPLE,EAST,5,receive,delivery\n'

        preview = self.choose(browser, content)

        assert "Apply all 2 lines" in text(preview)
        assert stands(apples) == [(10, 4)]
        assert json.loads(self.form_of(preview)["seen"]) == {"2": 10, "3": 0}

        done = browser.post(self.URL, self.form_of(preview), follow=True)

        assert "2 lines applied." in text(done)
        assert stands(apples) == [(8, 4), (5, 0)]
        document = StockDocument.objects.get()
        assert (document.kind, document.reason, document.user) == ("file", "Monday", superuser)
        events = AuditLog.objects.filter(entity_type="stock_level", user_id=superuser.pk)
        assert events.count() == 2

    def test_applied_twice_counts_once(self, browser, apples):
        form = self.form_of(self.choose(browser, HEADER + "APPLE,EAST,5,receive,x\n"))

        for _ in range(2):
            browser.post(self.URL, form)

        assert stands(apples) == [(10, 4), (5, 0)]

    def test_with_bad_lines_cannot_be_applied(self, browser, apples):
        content = HEADER + "APPLE,EAST,5,receive,x\nPLUM,MAIN,1,receive,x\n"

        shown = text(self.choose(browser, content))
        forced = browser.post(
            self.URL, {"request_key": uuid4(), "reason": "x", "text": content, "apply": "1"}
        )

        assert "there is no such product" in shown
        assert "Apply all" not in shown
        assert "there is no such product" in text(forced)
        assert stands(apples) == [(10, 4)]

    def test_is_refused_if_stock_has_moved_under_a_count(self, browser, apples):
        form = self.form_of(self.choose(browser, HEADER + "APPLE,MAIN,9,count,x\n"))
        documents.adjust(
            product_id=apples.pk,
            warehouse_id=apples.stock_levels.get().warehouse_id,
            delta=-1,
            reason="broken",
        )

        answer = browser.post(self.URL, form)

        assert "Nothing was changed." in text(answer)
        assert stands(apples) == [(9, 4)]
        # Nor by a second press: what stands there now, nobody has counted by.
        assert "Apply all" not in text(answer)
        assert 'type="file"' in text(answer)
        assert "Nothing was changed." in text(browser.post(self.URL, form))
        assert stands(apples) == [(9, 4)]

    def test_that_the_database_left_in_the_middle_is_sent_again_as_it_was_seen(
        self, browser, apples, monkeypatch
    ):
        form = self.form_of(self.choose(browser, HEADER + "APPLE,MAIN,9,count,x\n"))
        factories.receive(apples, 1)

        def is_away(**_):
            raise OperationalError

        with monkeypatch.context() as patch:
            patch.setattr(stock_files, "apply_file", is_away)
            again = self.form_of(browser.post(self.URL, form))

        assert (again["seen"], again["request_key"]) == (form["seen"], form["request_key"])
        assert "Nothing was changed." in text(browser.post(self.URL, again))
        assert stands(apples) == [(11, 4)]

    @pytest.mark.parametrize(
        ("content", "why"),
        [
            (b"\xff\xfe\x00", "not UTF-8"),
            (b"\xef\xbb\xbf", "The submitted file is empty"),
            (b"sku\nAPPLE\n", "the first line names the columns"),
            (HEADER.encode(), "no lines below"),
        ],
    )
    def test_that_is_none_says_why(self, browser, apples, content, why):
        content = b"" if why.startswith("The submitted") else content

        assert why in text(self.choose(browser, content))

    def test_without_a_file_asks_for_one(self, browser, apples):
        answer = browser.post(self.URL, {"request_key": uuid4(), "reason": "x"})

        assert "Choose a file." in text(answer)

    @pytest.mark.parametrize("seen", ["[]", '{"a": 1}', '{"2": null}', "{"])
    def test_whose_preview_was_tampered_with_changes_nothing(self, browser, apples, seen):
        content = HEADER + "APPLE,MAIN,9,count,x\n"

        answer = browser.post(
            self.URL,
            {"request_key": uuid4(), "reason": "x", "text": content, "seen": seen, "apply": "1"},
        )

        assert answer.status_code in {200, 302}
        if seen != "[]":  # nothing seen: a count as it stands
            assert stands(apples) == [(10, 4)]

    def test_shows_what_is_in_it_as_text(self, browser, apples):
        evil = "</textarea><script>alert(1)</script>"

        shown = text(self.choose(browser, HEADER + f"APPLE,EAST,5,receive,{evil}\n"))

        assert "<script>alert" not in shown
        assert "&lt;script&gt;alert(1)" in shown

    def test_asks_for_the_right_to_each_kind_of_line(self, client, clerk, apples):
        content = HEADER + "APPLE,EAST,5,receive,x\nAPPLE,MAIN,-1,adjust,x\n"
        assert client.get(self.URL).status_code == 403

        allow(clerk, "receive_stock")
        assert client.get(self.URL).status_code == 200
        assert self.choose(client, content).status_code == 403
        assert self.choose(client, content, apply="1").status_code == 403

        allow(clerk, "adjust_stock")
        assert self.choose(client, content).status_code == 200
        assert stands(apples) == [(10, 4)]

    def test_has_sheets_to_count_with(self, client, clerk, apples):
        sheet = reverse(
            "admin:inventory_stocklevel_sheet", args=[apples.stock_levels.get().warehouse_id, 1]
        )
        assert client.get(sheet).status_code == 403
        allow(clerk, "count_stock")

        answer = client.get(sheet)

        assert text(answer) == f"{HEADER.strip()},expected\r\nAPPLE,MAIN,10,count,,10\r\n"
        assert answer["Content-Disposition"] == 'attachment; filename="count-main-1.csv"'
        assert sheet in text(client.get(self.URL))

    def test_has_as_many_sheets_as_it_takes(self, browser, apples, monkeypatch):
        monkeypatch.setattr(stock_files, "MOST_LINES", 1)
        factories.ProductFactory(sku="PEAR", on_hand=1)
        main = apples.stock_levels.get().warehouse_id

        shown = text(browser.get(self.URL))
        sheets = [reverse("admin:inventory_stocklevel_sheet", args=[main, n]) for n in range(4)]

        assert "MAIN, 1 of 2" in shown
        assert "MAIN, 2 of 2" in shown
        codes = [browser.get(sheet).status_code for sheet in sheets]
        assert codes == [404, 200, 200, 404]
        assert "PEAR" in text(browser.get(sheets[2]))

    def test_leads_to_its_movements(self, browser, apples):
        browser.post(
            self.URL, self.form_of(self.choose(browser, HEADER + "APPLE,EAST,5,receive,x\n"))
        )
        document = StockDocument.objects.get()

        shown = text(browser.get(page(document)))
        (link,) = re.findall(r'href="(/admin/inventory/stockmovement/\?[^"]+)"', shown)

        assert browser.get(link).context["cl"].result_count == 1


class TestRoles:
    """What each role of the shop may do to stock and prices: all that is here, and no more."""

    OF_A_LEVEL = {"receive", "adjust", "count", "transfer", "threshold"}
    OF_A_PRODUCT = {"receive", "schedule-price"}
    MAY = {
        "Support": (set(), set(), set(), set()),
        "Warehouse": (OF_A_LEVEL, {"receive"}, set(), {"file"}),
        "Finance": (set(), set(), set(), set()),
        "Catalogue": (set(), {"schedule-price"}, {"stop"}, set()),
        "Manager": (OF_A_LEVEL, OF_A_PRODUCT, {"stop"}, {"file"}),
    }

    @pytest.mark.parametrize("role", MAY)
    def test_may_do_exactly_this(self, client, apples, level, role):
        user = rows.make_customer(98, email="clerk@example.com", is_staff=True)
        user.groups.add(Group.objects.get(name=role))
        client.force_login(user)
        scheduled = ScheduledPrice.objects.create(
            product=apples, currency="USD", amount=15, starts_at=timezone.now() + timedelta(days=1)
        )

        def allowed(row, names):
            statuses = {name: client.get(page(row, "do", name)).status_code for name in names}
            assert set(statuses.values()) <= {200, 403}
            return {name for name, status in statuses.items() if status == 200}

        file_status = client.get(TestStockByFile.URL).status_code
        assert (
            allowed(level, self.OF_A_LEVEL),
            allowed(apples, self.OF_A_PRODUCT),
            allowed(scheduled, {"stop"}),
            {"file"} if file_status == 200 else set(),
        ) == self.MAY[role]

    def test_are_those_of_the_shop(self):
        assert set(self.MAY) == set(Group.objects.values_list("name", flat=True))


class TestPages:
    def test_of_a_level_asks_few_queries_however_much_has_moved(
        self, browser, apples, level, django_assert_max_num_queries
    ):
        for _ in range(60):
            documents.adjust(
                product_id=apples.pk, warehouse_id=level.warehouse_id, delta=1, reason="found"
            )

        with django_assert_max_num_queries(12):
            shown = text(browser.get(page(level)))

        assert shown.count("<td>Adjust</td>") == 50

    def test_leads_from_a_level_to_all_its_movements(self, browser, apples, level):
        (link,) = re.findall(
            r'href="(/admin/inventory/stockmovement/\?[^"]+)"', text(browser.get(page(level)))
        )

        assert browser.get(link).context["cl"].result_count == 1
