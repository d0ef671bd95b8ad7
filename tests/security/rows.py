"""The security matrix: each case, and the tests that show it; see docs/security-matrix.md.

`LATER` says what cannot be shown yet, and why; a row may have both.
"""

from __future__ import annotations

API, INPUT = "tests/api/", "tests/api/test_orders_input.py::"
AUTH = "tests/security/test_authorisation.py::"
ACCOUNTS, ERRORS = "tests/api/test_accounts.py::", "tests/api/test_http_errors.py::"
JSON, HOOKS = "tests/api/test_http_input.py::", "tests/api/test_webhooks.py::"
SERVER, PLACING = "tests/api/test_http_server.py::", "tests/api/test_place_order.py::"
HEALTH, SHELVES = "tests/api/test_health.py::", "tests/api/test_catalogue.py::"
EDGES, TEXTS = "tests/security/test_edges.py::", "tests/security/test_texts.py::"
LETTERS, TOKENS = "tests/integrations/test_account_email.py::", "tests/api/test_account_tokens.py::"
LIMITS, KNOWN = "tests/api/test_log_in_limits.py::", "tests/api/test_account_enumeration.py::"
RACES, CARDS = "tests/concurrency/test_races.py::", "tests/api/test_payment_methods.py::"
PRIVACY = "tests/orders/test_privacy.py::"

EVIDENCE: dict[int, tuple[str, list[str]]] = {
    1: ("somebody else's order", [AUTH + "TestTheApi", PLACING + "TestThreeDSecure"]),
    2: (
        "every route × everybody, every role × every action",
        [AUTH + "TestTheApi", AUTH + "TestTheAdmin", "tests/admin/test_matrix.py"],
    ),
    3: (
        "an order of somebody else's cart, address, coupon, card",
        [
            EDGES + "TestRow3AnOrderOfWhatIsSomebodyElses",
            "tests/api/test_carts.py::TestWhoseItIs",
            CARDS + "TestPayingWithASavedCard",
        ],
    ),
    4: ("somebody else's Idempotency-Key", [PLACING + "TestTheSameKey"]),
    5: ("filters of lists", [INPUT + "TestTheListOfOrders"]),
    6: ("ids that can be guessed", [EDGES + "TestRow6Ids", HEALTH + "TestThrottle"]),
    7: ("mass assignment", [INPUT + "TestABadField", ACCOUNTS + "TestProfile"]),
    8: ("changing an account's rights", [ACCOUNTS + "TestProfile"]),
    9: ("over-exposure", [ACCOUNTS + "TestProfile", SHELVES + "TestAProduct"]),
    10: ("price tampering", [PLACING + "TestARefusal"]),
    11: ("quantities that are none", [INPUT + "TestABadField", JSON + "TestStrictSerializer"]),
    12: ("overflow, too many lines, duplicates", [INPUT + "TestTheLines"]),
    13: ("money that is none", [JSON + "TestFields"]),
    14: ("currencies that are none", [JSON + "TestFields", INPUT + "TestTheLines"]),
    15: ("text that is none", [JSON + "TestParseObject", ERRORS + "TestEnvelope"]),
    16: ("depth bombs", [JSON + "TestParseObject"]),
    17: ("huge and compressed bodies", [SERVER + "TestServer", ERRORS + "TestEnvelope"]),
    18: ("huge arrays", [INPUT + "TestTheLines", JSON + "TestParseObject"]),
    19: ("ambiguous JSON", [JSON + "TestParseObject", INPUT + "TestABadBody"]),
    20: ("other content types", [INPUT + "TestABadBody", JSON + "TestIsUtf8Json"]),
    21: ("method tampering", [INPUT + "TestTheRequestItself", ERRORS + "TestEnvelope"]),
    22: ("headers with CR, LF", [INPUT + "TestTheRequestItself", ERRORS + "TestRequestId"]),
    23: ("request smuggling", [SERVER + "TestServer"]),
    24: (
        "foreign Host, forwarded ones in letters",
        [
            ERRORS + "TestEnvelope",
            EDGES + "test_row_24_a_letter_links_to_our_own_address_whatever_a_request_says",
        ],
    ),
    25: ("spoofed X-Forwarded-For", [ERRORS + "TestClientAddress", HEALTH + "TestThrottle"]),
    26: ("path traversal", [ERRORS + "TestEnvelope"]),
    27: ("SQL injection", [SHELVES + "TestTheFilters", INPUT + "TestTheListOfOrders"]),
    28: ("pagination", [SHELVES + "TestThePages"]),
    29: ("texts that take long", [TEXTS + "test_row_29_no_text_is_long_work"]),
    30: (
        "statements that take long",
        [
            EDGES + "TestRow30AStatementThatTakesTooLong",
            "tests/api/test_catalogue_search.py::TestTheCost",
        ],
    ),
    31: ("enumeration at log-in", [KNOWN + "TestAnAddressWithAnAccount", KNOWN + "TestTime"]),
    32: (
        "enumeration at sign-up and reset",
        [ACCOUNTS + "TestSignUp", KNOWN + "TestAnAddressWithAnAccount", KNOWN + "TestTime"],
    ),
    33: (
        "brute force",
        [LIMITS + "TestGuessingOneAccount", LIMITS + "TestSpraying", LIMITS + "TestManyAddresses"],
    ),
    34: ("200 log-ins at once", [LIMITS + "TestAtOnce"]),
    35: ("passwords", [ACCOUNTS + "TestSignUp"]),
    36: (
        "hashing that starves everybody else",
        [
            "tests/kernel/test_hashing.py::TestWorkshop",
            LIMITS + "TestTooManyAtOnce",
            "benchmarks/logins.py",
        ],
    ),
    37: ("reset tokens", [LETTERS + "TestReset", TOKENS + "TestAnAnswer"]),
    38: ("sessions after log-out", [ACCOUNTS + "TestAccessToken", TOKENS + "TestASession"]),
    39: ("forged tokens", [TOKENS + "TestAMadeUpToken", ACCOUNTS + "TestAccessToken"]),
    40: ("tokens in URLs", [ACCOUNTS + "TestAccessToken", TOKENS + "TestAnAnswer"]),
    41: (
        "the admin of others",
        [AUTH + "TestTheAdmin", "tests/admin/test_second_factor.py"],
    ),
    42: ("CSRF", [HEALTH + "TestAdminPages", ACCOUNTS + "TestStaff"]),
    43: ("CORS", [ERRORS + "TestHeaders", "tests/security/test_edges.py"]),
    44: (
        "stored XSS",
        [
            TEXTS + "test_row_44_no_page_of_the_admin_shows_text_as_markup",
            "tests/staff/test_hostile_texts.py",
            "tests/integrations/test_confirmation_email.py::TestHostileParticulars",
        ],
    ),
    45: (
        "security headers",
        ["tests/security/test_headers.py", ERRORS + "TestHeaders", HEALTH + "TestDocumentation"],
    ),
    46: (
        "formulas in exports",
        [
            "tests/transfer/test_exports.py::TestFormulas",
            "tests/orders/test_export_orders.py",
            "tests/orders/test_export_ledger.py::TestTheFile",
        ],
    ),
    47: (
        "mail header injection",
        ["tests/integrations/test_confirmation_email.py::TestHostileParticulars"],
    ),
    48: ("templates in texts", [TEXTS + "test_row_48_a_template_is_only_text"]),
    49: ("log injection", [HEALTH + "TestLogs"]),
    50: (
        "addresses that lead inside, entered by staff",
        [
            "tests/integrations/test_webhook_addresses.py",
            "tests/integrations/test_webhook_delivery.py::TestWhereItGoes",
            "tests/integrations/test_webhook_delivery.py::TestAnAnswer",
            "tests/kernel/test_dialling.py",
            "tests/admin/test_webhooks.py::TestTheForm",
        ],
    ),
    51: ("open redirects", [EDGES + "TestRow51ARedirect", INPUT + "TestABadField"]),
    52: ("webhook signatures", [HOOKS + "TestRefused"]),
    53: ("strange events", ["tests/orders/test_quarantine.py", "tests/orders/test_strangers.py"]),
    54: ("malicious answers of the provider", ["tests/kernel/test_transport.py"]),
    55: (
        "coupons",
        [
            "tests/api/test_quotes.py::TestACoupon",
            PLACING + "TestACoupon",
            RACES + "test_a_coupon_for_one_use_is_used_once",
            RACES + "TestTwoHundredUsesAtOnce",
        ],
    ),
    56: ("stock hoarding", [PLACING + "TestARefusal"]),
    57: ("card testing", ["tests/api/test_declines.py"]),
    58: ("skipped steps", [INPUT + "TestCancellingAPaidOrder"]),
    59: (
        "refund abuse",
        [
            "tests/payments/test_services.py::TestRequestRefund",
            "tests/orders/test_refund_approval.py",
            "tests/concurrency/test_after_sales.py::TestTwoPeople",
        ],
    ),
    60: ("card numbers anywhere", [JSON + "TestCardNumbers", HEALTH + "TestLogs"]),
    61: ("secrets in logs", [HEALTH + "TestLogs", HEALTH + "TestSentry"]),
    62: ("errors that tell", [ERRORS + "TestEnvelope"]),
    63: ("inventory of routes", [AUTH + "TestTheApi", HEALTH + "TestMetrics"]),
    64: ("deploy settings", [EDGES + "test_row_64_check_deploy_has_no_complaint"]),
    65: (
        "dependencies, and formats that can hold code",
        [EDGES + "TestRow65WhatIsRead", "tests/sandbox/test_holes.py"],
    ),
    66: (
        "export and erasure",
        [
            PRIVACY + "TestAnExport",
            PRIVACY + "TestAnErasure",
            PRIVACY + "TestTheJournal",
            "tests/backups/test_drill.py",
        ],
    ),
}
LATER = {
    30: "the database ends a statement after 15 s; 3 s were meant",
    46: (
        "on the way in nothing is evaluated, and bombs are refused:"
        " `tests/transfer/test_imports.py::TestFiles`"
    ),
    64: "the database role that owns nothing: issue 8",
    65: "no bill of materials (SBOM)",
}
