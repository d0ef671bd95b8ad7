import pytest

from tests import factories
from tests.browser import watched


@pytest.fixture
def page(chromium, live_server, shop, provider, settings, tmp_path):
    settings.PUBLIC_URL = live_server.url
    settings.ERASURE_JOURNAL = str(tmp_path / "erasures.jsonl")
    settings.MAIL_DIR = tmp_path / "mail"
    factories.ProductFactory(sku="MILK-1", name="Fresh Milk", price="1.85")
    factories.ProductFactory(sku="BREAD-1", name="Rye <b>Bread</b>", price="3.20")
    with watched(chromium, base_url=live_server.url, may_be_refused=True) as page:
        yield page
