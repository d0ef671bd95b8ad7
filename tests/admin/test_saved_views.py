"""Lists as staff have filtered them: kept, opened again, shared; without what was searched for."""

import pytest
from django.contrib.auth.models import Permission

from audit.models import AuditLog
from config.staff import saved_views
from customers.models import SavedView
from tests.admin import rows

pytestmark = pytest.mark.django_db
ORDERS = "/admin/orders/order/"


@pytest.fixture
def clerk(client):
    clerk = rows.make_customer(7)
    type(clerk).objects.filter(pk=clerk.pk).update(is_staff=True)
    clerk.user_permissions.add(
        Permission.objects.get(codename="view_order", content_type__app_label="orders")
    )
    return clerk


def keep(client, query="status__exact=pending", name="To call", page="orders.order", **fields):
    data = {"page": page, "name": name, "query": query, **fields}
    return client.post("/admin/views/save/", data, follow=True)


def test_a_filtered_list_can_be_kept_and_opened_again(browser):
    answer = keep(browser)

    assert answer.request["QUERY_STRING"] == "status__exact=pending"
    page = browser.get(ORDERS).content.decode()
    assert 'href="?status__exact=pending"' in page
    assert "To call" in page


def test_what_was_searched_for_is_not_kept(browser):
    keep(browser, query="status__exact=pending&q=ann%40example.com&p=3")

    assert SavedView.objects.get().query == "status__exact=pending"


@pytest.mark.parametrize("query", ["", "q=ann%40example.com", "p=2", "&&&"])
def test_an_unfiltered_list_is_not_kept(browser, query):
    assert "nothing is filtered" in keep(browser, query=query).content.decode()
    assert not SavedView.objects.exists()


def test_the_same_name_again_takes_its_place(browser):
    keep(browser)
    keep(browser, query="status__exact=shipped")

    assert SavedView.objects.get().query == "status__exact=shipped"


def test_others_see_what_is_shared(browser, clerk, client):
    keep(browser, name="Mine")
    keep(browser, name="Ours", is_shared="on")
    client.force_login(clerk)

    page = client.get(ORDERS).content.decode()

    assert "Ours" in page
    assert "Mine" not in page


def test_others_cannot_delete_what_is_shared(browser, clerk, client):
    keep(browser, is_shared="on")
    client.force_login(clerk)

    view = SavedView.objects.get()
    assert client.post(f"/admin/views/{view.pk}/delete/").status_code == 404
    assert SavedView.objects.exists()


def test_ones_own_can_be_deleted(browser):
    keep(browser)

    browser.post(f"/admin/views/{SavedView.objects.get().pk}/delete/")

    assert not SavedView.objects.exists()
    assert list(
        AuditLog.objects.filter(entity_type="saved_view").values_list("event_type", flat=True)
    ) == ["VIEW_SAVED", "VIEW_DELETED"]


def test_of_a_list_that_one_may_not_read(clerk, client):
    client.force_login(clerk)

    assert keep(client, page="payments.payment").status_code == 403
    assert keep(client, page="orders.nothing").status_code == 404
    assert not SavedView.objects.exists()


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("", "a=1"),
        (" ", "a=1"),
        ("x" * 61, "a=1"),
        ("x", "status__exact=" + "1" * 1_001),
        ("x", "a" * 2_001),
    ],
)
def test_bad_input_keeps_nothing(browser, name, query):
    assert "Not kept" in keep(browser, name=name, query=query).content.decode()
    assert not SavedView.objects.exists()


def test_there_is_a_limit(browser, monkeypatch):
    monkeypatch.setattr(saved_views, "MOST", 2)
    for name in "abc":
        answer = keep(browser, name=name)

    assert "at most 2" in answer.content.decode()
    assert SavedView.objects.count() == 2


def test_by_get_nothing_is_kept(browser):
    assert browser.get("/admin/views/save/").status_code == 405


def test_names_and_filters_are_only_text(browser):
    keep(browser, name="<b>x</b>", query='status__exact="><script>alert(1)</script>')

    page = browser.get(ORDERS).content.decode()
    assert "<b>x</b>" not in page
    assert "<script>alert" not in page
