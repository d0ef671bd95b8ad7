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

EVIDENCE: dict[int, tuple[str, list[str]]] = {
    1: ("somebody else's order", [AUTH + "TestTheApi", PLACING + "TestThreeDSecure"]),
    2: ("every route × everybody", [AUTH + "TestTheApi", AUTH + "TestTheAdmin"]),
    4: ("somebody else's Idempotency-Key", [PLACING + "TestTheSameKey"]),
    5: ("filters of lists", [INPUT + "TestTheListOfOrders"]),
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
    24: ("foreign Host", [ERRORS + "TestEnvelope"]),
    25: ("spoofed X-Forwarded-For", [ERRORS + "TestClientAddress", HEALTH + "TestThrottle"]),
    26: ("path traversal", [ERRORS + "TestEnvelope"]),
    27: ("SQL injection", [SHELVES + "TestTheFilters", INPUT + "TestTheListOfOrders"]),
    28: ("pagination", [SHELVES + "TestThePages"]),
    32: ("enumeration at sign-up", [ACCOUNTS + "TestSignUp"]),
    33: ("brute force", [ACCOUNTS + "TestLogIn"]),
    35: ("passwords", [ACCOUNTS + "TestSignUp"]),
    37: ("reset tokens", [ACCOUNTS + "TestAccessToken"]),
    38: ("sessions after log-out", [ACCOUNTS + "TestAccessToken"]),
    39: ("forged tokens", [ACCOUNTS + "TestAccessToken"]),
    40: ("tokens in URLs", [ACCOUNTS + "TestAccessToken"]),
    41: ("the admin of others", [AUTH + "TestTheAdmin"]),
    42: ("CSRF", [HEALTH + "TestAdminPages", ACCOUNTS + "TestStaff"]),
    43: ("CORS", [ERRORS + "TestHeaders", "tests/security/test_edges.py"]),
    44: ("stored XSS", ["tests/integrations/test_confirmation_email.py::TestHostileParticulars"]),
    45: ("security headers", [ERRORS + "TestHeaders", HEALTH + "TestDocumentation"]),
    47: (
        "mail header injection",
        ["tests/integrations/test_confirmation_email.py::TestHostileParticulars"],
    ),
    49: ("log injection", [HEALTH + "TestLogs"]),
    52: ("webhook signatures", [HOOKS + "TestRefused"]),
    53: ("strange events", ["tests/orders/test_quarantine.py", "tests/orders/test_strangers.py"]),
    54: ("malicious answers of the provider", ["tests/payments/test_transport.py"]),
    55: ("coupons", ["tests/api/test_quotes.py::TestACoupon", PLACING + "TestACoupon"]),
    56: ("stock hoarding", [PLACING + "TestARefusal"]),
    57: ("card testing", ["tests/api/test_declines.py"]),
    58: ("skipped steps", [INPUT + "TestCancellingAPaidOrder"]),
    59: ("refund abuse", ["tests/payments/test_services.py::TestRequestRefund"]),
    60: ("card numbers anywhere", [JSON + "TestCardNumbers", HEALTH + "TestLogs"]),
    61: ("secrets in logs", [HEALTH + "TestLogs", HEALTH + "TestSentry"]),
    62: ("errors that tell", [ERRORS + "TestEnvelope"]),
    64: ("deploy settings", ["tests/security/test_edges.py"]),
    63: ("inventory of routes", [AUTH + "TestTheApi", HEALTH + "TestMetrics"]),
}
LATER = {
    3: "addresses, carts and saved cards are being built",
    6: "ids are random; a throttle of 404 floods is not shown",
    29: "only JSON and card numbers are timed",
    30: "no test of a slow search",
    31: "the accounts' own issue part",
    34: "the accounts' own issue part",
    36: "the accounts' own issue part",
    41: "a second factor for staff: issue 6",
    44: "pages of the admin with hostile rows",
    46: "no export of text that others wrote is there yet",
    48: "not shown",
    50: "no addresses can be entered in the admin: issue 7",
    51: "not shown",
    55: "200 at once: the pricing part",
    59: "two people: issue 6",
    64: "the database role that owns nothing: issue 8",
    65: "pip-audit is locked, and not yet a step of bin/check",
    66: "the privacy part",
}
