"""Finds products by what somebody typed into a search box, as one condition on `products`.

Words in any order, by their stems and without accents, the last one perhaps not typed to its end,
in name, description and attributes; or the beginning of a SKU. Only where no product has all the
words or such a SKU are names taken that look alike, so that a typing error still finds something
and no result is diluted. Each part is a look into an index of its own (migration
0007_product_search) and ends after so many products: one letter that half the shop begins with
must not cost seconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.core.exceptions import EmptyResultSet
from django.db.models import BooleanField, IntegerField
from django.db.models.expressions import RawSQL

if TYPE_CHECKING:
    from django.db.models import QuerySet

# How much of what was typed a name has to share, in trigrams; 0.6, PostgreSQL's own, does not
# forgive two letters that changed places in a word of six.
LIKENESS: Final = "0.4"
SHORTEST_ALIKE: Final = 4  # characters; with fewer, too much looks alike
SHORTEST_SKU_PART: Final = 3  # below it, half the shop begins so
MOST_FOUND: Final = 2_000  # products that have the words, the newest ones
MOST_IN_ORDER: Final = 500  # likewise, the first ones of an order that is asked for
MOST_ALIKE: Final = 1_000  # products that look alike, and that begin with a part of a SKU

_SKU = re.compile(r"[A-Z0-9][A-Z0-9._-]*")
_QUERY: Final = "(plainto_tsquery('catalogue', %s) && to_tsquery('catalogue', %s))"
_HAS_WORDS: Final = f'"products".search @@ {_QUERY}'
# The limit of likeness is set for this statement alone, and before the index is looked into: what
# that is asked for comes out of the same subquery. Where the words were found, or were only such
# as "the", it is NULL, which nothing is like. `anywhere` is read where `found`, of what the filters
# leave, is empty; its limit is there for the plan, which would count on an early hit for one row.
_MATCHES: Final = f"""
    "products".id = ANY (ARRAY(
        WITH found (id) AS MATERIALIZED ({{found}}),
        coded AS MATERIALIZED (
            (SELECT id FROM products WHERE is_active AND sku = %s)
            UNION ALL
            (SELECT id FROM products WHERE is_active AND sku LIKE %s LIMIT {MOST_ALIKE})
        ),
        anywhere AS MATERIALIZED (
            SELECT id FROM products WHERE is_active AND search @@ {_QUERY}
            ORDER BY id DESC LIMIT {MOST_FOUND}
        )
        (SELECT id FROM coded)
        UNION ALL
        (SELECT id FROM found)
        UNION ALL
        (SELECT id FROM products WHERE is_active AND name %%> (
            SELECT %s::text
            FROM set_config('pg_trgm.word_similarity_threshold', '{LIKENESS}', true)
            WHERE length(%s) >= {SHORTEST_ALIKE} AND numnode({_QUERY}) > 0
                AND NOT EXISTS (SELECT FROM found) AND NOT EXISTS (SELECT FROM coded)
                AND NOT EXISTS (SELECT FROM anywhere)
         ) LIMIT {MOST_ALIKE})
    ))
"""  # noqa: S608 - constants of ours
_RELEVANCE: Final = f"""(
    CASE
        WHEN "products".sku = %s THEN 3000000
        WHEN "products".search @@ {_QUERY} THEN
            CASE WHEN lower("products".name) = lower(%s) THEN 2000000 ELSE 1000000 END
            + (999999 * ts_rank("products".search, {_QUERY}, 1))::int
        WHEN "products".sku LIKE %s THEN 1000000
        ELSE (999999 * word_similarity(%s, "products".name))::int
    END
)"""


@dataclass(frozen=True, slots=True)
class Search:
    """What was typed, in the parts that the conditions want."""

    text: str

    def matches(self, *, among: QuerySet[Any], most: int = MOST_FOUND) -> RawSQL:
        """Whether a row of `products` is found.

        Args:
            among: products, in order. Of those that have the words the first `most` are found.
        """
        text, sku, words = self.text, self.text.upper(), self._words
        has_words = RawSQL(_HAS_WORDS, words, output_field=BooleanField())  # noqa: S611 - values are parameters
        try:
            found, own = among.filter(has_words).values("pk")[:most].query.sql_with_params()
        except EmptyResultSet:  # Django knows without asking: an unknown category has no shelves
            return RawSQL("FALSE", (), output_field=BooleanField())
        values = [*own, sku, self._sku_pattern, *words, text, text, *words]
        return RawSQL(_MATCHES.format(found=found), values, output_field=BooleanField())  # noqa: S611 - likewise

    @property
    def relevance(self) -> RawSQL:
        """How well, as a whole number: the SKU itself, then all words, then what looks alike."""
        text, sku, words = self.text, self.text.upper(), self._words
        values = [sku, *words, text, *words, self._sku_pattern, text]
        return RawSQL(_RELEVANCE, values, output_field=IntegerField())  # noqa: S611 - likewise

    @property
    def _words(self) -> tuple[str, str]:
        """The complete words as plain text; the last one as a query for what begins so."""
        complete, _, last = self.text.rstrip().rpartition(" ")
        last = re.sub(r"['\\]", " ", last).strip()
        if not re.search(r"[^\W_]", last):
            return self.text, ""
        return complete, f"'{last}':*"

    @property
    def _sku_pattern(self) -> str:
        sku = self.text.upper()
        if len(sku) < SHORTEST_SKU_PART or not _SKU.fullmatch(sku):
            return ""
        return sku.replace("_", r"\_") + "%"
