"""Addresses by the rules of their country: what is asked for, refused, and brought to one form."""

import time

import pytest

from config.kernel import postal
from config.kernel.api.serializers import country_codes
from config.kernel.errors import ValidationFailedError

NEW_YORK = {
    "name": "Ada Lovelace",
    "line1": "1 Main Street",
    "city": "New York",
    "state": "NY",
    "postal_code": "10001",
    "country": "US",
}


def problems_of(**parts):
    with pytest.raises(ValidationFailedError) as caught:
        postal.checked({**NEW_YORK, **parts})
    return caught.value.details


class TestState:
    @pytest.mark.parametrize(
        ("country", "postal_code", "typed", "code"),
        [
            ("US", "10001", "ny", "NY"),
            ("US", "10001", "New York", "NY"),
            ("US", "20001", "district of columbia", "DC"),
            ("US", "09012", "AE", "AE"),
            ("CA", "H3Z 2Y7", "Québec", "QC"),
            ("CA", "H3Z 2Y7", "quebec", "QC"),
            ("AU", "2060", "New South Wales", "NSW"),
            ("IT", "20121", "Milano", "MI"),
        ],
    )
    def test_is_brought_to_its_code(self, country, postal_code, typed, code):
        found = postal.checked(
            {**NEW_YORK, "country": country, "postal_code": postal_code, "state": typed}
        )

        assert found["state"] == code

    @pytest.mark.parametrize(
        ("country", "postal_code", "state"),
        [
            ("DE", "80331", "Bayern"),
            ("GB", "SW1A 1AA", "Greater London"),
            ("JP", "154-0023", "Tokyo"),
        ],
    )
    def test_is_left_as_it_is_where_there_are_no_codes(self, country, postal_code, state):
        found = postal.checked(
            {**NEW_YORK, "country": country, "postal_code": postal_code, "state": state}
        )

        assert found["state"] == state

    def test_is_asked_for_where_there_are_codes(self):
        assert problems_of(state="") == {"state": ["This field is required in US."]}

    def test_that_does_not_exist_is_refused_by_example(self):
        assert problems_of(state="Bavaria") == {"state": ["This is not a state of US, such as AL."]}

    def test_and_postal_code_need_not_belong_together(self):
        elsewhere = {**NEW_YORK, "state": "CA"}

        assert postal.checked(elsewhere) == elsewhere


class TestPostalCode:
    @pytest.mark.parametrize(
        ("country", "typed", "kept"),
        [
            ("US", "10001-1234", "10001-1234"),
            ("GB", "sw1a 1aa", "SW1A 1AA"),
            ("NL", "1012 ab", "1012 AB"),
            ("SE", "SE-123 45", "123 45"),
            ("IE", "", ""),
            ("AE", "", ""),
            ("HK", "000000", "000000"),
        ],
    )
    def test_is_kept_in_the_form_of_its_country(self, country, typed, kept):
        state = "NY" if country == "US" else ""
        found = postal.checked(
            {**NEW_YORK, "state": state, "country": country, "postal_code": typed}
        )

        assert found["postal_code"] == kept

    @pytest.mark.parametrize(
        "typed", ["1000", "100011", "ABCDE", "1000\u0661", "\uff11\uff10\uff10\uff10\uff11"]
    )
    def test_of_another_form_is_refused_by_example(self, typed):
        assert problems_of(postal_code=typed) == {
            "postal_code": ["This is not a postal code of US, such as 95014."]
        }

    def test_is_asked_for_where_there_are_some(self):
        assert problems_of(postal_code="") == {"postal_code": ["This field is required in US."]}


class TestCountries:
    def test_all_have_rules_and_most_know_nothing_that_we_cannot_take(self):
        for code in sorted(country_codes()):
            rules = postal.rules_of(code)
            assert rules.required <= {"line1", "city", "state", "postal_code"}
            if rules.postal_code and rules.postal_example:
                assert rules.postal_code.fullmatch(rules.postal_example), code

    def test_of_which_nothing_is_known_want_a_street_and_a_city(self):
        assert postal.rules_of("QZ").required == {"line1", "city"}
        assert problems_of(country="QZ", city="") == {"city": ["This field is required in QZ."]}

    def test_which_are_cities_need_none(self):
        assert postal.checked(
            {**NEW_YORK, "country": "SG", "city": "", "state": "", "postal_code": "546080"}
        )

    def test_cost_an_order_next_to_nothing(self):
        postal.checked(NEW_YORK)
        started = time.process_time()
        for _ in range(1_000):
            postal.checked(NEW_YORK)

        assert time.process_time() - started < 0.5  # half a millisecond each; it takes microseconds
