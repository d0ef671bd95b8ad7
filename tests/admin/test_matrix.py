"""Every role × everything that staff may do: the table below is written apart from the rights.

Actions are collected from the site: a new one is red here until it has its line. Whoever may not
sees no button, opens no page, and changes nothing by sending its form all the same.
"""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.contrib import admin
from django.contrib.auth.models import AnonymousUser, Group, Permission
from django.test import Client
from django.urls import reverse

from audit.models import AuditLog
from audit.staff_actions import ActionsAdmin
from customers.models import SavedView
from inventory.models import Warehouse
from orders import roles
from orders.models import BackgroundJob
from orders.transfer.exports import EXPORTS
from orders.transfer.imports import IMPORTS
from tests.admin import rows

pytestmark = pytest.mark.django_db

S, W, F, C, M = roles.SUPPORT, roles.WAREHOUSE, roles.FINANCE, roles.CATALOGUE, roles.MANAGER
NOBODY: frozenset[str] = frozenset()
ALL_STAFF = {S, W, F, C, M, "no role"}

# Which roles have it; superusers have all, staff without a role and customers none.
ACTIONS = {
    "audit.auditlog": {"seal": {M}},
    "audit.auditverification": {"verify": {M}},
    "audit.delivery": {"retry": {S, M}, "send-again": {M}},
    "audit.receiver": {"pause": {M}, "resume": {M}, "retry": {S, M}},
    "customers.customer": {
        "note": {S, M},
        "log_out": {S, M},
        "tier": {M},
        "suspend": {M},
        "reactivate": {M},
        "export": {M},
        "erase": {M},
        "reset-second-factor": NOBODY,
    },
    "integrations.shippinglabel": {"find_out": {W, M}, "send": {W, M}, "discard": {W, M}},
    "customers.emailsuppression": {"lift": {S, M}},
    "integrations.webhookendpoint": {
        "new-secret": {M},
        "test": {M},
        "enable": {M},
        "disable": {M},
        "replay": {M},
    },
    "inventory.product": {"receive": {W, M}, "schedule-price": {C, M}},
    "inventory.scheduledprice": {"stop": {C, M}},
    "inventory.stocklevel": {
        "receive": {W, M},
        "adjust": {W, M},
        "count": {W, M},
        "transfer": {W, M},
        "threshold": {W, M},
    },
    "orders.order": {
        "settle": {S, F, M},
        "end_quarantine": {F, M},
        "process": {W, M},
        "packing_slip": {W, M},
        "buy_label": {W, M},
        "ship": {W, M},
        "deliver": {W, M},
        "refund": {S, F, M},
        "cancel": {S, M},
        "note": {S, W, F, M},
        "resend_letter": {S, M},
        "retry_deliveries": {S, M},
    },
    "orders.shipment": {"packing_slip": {W, M}},
    "orders.paymentlink": {"send": {S, M}, "withdraw": {S, M}},
    "orders.refundproposal": {"approve": {F, M}, "refuse": {F, M}, "withdraw": {S, F, M}},
    "orders.return": {
        "accept": {S, M},
        "refuse": {S, M},
        "receive": {W, M},
        "refund": {S, F, M},
    },
    "payments.providerevent": {"work_off": {F, M}},
    "payments.reconciliationcase": {"give_back": {F, M}},
}
PAGES = {
    "index": ALL_STAFF,
    "stuck": ALL_STAFF,
    "jobs": ALL_STAFF,
    "search": ALL_STAFF,
    "sessions": ALL_STAFF,
    "password_change": ALL_STAFF,
    "recovery_codes": ALL_STAFF,
    "stock by file": {W, M},
    "count sheet": {W, M},
    "coupon effect": {S, C, M},
    "how letters look": {S, M},
    "phone order": {S, M},
    "import products": {C, M},
    "import categories": {C, M},
    "import coupons": {C, M},
    "export orders": {F, M},
    "export order_lines": {F, M},
    "export customers": {M},
    "export products": {C, M},
    "export categories": {C, M},
    "export stock_levels": {W, C, M},
    "export stock_movements": {W, C, M},
    "export coupons": {C, M},
    "export ledger": {F, M},
    "report_revenue": {F, M},
    "report_tax": {F, M},
    "report_audit": {M},
}
REPORTS = ("report_revenue", "report_tax", "report_audit")
BULK = {
    "orders.order": {"print_packing_slips": {W, M}},
    "audit.delivery": {"retry_now": {S, M}},
    "payments.providerevent": {"work_off_again": {F, M}},
}
STRANGERS = ("anonymous", "customer")
EVERY_ROLE = (*sorted(roles.ROLES), "no role")

SITE = {
    model._meta.label_lower: page
    for model, page in admin.site._registry.items()
    if isinstance(page, ActionsAdmin)
}


@pytest.fixture
def shop():
    return rows.make_everything(1)


def browser_of(who):
    """A browser, and in `person` somebody new of that kind, who is logged in with it."""
    browser = Client()
    if who == "anonymous":
        browser.person = AnonymousUser()
        return browser
    browser.person = rows.make_customer(
        80, is_staff=who not in STRANGERS, is_superuser=who == "superuser"
    )
    if who in roles.ROLES:
        browser.person.groups.add(Group.objects.get(name=who))
    browser.force_login(browser.person)
    return browser


def has(who, may):
    """Whether somebody of that kind has what the table gives to these roles."""
    return who == "superuser" or who in may


def status(who, may):
    """What they are answered."""
    if who in STRANGERS:
        return 302
    return 200 if has(who, may) else 403


def row_of(label):
    return SITE[label].model._default_manager.order_by("pk").first()


def url_of(row, page, *args):
    opts = row._meta
    return reverse(f"admin:{opts.app_label}_{opts.model_name}_{page}", args=[row.pk, *args])


def everything_of(row):
    return type(row)._default_manager.filter(pk=row.pk).values().get()


def pages(shop):
    """Where each page of its own is."""
    return {
        **{name: reverse(f"admin:{name}") for name in list(PAGES)[:7]},
        "stock by file": reverse("admin:inventory_stocklevel_file"),
        "count sheet": reverse(
            "admin:inventory_stocklevel_sheet", args=[Warehouse.objects.get().pk, 1]
        ),
        "how letters look": reverse("admin:letter_preview"),
        "coupon effect": reverse("admin:orders_coupon_effect", args=[shop.coupon.pk]),
        "phone order": reverse("admin:orders_paymentlink_add"),
        **{name: reverse(f"admin:{name}") for name in REPORTS},
        **{
            name: reverse(f"admin:{verb}", args=[subject])
            for name in PAGES
            for verb, _, subject in [name.partition(" ")]
            if verb in {"import", "export"}
        },
    }


def presses():
    """What the log has of buttons."""
    return AuditLog.objects.filter(event_type__startswith="STAFF_ACTION").count()


def test_every_button_of_the_site_has_its_line_and_no_line_is_without_one():
    site = {label: {action.name for action in page.staff_actions} for label, page in SITE.items()}

    assert {label: set(names) for label, names in ACTIONS.items()} == {
        label: names for label, names in site.items() if names
    }


def test_the_table_says_what_the_roles_and_the_actions_say():
    for label, page in SITE.items():
        app, model = label.split(".")
        for action in page.staff_actions:
            may = {
                role
                for role, names in roles.ROLES.items()
                if {action.permission, f"{app}.view_{model}"} <= names
            }
            assert ACTIONS[label][action.name] == may, (label, action.name)


def test_every_list_of_bulk_actions_has_its_line():
    site = {label: set(page.actions) for label, page in SITE.items() if page.actions}

    assert {label: set(names) for label, names in BULK.items()} == site


def test_every_export_and_import_has_its_line():
    there = {f"export {name}" for name in EXPORTS} | {f"import {name}" for name in IMPORTS}
    assert there == {name for name in PAGES if name.startswith(("export ", "import "))}


@pytest.mark.parametrize("who", [*EVERY_ROLE, "superuser", *STRANGERS])
class TestEverybody:
    def test_sees_the_buttons_of_the_table(self, who, shop, rf):
        request = rf.get("/")
        request.user = browser_of(who).person
        for label, names in ACTIONS.items():
            row = row_of(label)
            offered = {
                action.name for action in SITE[label].staff_actions if action.is_offered(row)
            }

            shown = {button.name for button in SITE[label].buttons(request, row)}

            assert shown & set(names) == {name for name in offered if has(who, names[name])}, label

    def test_opens_the_forms_of_the_table(self, who, shop):
        browser = browser_of(who)
        for label, names in ACTIONS.items():
            row = row_of(label)
            opened = {name: browser.get(url_of(row, "do", name)).status_code for name in names}
            assert opened == {name: status(who, may) for name, may in names.items()}, label

        assert presses() == 0  # looking is free

    def test_changes_nothing_by_sending_what_is_not_theirs(self, who, shop):
        browser = browser_of(who)
        for label, names in ACTIONS.items():
            row = row_of(label)
            before = everything_of(row)
            for name, may in names.items():
                if not has(who, may):
                    sent = browser.post(url_of(row, "do", name), {"request_key": uuid4()})
                    assert sent.status_code == status(who, may), (label, name)
            assert everything_of(row) == before, label

        assert presses() == 0

    def test_opens_the_pages_of_the_table(self, who, shop):
        browser = browser_of(who)

        opened = {
            name: browser.get(url).status_code
            for name, url in pages(shop).items()
            if name not in REPORTS
        }

        assert opened == {
            name: status(who, may) for name, may in PAGES.items() if name not in REPORTS
        }

    @pytest.mark.django_db(transaction=True)  # they are read in snapshots of their own
    def test_opens_the_reports_of_the_table(self, who):
        browser = browser_of(who)

        opened = {name: browser.get(reverse(f"admin:{name}")).status_code for name in REPORTS}

        assert opened == {name: status(who, PAGES[name]) for name in REPORTS}

    def test_sends_no_form_of_a_page_that_is_not_theirs(self, who, shop):
        browser = browser_of(who)
        before = BackgroundJob.objects.count()
        urls = pages(shop)
        for name, may in PAGES.items():
            if not has(who, may):
                sent = browser.post(urls[name], {"request_key": uuid4(), "file_format": "csv"})
                assert sent.status_code == status(who, may), name

        assert BackgroundJob.objects.count() == before

    def test_retries_many_at_once_as_the_table_says(self, who, shop):
        browser = browser_of(who)
        for label, names in BULK.items():
            row = row_of(label)
            opts = row._meta
            url = reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist")
            for name, may in names.items():
                before = AuditLog.objects.count()
                browser.post(url, {"action": name, "_selected_action": [row.pk]})
                assert (AuditLog.objects.count() > before) is has(who, may), (label, name)

    def test_keeps_views_of_lists_that_they_may_read(self, who, shop):
        reads = {role for role, names in roles.ROLES.items() if "orders.view_coupon" in names}
        said = {"page": "orders.coupon", "name": "Live", "query": "is_active__exact=1"}

        answer = browser_of(who).post(reverse("admin:view_save"), said)

        assert SavedView.objects.count() == has(who, reads)
        assert answer.status_code == (302 if has(who, reads) else status(who, reads))


@pytest.mark.parametrize("who", [*EVERY_ROLE, *STRANGERS])
def test_nobody_touches_a_job_or_a_view_of_somebody_else(who, shop):
    browser = browser_of(who)
    theirs = BackgroundJob.objects.get()
    view = SavedView.objects.create(
        owner=shop.customer, page="orders.coupon", name="x", query="a=b"
    )
    before = everything_of(theirs)

    answered = {
        browser.get(reverse(f"admin:{name}", args=[theirs.pk])).status_code
        for name in ("job", "job_state", "job_download")
    } | {
        browser.post(reverse(f"admin:{name}", args=[row.pk])).status_code
        for name, row in {
            "job_confirm": theirs,
            "job_cancel": theirs,
            "view_delete": view,
        }.items()
    }

    assert answered == {302 if who in STRANGERS else 404}
    assert everything_of(theirs) == before
    assert SavedView.objects.filter(pk=view.pk).exists()


def test_a_right_to_act_opens_nothing_without_the_right_to_look(shop):
    browser = browser_of("no role")
    to_act = Permission.objects.exclude(codename__startswith="view_")
    # Django lets whoever may change a row look at it.
    browser.person.user_permissions.set(to_act.exclude(codename__startswith="change_"))

    for label, names in ACTIONS.items():
        row = row_of(label)
        for name in names:
            sent = browser.post(url_of(row, "do", name), {"request_key": uuid4()})
            assert sent.status_code == 403, (label, name)
    assert presses() == 0
