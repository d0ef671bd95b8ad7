"""The tree of categories: the database keeps it true, whoever moves a shelf."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, connection

from inventory.models import Category
from tests import factories

pytestmark = pytest.mark.django_db


def path_of(slug):
    return Category.objects.get(slug=slug).path


@pytest.fixture
def tree():
    """food → fruit → berries, and home."""
    food = factories.CategoryFactory(slug="food", name="Food")
    fruit = factories.CategoryFactory(slug="fruit", name="Fruit", parent=food)
    factories.CategoryFactory(slug="berries", name="Berries", parent=fruit)
    factories.CategoryFactory(slug="home", name="Home")


@pytest.mark.usefixtures("tree")
class TestThePath:
    def test_leads_from_the_root_to_the_shelf(self):
        assert path_of("food") == ["food"]
        assert path_of("berries") == ["food", "fruit", "berries"]

    def test_is_known_as_soon_as_the_row_is_made(self):
        fruit = Category.objects.get(slug="fruit")

        assert Category.objects.create(slug="kiwi", name="Kiwi", parent=fruit).path == [
            *("food", "fruit", "kiwi")
        ]

    def test_follows_a_shelf_that_is_moved_with_all_below_it(self):
        home = Category.objects.get(slug="home")

        Category.objects.filter(slug="fruit").update(parent=home)

        assert path_of("fruit") == ["home", "fruit"]
        assert path_of("berries") == ["home", "fruit", "berries"]
        assert path_of("food") == ["food"]

    def test_follows_a_new_name_in_the_url(self):
        Category.objects.filter(slug="food").update(slug="groceries")

        assert path_of("berries") == ["groceries", "fruit", "berries"]

    def test_cannot_be_written_by_hand(self):
        Category.objects.filter(slug="berries").update(path=["wrong"])

        assert path_of("berries") == ["food", "fruit", "berries"]


@pytest.mark.usefixtures("tree")
class TestStaff:
    def test_are_told_why_a_shelf_cannot_lie_below_itself(self):
        food, berries = (Category.objects.get(slug=slug) for slug in ("food", "berries"))
        food.parent = berries

        with pytest.raises(ValidationError, match="below itself"):
            food.full_clean()

    def test_are_told_how_deep_the_tree_may_be(self):
        lowest = Category.objects.get(slug="berries")
        for number in range(2):
            lowest = factories.CategoryFactory(slug=f"l{number}", name="L", parent=lowest)

        with pytest.raises(ValidationError, match="At most 5 levels"):
            Category(slug="l2", name="L", parent=lowest).full_clean()


@pytest.mark.concurrency
@pytest.mark.django_db(transaction=True)
def test_two_that_are_put_below_each_other_at_once_do_not_make_a_circle():
    first = factories.CategoryFactory(slug="first", name="First")
    second = factories.CategoryFactory(slug="second", name="Second")
    together = threading.Barrier(2)

    def move(slug, parent):
        together.wait(timeout=10)
        try:
            Category.objects.filter(slug=slug).update(parent=parent)
        except DatabaseError:
            return "refused"
        else:
            return "moved"
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        outcomes = [pool.submit(move, "first", second), pool.submit(move, "second", first)]
        assert sorted(outcome.result(timeout=30) for outcome in outcomes) == ["moved", "refused"]

    assert Category.objects.filter(parent=None).count() == 1
