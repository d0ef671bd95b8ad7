"""`import_stock`: a file once, all of it or nothing."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from inventory.models import StockDocument, StockLevel
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

HEAD = "sku,warehouse,quantity,mode,reason"


@pytest.fixture
def file(tmp_path):
    """Writes lines into a file, and says where it is."""
    factories.ProductFactory(sku="MUG", on_hand=5)
    factories.ProductFactory(sku="POT", on_hand=2)

    def write(*lines):
        path = tmp_path / "stock.csv"
        path.write_text("\r\n".join([HEAD, *lines]))
        return str(path)

    return write


def on_hand():
    return dict(StockLevel.objects.values_list("product__sku", "on_hand"))


def test_applies_a_file_once(file, capsys):
    path = file("MUG,MAIN,7,count,counted", "POT,MAIN,2,count,counted")

    for _ in range(2):
        call_command("import_stock", path, reason="count")

    assert on_hand() == {"MUG": 7, "POT": 2}
    assert StockDocument.objects.count() == 1
    assert "2 lines, 1 of them changed" in capsys.readouterr().out


def test_applies_it_again_under_another_key(file):
    path = file("MUG,MAIN,1,receive,came")

    for key in ("monday", "tuesday"):
        call_command("import_stock", path, reason="delivery", key=key)

    assert on_hand()["MUG"] == 7


def test_tells_every_bad_line_and_changes_nothing(file, capsys):
    path = file("MUG,MAIN,7,count,counted", "NONE,MAIN,1,count,counted", "POT,MAIN,x,count,c")

    with pytest.raises(CommandError, match="nothing was changed"):
        call_command("import_stock", path, reason="count")

    said = capsys.readouterr().err
    assert "line 3: sku" in said
    assert "line 4: quantity" in said
    assert on_hand() == {"MUG": 5, "POT": 2}


def test_breaks_no_promise(file):
    StockLevel.objects.filter(product__sku="MUG").update(allocated=3)

    with pytest.raises(CommandError, match="3 are promised"):
        call_command("import_stock", file("MUG,MAIN,2,count,counted"), reason="count")

    assert on_hand()["MUG"] == 5


@pytest.mark.parametrize("content", [b"", b"a,b\r\n1,2", "é".encode("latin-1")])
def test_refuses_what_is_no_such_file(file, tmp_path, content):
    path = tmp_path / "other.csv"
    path.write_bytes(content)

    with pytest.raises(CommandError):
        call_command("import_stock", str(path), reason="count")
