"""What the API refuses to read, and what it makes of what it reads."""

import json
import time
from decimal import Decimal

import pytest
from rest_framework import serializers

from config.kernel.api.parsers import canonical_fingerprint, is_utf8_json, parse_object
from config.kernel.api.serializers import (
    CountryField,
    CurrencyField,
    MoneyField,
    StrictBooleanField,
    StrictCharField,
    StrictDateField,
    StrictEmailField,
    StrictIntegerField,
    StrictSerializer,
)
from config.kernel.api.text import looks_like_card_number, problem_with
from config.kernel.errors import ValidationFailedError

CARD = "4242424242424242"


def refused(body):
    with pytest.raises(ValidationFailedError) as caught:
        parse_object(body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass"))
    assert CARD not in json.dumps(caught.value.details)
    return caught.value.details


class TestParseObject:
    def test_reads_an_object(self):
        assert parse_object('{"a": [1, 2.5, true, null, "é"]}'.encode()) == {
            "a": [1, 2.5, True, None, "é"]
        }

    @pytest.mark.parametrize(
        "body",
        [
            "",
            "{",
            "[]",
            '"text"',
            "1",
            "null",
            '{"a": NaN}',
            '{"a": Infinity}',
            '{"a": -Infinity}',
            '{"a": 1} trailing',
            "\ufeff{}",
            '{"a": 01}',
            "{'a': 1}",
            '{"a": 1,}',
            '{"a": "\n"}',
            "[" * 100_000,
            '{"a":' * 20_000,
            '{"a": ' + "[" * 33 + "]" * 33 + "}",
            '{"a": ' + '{"a": ' * 40 + "1" + "}" * 41,
        ],
    )
    def test_refuses_what_is_not_one_json_object(self, body):
        assert refused(body)

    def test_refuses_other_encodings(self):
        for encoding in ("utf-16", "utf-16-le", "utf-32", "utf-7", "latin-1"):
            assert refused('{"a": "é+"}'.encode(encoding) + b"\xff")

    def test_reads_thirty_two_levels(self):
        nested = '{"a": ' + "[" * 31 + "]" * 31 + "}"

        assert parse_object(nested.encode())

    def test_names_a_repeated_key_where_it_stands(self):
        assert refused('{"sku": 1, "sku": 2}') == {"sku": ["This field is given more than once."]}
        assert refused('{"items": [{}, {"sku": 1, "sku": 1}]}') == {
            "items": [{}, {"sku": ["This field is given more than once."]}]
        }

    @pytest.mark.parametrize("bad", ["\\u0000", "\\ud800", "\\u001b", "\\u202e", "\\u0085", "\\r"])
    def test_names_the_field_with_unacceptable_text(self, bad):
        assert set(refused(f'{{"notes": "a{bad}b"}}')) == {"notes"}
        assert refused(f'{{"a": {{"b": ["x", "{bad}"]}}}}')["a"]["b"][0] == {}
        assert refused(f'{{"a{bad}": 1}}').keys() == {"non_field_errors"}

    def test_lets_lines_into_notes_alone(self):
        assert parse_object(b'{"notes": "a\\n\\tb"}') == {"notes": "a\n\tb"}
        assert set(refused('{"name": "a\\nb"}')) == {"name"}

    @pytest.mark.parametrize(
        "text", [CARD, "4242 4242 4242 4242", "4242-4242-4242-4242", f"my card {CARD} 12/28"]
    )
    def test_names_the_field_with_a_card_number_and_never_repeats_it(self, text):
        assert set(refused(json.dumps({"notes": text}))) == {"notes"}
        assert set(refused(json.dumps({"address": {"line1": text}}))) == {"address"}
        assert set(refused(json.dumps({text: 1}))) == {"non_field_errors"}

    def test_survives_numbers_of_five_thousand_digits(self):
        parsed = parse_object(b'{"a": ' + b"9" * 5_000 + b', "b": 1e400}')

        assert parsed == {"a": float("inf"), "b": float("inf")}

    def test_reads_a_large_body_quickly_enough_to_refuse_it(self):
        many_keys = "{" + ",".join(f'"k{n}": "\\u0000"' for n in range(15_000)) + "}"

        assert len(refused(many_keys)) <= 20

    def test_leaves_passwords_alone_where_told(self):
        body = json.dumps({"password": CARD, "email": CARD}).encode()

        with pytest.raises(ValidationFailedError) as caught:
            parse_object(body, free_text_fields=frozenset({"password"}))

        assert set(caught.value.details) == {"email"}


class TestIsUtf8Json:
    @pytest.mark.parametrize(
        "header",
        [
            "application/json",
            "application/json; charset=utf-8",
            'application/json; charset="UTF-8"',
            "Application/JSON;charset=utf8",
        ],
    )
    def test_accepts(self, header):
        assert is_utf8_json(header)

    @pytest.mark.parametrize(
        "header",
        [
            "",
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/xml",
            "application/json; charset=utf-7",
            "application/json; charset=latin-1",
            "application/jsonp",
        ],
    )
    def test_refuses(self, header):
        assert not is_utf8_json(header)


class TestCardNumbers:
    @pytest.mark.parametrize(
        "text",
        [
            "4242424242424242",
            "5555 5555 5555 4444",
            "378282246310005",
            "3782-822463-10005",
            "6011 0009 9013 9424 exp 12 28",
            "4242 4242 4242 4242 12 28 123",
            "４２４２４２４２４２４２４２４２",  # noqa: RUF001 - full-width digits are what is tested
            "4222222222222",
        ],
    )
    def test_are_recognised(self, text):
        assert looks_like_card_number(text)

    @pytest.mark.parametrize(
        "text",
        [
            "4242424242424241",
            "424242424242",
            "12345678901234567890123",
            "2026-11-22 12:00",
            "pm_card_visa",
            "",
            "4242.4242.4242.4242",
        ],
    )
    def test_are_not_seen_elsewhere(self, text):
        assert not looks_like_card_number(text)

    @pytest.mark.parametrize(
        ("text", "is_refused"),
        [
            ("02964777-8874-474e-ad72-affd10bcca4b", False),
            ("02964777-8874-474E-AD72-AFFD10BCCA4B", False),
            ("02964777-8874-474e-ad72-affd10bcca4b 4242424242424242", True),
            ("4242-4242-4242-4242", True),
        ],
    )
    def test_are_not_seen_in_an_id_of_ours(self, text, is_refused):
        assert bool(problem_with(text)) is is_refused

    @pytest.mark.parametrize(
        ("text", "times"), [("1 ", 128_000), ("1", 256_000), ("1" * 12 + " " * 99, 2_000)]
    )
    def test_are_looked_for_in_linear_time(self, text, times):
        """Eight times the text takes about eight times as long, and not 64 times."""
        short, long = (
            min(seconds_to_look_through(text * count) for _ in range(3))
            for count in (times // 8, times)
        )

        assert long < 24 * short


def seconds_to_look_through(text):
    started = time.process_time()
    assert not looks_like_card_number(text)
    return time.process_time() - started


class TestCanonicalFingerprint:
    def test_ignores_how_the_same_json_is_written(self):
        assert canonical_fingerprint(parse_object(b'{"a": 1, "b": "\\u00e9"}')) == (
            canonical_fingerprint(parse_object('{ "b":"é",\n"a":1 }'.encode()))
        )

    @pytest.mark.parametrize("other", [b'{"a": 2}', b'{"a": "1"}', b'{"a": 1.0}', b'{"a": true}'])
    def test_tells_other_json_apart(self, other):
        assert canonical_fingerprint(parse_object(b'{"a": 1}')) != (
            canonical_fingerprint(parse_object(other))
        )


class Line(StrictSerializer):
    sku = StrictCharField(max_length=64)
    quantity = StrictIntegerField(min_value=1, max_value=9_999)


class Basket(StrictSerializer):
    items = Line(many=True, max_length=100, allow_empty=False)  # type: ignore[call-arg]  # stubs
    notes = StrictCharField(multiline=True, required=False, max_length=2_000)


def details_of(data):
    basket = Basket(data=data)
    assert not basket.is_valid()
    return basket.errors


class TestStrictSerializer:
    def test_names_unknown_fields_beside_the_other_problems(self):
        details = details_of({"items": [{"sku": "A", "quantity": 1, "price": "1"}], "total": "0"})

        assert details["total"] == ["This field is not known."]
        details = details_of({"items": [{"sku": "A", "quantity": 1, "price": "1"}]})
        assert details == {"items": {0: {"price": ["This field is not known."]}}}

    @pytest.mark.parametrize(
        "quantity",
        [0, -1, 10_000, 2**31, 2**63, float("inf"), 1.0, 1.5, "1", True, None, "１２", [], {}],  # noqa: RUF001
    )
    def test_takes_no_quantity_but_a_json_integer_in_its_bounds(self, quantity):
        details = details_of({"items": [{"sku": "A", "quantity": quantity}]})

        assert set(details["items"][0]) == {"quantity"}

    def test_says_which_line(self):
        good = {"sku": "A", "quantity": 1}

        assert details_of({"items": [good, {"sku": 5, "quantity": 1}]}) == {
            "items": {1: {"sku": ["A text is required."]}}
        }

    @pytest.mark.parametrize("items", [[], {}, None, "x", [1], [[]], [{}] * 101])
    def test_refuses_other_shapes(self, items):
        assert set(details_of({"items": items})) == {"items"}

    def test_stores_one_spelling(self):
        basket = Basket(data={"items": [{"sku": " A ", "quantity": 1}], "notes": "e\u0301\n"})

        assert basket.is_valid()
        assert basket.validated_data["notes"] == "é"
        assert basket.validated_data["items"][0]["sku"] == "A"


def outcome(field, value):
    try:
        return field.run_validation(value)
    except serializers.ValidationError:
        return "refused"


class TestFields:
    @pytest.mark.parametrize(
        ("text", "amount"), [("0", "0"), ("19.99", "19.99"), ("1999", "1999"), ("0.5", "0.5")]
    )
    def test_money_reads_plain_decimal_strings(self, text, amount):
        assert outcome(MoneyField(), text) == Decimal(amount)

    @pytest.mark.parametrize(
        "value",
        [
            *("1,00", "1e3", "NaN", "sNaN", "Infinity", "-0.00", "-1", "+1", "1.001", "01", ".5"),
            *("1.", " 1", "1 ", "", "1_000", "１", "99999999.99", 1, 1.5, True, None, [], {}),  # noqa: RUF001
        ],
    )
    def test_money_refuses_everything_else(self, value):
        assert outcome(MoneyField(), value) == "refused"

    @pytest.mark.parametrize("value", ["usd", "XXX", "US", "BHD", 1, "USD ", ""])
    def test_currency_is_a_supported_upper_case_code(self, value):
        expected = "USD" if value == "USD " else "refused"

        assert outcome(CurrencyField(), value) == expected

    @pytest.mark.parametrize("value", ["us", "ZZ", "USA", "U", 1, "EU", "XX"])
    def test_country_is_a_real_one(self, value):
        assert outcome(CountryField(), value) == "refused"
        assert outcome(CountryField(), "DE") == "DE"

    @pytest.mark.parametrize("value", ["", "a", "a@", "@b.example", "a b@c.example", 5, "a@b\n.de"])
    def test_email_looks_like_one(self, value):
        assert outcome(StrictEmailField(), value) == "refused"
        assert outcome(StrictEmailField(), "Ann@Example.COM") == "ann@example.com"

    @pytest.mark.parametrize("value", ["true", 1, 0, "on", None, []])
    def test_boolean_is_a_json_boolean(self, value):
        assert outcome(StrictBooleanField(), value) == "refused"
        assert outcome(StrictBooleanField(), True) is True

    @pytest.mark.parametrize("value", ["2026-02-30", "22.11.2026", "2026-11-22T10:00", 20261122])
    def test_date_is_a_day_of_the_calendar(self, value):
        assert outcome(StrictDateField(), value) == "refused"
