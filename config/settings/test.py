"""Under pytest: cheap password hashes, no rate limits unless a test asks for them."""

import os

# Test processes that run side by side have a payment server, a cache and a directory each.
if (process := os.environ.get("PYTEST_XDIST_WORKER", "gw0")) != "gw0":
    number = process.removeprefix("gw")
    os.environ["STRIPE_API_BASE"] = os.environ[f"STRIPE_API_BASE_{number}"]
    os.environ["REDIS_URL"] = f"{os.environ['REDIS_URL'].removesuffix('/0')}/{number}"
    os.environ["ORDERKEEP_HOME"] += f"/{process}"

from config.settings.base import *

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
THROTTLE = False
EMAIL_PER_SECOND = 10_000
RELAY_THREADS = 1  # on the test's own connection: others would not see what it has not committed
DATABASES["default"]["CONN_MAX_AGE"] = 0
WHITENOISE_AUTOREFRESH = True  # else every client of a test lists all static files when it begins
