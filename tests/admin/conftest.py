import pytest

from customers.models import Customer


@pytest.fixture
def superuser(db):
    return Customer.objects.create_superuser(
        "boss@example.com", None, first_name="The", last_name="Boss"
    )


@pytest.fixture
def browser(client, superuser):
    client.force_login(superuser)
    return client
