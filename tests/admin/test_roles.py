"""The roles: groups that hold exactly what the table says, and no way round a service."""

from __future__ import annotations

import importlib

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission
from django.urls import reverse

from audit.models import AuditLog
from orders import roles
from orders.models import Return
from tests.admin import rows
from tests.admin.test_pages import EDITABLE

pytestmark = pytest.mark.django_db

every_role = pytest.mark.parametrize("role", sorted(roles.ROLES))

# No form writes these, so no role may hold a permission that a form would ask for.
MOVED_BY_SERVICES = {
    *("orders.order", "orders.orderitem", "orders.shipment", "orders.return", "orders.invoice"),
    *("payments.payment", "payments.refund", "payments.ledgerentry", "payments.dispute"),
    *("inventory.stocklevel", "inventory.stockmovement", "inventory.reservation"),
    *("audit.auditlog", "audit.delivery", "audit.outboxmessage", "audit.receiver"),
    *("audit.auditseal", "audit.auditverification"),
}


def named(permissions):
    return {
        f"{app}.{codename}"
        for app, codename in permissions.values_list("content_type__app_label", "codename")
    }


def existing():
    return named(Permission.objects.all())


@pytest.fixture
def staff_of(client):
    """The browser of somebody who has this one role."""

    def log_in(role):
        number = 90 + sorted(roles.ROLES).index(role)
        user = rows.make_customer(number, email=f"{role.lower()}@example.com", is_staff=True)
        user.groups.add(Group.objects.get(name=role))
        client.force_login(user)
        return client

    return log_in


@every_role
def test_a_migrated_database_has_the_group_with_exactly_the_tables_permissions(role):
    held = named(Group.objects.get(name=role).permissions.all())

    assert held == roles.ROLES[role]


@every_role
def test_no_role_may_write_by_a_form_what_services_move(role):
    by_form = {
        f"{app}.{verb}_{model}"
        for app, _, model in (name.partition(".") for name in MOVED_BY_SERVICES)
        for verb in ("add", "change", "delete")
    }

    assert by_form <= existing()
    assert not roles.ROLES[role] & by_form


@every_role
def test_no_role_makes_staff_or_gives_rights(role):
    writes = {name for name in roles.ROLES[role] if ".view_" not in name}

    assert not {name for name in writes if name.startswith(("auth.", "mfa.", "account."))}
    assert "customers.add_customer" not in writes


def test_each_form_a_role_may_fill_in_is_one_that_exists():
    fillable = {label.lower() for label in EDITABLE} | {"inventory.scheduledprice"}
    for names in roles.ROLES.values():
        for name in names:
            app, codename = name.split(".")
            verb, model = codename.split("_", 1)
            if verb in {"add", "change", "delete"} and codename != "change_tier":
                assert f"{app}.{model}" in fillable, name


def test_every_permission_of_ours_beyond_djangos_is_held_by_some_role():
    ours = {
        f"{app}.{codename}"
        for app in ("customers", "inventory", "payments", "orders", "audit")
        for model in apps.get_app_config(app).get_models()
        for codename, _ in model._meta.permissions
    }

    of_superusers_alone = {"customers.reset_second_factor"}
    assert ours - set().union(*roles.ROLES.values()) == of_superusers_alone


def test_who_gives_money_back_and_who_says_so():
    def holders(name):
        return {role for role, names in roles.ROLES.items() if name in names}

    assert holders("orders.refund_order") == {"Support", "Finance", "Manager"}
    assert holders("orders.approve_refund") == {"Finance", "Manager"}
    assert holders("payments.give_back") == {"Finance", "Manager"}
    assert holders("payments.end_quarantine") == {"Finance", "Manager"}
    assert holders("orders.ship_order") == {"Warehouse", "Manager"}
    assert holders("customers.erase_customer") == {"Manager"}
    assert holders("customers.export_customer") == {"Manager"}
    assert holders("audit.view_auditlog") == {"Manager"}


class TestMakeRoles:
    def make(self):
        importlib.import_module("orders.migrations.0024_roles").make(apps, None)

    def test_mends_the_roles_and_leaves_other_groups_alone(self):
        support = Group.objects.get(name=roles.SUPPORT)
        before = named(support.permissions.all())
        support.permissions.set(Permission.objects.filter(codename="change_order"))
        Group.objects.get(name=roles.MANAGER).delete()
        packers = Group.objects.create(name="Packers")
        packers.permissions.set(Permission.objects.filter(codename="ship_order"))

        self.make()
        self.make()

        assert named(support.permissions.all()) == before
        assert Group.objects.filter(name=roles.MANAGER).count() == 1
        assert named(packers.permissions.all()) == {"orders.ship_order"}

    def test_makes_permissions_that_are_not_there_yet(self):
        Permission.objects.filter(codename="ship_order").delete()

        self.make()

        assert "orders.ship_order" in named(
            Group.objects.get(name=roles.WAREHOUSE).permissions.all()
        )

    def test_refuses_a_permission_that_does_not_exist(self, monkeypatch):
        monkeypatch.setitem(roles.ROLES, "Pilot", frozenset({"orders.fly_order"}))

        with pytest.raises(LookupError, match=r"orders\.fly_order"):
            self.make()


def story_of(page):
    return " ".join(f"{one.title} {one.detail}" for one, _ in page.context["history"])


class TestInTheAdmin:
    @pytest.mark.parametrize(
        ("role", "buttons"),
        [
            (
                "Support",
                {"settle", "refund", "cancel", "note", "resend_letter", "retry_deliveries"}
                | {"labels"},
            ),
            ("Warehouse", {"process", "packing_slip", "ship", "note", "labels"}),
            ("Finance", {"settle", "refund", "note"}),
            (
                "Manager",
                {"settle", "refund", "cancel", "note", "resend_letter", "retry_deliveries"}
                | {"process", "packing_slip", "ship", "labels"},
            ),
        ],
    )
    def test_an_orders_buttons_are_those_of_the_role(self, staff_of, role, buttons):
        order = rows.make_everything(1).order

        page = staff_of(role).get(reverse("admin:orders_order_change", args=[order.pk]))

        assert {button.name for button in page.context["buttons"]} == buttons

    @pytest.mark.parametrize(
        ("role", "buttons"),
        [
            ("Support", {"accept", "refuse", "refund"}),
            ("Warehouse", {"receive"}),
            ("Finance", {"refund"}),
        ],
    )
    def test_a_returns_buttons_are_those_of_the_role(self, staff_of, role, buttons):
        rows.make_everything(1)
        wish = Return.objects.get()
        clerk = staff_of(role)

        offered = set()
        for status in ("requested", "accepted", "received"):
            Return.objects.update(status=status)
            page = clerk.get(reverse("admin:orders_return_change", args=[wish.pk]))
            offered |= {button.name for button in page.context["buttons"]}

        assert offered == buttons

    def test_the_warehouse_reads_neither_money_nor_letters(self, staff_of):
        order = rows.make_everything(1).order

        page = staff_of("Warehouse").get(reverse("admin:orders_order_change", args=[order.pk]))

        text = page.content.decode()
        assert "Captured" not in text
        assert f"Order {order.order_number} confirmed" not in text
        assert f"<br>{order.customer.email}" not in text  # as a note's author it stands there
        assert {one.kind for one, _ in page.context["history"]} == {
            "order",
            "parcel",
            "return",
            "note",
        }

    def test_the_warehouse_reads_no_address_of_a_buyer_in_lists(self, staff_of):
        order = rows.make_everything(1).order
        clerk = staff_of("Warehouse")

        listed = clerk.get(reverse("admin:orders_order_changelist")).content.decode()
        found = clerk.get("/admin/search/", {"s": order.order_number}).content.decode()

        for page in (listed, found):
            assert order.order_number in page
            assert order.customer.email not in page
        assert (
            order.customer.email
            in staff_of("Support").get(reverse("admin:orders_order_changelist")).content.decode()
        )

    def test_the_warehouse_reads_nothing_of_money_in_an_orders_story(self, staff_of):
        order = rows.make_everything(1).order
        about = {"entity_type": "order", "entity_id": order.pk}
        asked = {"action": "refund", "asked": {"seen_amount": "77.77"}}
        for event_type, data in (
            ("REFUND_PROPOSED", {"amount": "77.77"}),
            ("QUARANTINE_ENDED", {"given_back_minor": 7777}),
            ("PAYMENT_QUARANTINED", {"amount": "77.77"}),
            ("STAFF_ACTION_ASKED", asked),
        ):
            AuditLog.objects.create(event_type=event_type, data=data, **about)
        url = reverse("admin:orders_order_change", args=[order.pk])

        assert "77" not in story_of(staff_of("Warehouse").get(url))
        assert story_of(staff_of("Finance").get(url)).count("77") >= 4

    @pytest.mark.parametrize(("role", "is_there"), [("Manager", True), ("Support", False)])
    def test_the_way_to_the_log_is_for_who_may_read_it(self, staff_of, role, is_there):
        order = rows.make_everything(1).order

        page = staff_of(role).get(reverse("admin:orders_order_change", args=[order.pk]))

        history = reverse("admin:orders_order_history", args=[order.pk])
        assert (f'href="{history}"' in page.content.decode()) is is_there

    def test_catalogue_sees_no_orders(self, staff_of):
        page = staff_of("Catalogue").get(reverse("admin:orders_order_changelist"))

        assert page.status_code == 403

    def test_a_customers_status_and_tier_are_in_no_form(self, staff_of):
        customer = rows.make_customer(1)

        page = staff_of("Manager").get(
            reverse("admin:customers_customer_change", args=[customer.pk])
        )

        particulars = {
            *("first_name", "last_name", "phone", "date_of_birth", "language"),
            "marketing_consent",
        }
        assert set(page.context["adminform"].form.fields) == particulars
