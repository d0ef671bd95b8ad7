"""Staff at their desks: each a browser that has never been here, logged in, and watched."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import Group
from django.test import Client

from tests import factories
from tests.admin import rows
from tests.browser import watched

if TYPE_CHECKING:
    from playwright.sync_api import Page


class Desk(Protocol):
    """Makes the page of somebody with a role, or, without one, of a superuser."""

    def __call__(self, role: str = "", **options: Any) -> Page: ...


def colleague(role: str = "") -> Any:
    """Somebody who works here: in this role alone, or, without one, a superuser."""
    name = role or "Boss"
    who: Any = factories.CustomerFactory(
        email=f"{name.lower()}@example.com",
        first_name="Sam",
        last_name=name,
        is_staff=True,
        is_superuser=not role,
    )
    if role:
        who.groups.add(Group.objects.get(name=role))
    return who


@pytest.fixture
def everything(transactional_db):
    """A row in every table of the admin. Groups outlive a test, so theirs goes again."""
    roles = Group.objects.in_bulk()
    yield rows.make_everything(1)
    Group.objects.exclude(pk__in=roles).delete()


@pytest.fixture
def desk(chromium, live_server, shop, provider):
    """Whatever a browser complains of fails the test, when the test is over."""
    with ExitStack() as open_pages:

        def sit_down(role: str = "", **options: Any) -> Page:
            client = Client()
            client.force_login(colleague(role))
            session = client.cookies[django_settings.SESSION_COOKIE_NAME].value
            page: Page = open_pages.enter_context(
                watched(chromium, base_url=live_server.url, **options)
            )
            name = django_settings.SESSION_COOKIE_NAME
            page.context.add_cookies([{"name": name, "value": session, "url": live_server.url}])
            return page

        yield sit_down


@pytest.fixture
def page(desk):
    """A superuser's."""
    return desk()
