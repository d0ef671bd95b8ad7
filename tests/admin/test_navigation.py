"""What stands beside every page: all there is, and for each person what they may open."""

import re

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Permission

from config.staff.navigation import FIRST, NAVIGATION, WITHOUT_AN_ENTRY
from tests.admin import rows

pytestmark = pytest.mark.django_db

MODELS = [entry.model for _, entries in NAVIGATION for entry in entries]


def lines_of(page):
    return re.findall(r'<a href="([^"]+)" class="flex h-\[38px\]', page.content.decode())


def test_every_list_has_an_entry_or_a_reason():
    there = {model._meta.label_lower for model in admin.site._registry}

    assert there == set(MODELS) | WITHOUT_AN_ENTRY
    assert not set(MODELS) & WITHOUT_AN_ENTRY


@pytest.mark.django_db(transaction=True)  # reports are read in snapshots of their own
def test_every_entry_opens(browser):
    links = lines_of(browser.get("/admin/"))

    assert len(links) == len(FIRST) + len(MODELS)
    assert {browser.get(link).status_code for link in links} == {200}


def test_shows_what_may_be_opened_and_no_more(client):
    clerk = rows.make_customer(1)
    type(clerk).objects.filter(pk=clerk.pk).update(is_staff=True)
    clerk.user_permissions.add(
        Permission.objects.get(codename="view_order", content_type__app_label="orders")
    )
    client.force_login(clerk)

    assert lines_of(client.get("/admin/")) == [
        *("/admin/", "/admin/stuck/", "/admin/jobs/"),
        "/admin/orders/order/",
    ]


def test_names_models_that_exist():
    for name in [*MODELS, *WITHOUT_AN_ENTRY]:
        assert apps.get_model(name)
