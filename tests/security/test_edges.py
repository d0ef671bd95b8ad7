"""Cases of the security matrix that no other file shows; each is named after its row."""

import os
import subprocess
import sys

import pytest

from config.logging import redacted

PRODUCTION = {
    "ENVIRONMENT": "production",
    "DJANGO_SETTINGS_MODULE": "config.settings.production",
    "SECRET_KEY": "k7!x" * 20 + "abcdefgh",
    "ALLOWED_HOSTS": "shop.example",
    "CSRF_TRUSTED_ORIGINS": "https://shop.example",
    "CORS_ALLOWED_ORIGINS": "https://shop.example",
    "PUBLIC_URL": "https://shop.example",
    "STRIPE_SECRET_KEY": "sk_live_checked",
    "STRIPE_API_BASE": "https://api.stripe.com",
    "STRIPE_WEBHOOK_SECRET": "whsec_checked",
}


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://localhost.evil.example",
        "https://127.0.0.1.evil.example",
    ],
)
@pytest.mark.parametrize("method", ["get", "options"])
def test_row_43_cors_lets_no_foreign_origin_read(client, db, origin, method):
    answer = getattr(client, method)(
        "/api/v1/me",
        headers={"Origin": origin, "Access-Control-Request-Method": "GET"},
    )

    assert not any(name.lower().startswith("access-control-allow") for name in answer.headers)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026 4242 4242 4242 4242", "[card]"),
        ("4242424242424242_1", "[card]_1"),
        ("at 1764207994123 ms", "at 1764207994123 ms"),
        ("2026-11-27 01:48:38.404242", "2026-11-27 01:48:38.404242"),
        ("order K7M2-Q9XD-4T", "order K7M2-Q9XD-4T"),
    ],
)
def test_row_60_logs_hold_no_card_number_and_keep_the_rest(text, shown):
    assert redacted(text) == shown


def test_row_64_check_deploy_has_no_complaint():
    kept = {k: v for k, v in os.environ.items() if k not in {"THROTTLE", "PYTEST_XDIST_WORKER"}}

    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        env=kept | PRODUCTION,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "System check identified no issues" in done.stdout + done.stderr
