"""Looks for secrets and personal data where only ids, amounts and reasons belong (I20).

Audit rows are kept for good, facts leave the house, and noted errors are shown to staff. What
orders, keys and webhooks keep of a customer is theirs to keep and not looked at.
"""

from __future__ import annotations

from typing import Final

# As in the logs (config.logging).
PRIVATE: Final = r"\m(sk|rk|whsec|pi_\w+_secret)_\w+|eyJ[\w-]+\.[\w-]+\.[\w-]+"
EMAIL: Final = r"[[:alnum:]._+-]+@[[:alnum:].-]+"
# Groups of digits that are no part of an id. A card number may have others beside it, a year or a
# check number: whatever whole groups of these make one is looked for.
DIGITS: Final = r"(?<![\w.-])\d(?:[ -]?\d){12,}(?!-?[[:alnum:]])"
MOST_DIGITS: Final = 19
# Whatever is none of this is passed over; nearly every row ends here. The shorter, the faster.
SUSPICIOUS: Final = r"@|k_|sec|eyJ|\d{4}[ -]?\d{4}"

# The digits that a card number is checked by: every second one from the right counts double.
PASSES_LUHN: Final = """
    (SELECT mod(sum(CASE WHEN mod(place, 2) = 1 THEN digit
                         ELSE digit * 2 - 9 * (digit > 4)::int END), 10) = 0
     FROM (SELECT place, substr(reverse(digits), place, 1)::int AS digit
           FROM generate_series(1, length(digits)) AS place) each)
"""

# table, column: as text where it is none
WHERE_WRITTEN: Final = (
    ("audit_logs", "data::text"),
    ("outbox_messages", "payload::text"),
    ("deliveries", "last_error::text"),
    ("payments", "last_error::text"),
    ("refunds", "last_error::text"),
    ("provider_events", "last_error::text"),
    ("reconciliation_cases", "problem::text"),
)
_SUSPECTS: Final = " UNION ALL ".join(
    f"SELECT '{table}' AS place, id, {column} AS written FROM {table}"  # noqa: S608 - as above
    f" WHERE {column} ~ '{SUSPICIOUS}'"
    for table, column in WHERE_WRITTEN
)

WRITTEN_SECRETS: Final = f"""
    SELECT place || ' ' || id || ': ' || what AS violator
    FROM ({_SUSPECTS}) suspect
    CROSS JOIN LATERAL (VALUES
        ('secret', written ~ '{PRIVATE}'),
        ('e-mail address', written ~ '{EMAIL}'),
        ('card number', EXISTS (
            SELECT FROM regexp_matches(written, '{DIGITS}', 'g') AS run
            CROSS JOIN string_to_array(translate(run[1], '-', ' '), ' ') AS groups
            CROSS JOIN generate_subscripts(groups, 1) AS first
            CROSS JOIN generate_series(
                first, least(first + {MOST_DIGITS - 1}, cardinality(groups))) AS last
            CROSS JOIN array_to_string(groups[first:last], '') AS digits
            WHERE length(digits) BETWEEN 13 AND {MOST_DIGITS} AND digits ~ '^[2-6]'
              AND {PASSES_LUHN}))
    ) found (what, is_there)
    WHERE is_there
"""  # noqa: S608 - our own constants
