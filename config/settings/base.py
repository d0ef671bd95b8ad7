"""What holds in every environment; local, test and production change a few lines each."""

from __future__ import annotations

import zoneinfo
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from config import env
from config.kernel.money import UnsupportedCurrencyError, digits

BASE_DIR = Path(__file__).resolve().parents[2]
ORDERKEEP_HOME = Path(env.text("ORDERKEEP_HOME", str(BASE_DIR / ".local")))
ENVIRONMENT = env.choice("ENVIRONMENT", "local", env.ENVIRONMENTS)
IS_PRODUCTION = ENVIRONMENT == "production"

# --- the edge -------------------------------------------------------------------------------
DEBUG = False
BIND = env.text("BIND", "127.0.0.1")
PORT = env.integer("PORT", 8000, minimum=1, maximum=65_535)
PUBLIC_URL = env.url("PUBLIC_URL", f"http://127.0.0.1:{PORT}", schemes=("http", "https")).rstrip(
    "/"
)
SECRET_KEY = env.text("SECRET_KEY")
ALLOWED_HOSTS = env.items("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = env.origins("CSRF_TRUSTED_ORIGINS", PUBLIC_URL)
CORS_ALLOWED_ORIGINS = env.origins("CORS_ALLOWED_ORIGINS")
CORS_EXPOSE_HEADERS = ["X-Request-ID", "Idempotent-Replayed", "Retry-After", "Location", "ETag"]
CORS_ALLOW_HEADERS = (
    "accept",
    "authorization",
    "content-type",
    "idempotency-key",
    "if-none-match",
    "x-request-id",
    "x-session-token",
)
APPEND_SLASH = False
MAX_BODY_BYTES = 256 * 1024
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES
METRICS_TOKEN = env.text("METRICS_TOKEN", "")

# --- the house ------------------------------------------------------------------------------
INSTALLED_APPS = [
    "config.apps.OrderkeepAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.headless",
    "rest_framework",
    "django_filters",
    "corsheaders",
    "csp",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "pgtrigger",
    "django_structlog",
    "customers",
    "inventory",
    "payments",
    "orders",
    "audit",
    "integrations",
]
MIDDLEWARE = [
    "config.middleware.RequestEdge",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
STATIC_URL = "static/"
STATIC_ROOT = ORDERKEEP_HOME / "static"
WHITENOISE_USE_FINDERS = True

# --- PostgreSQL, the one truth ----------------------------------------------------------------
DATABASES = {
    "default": {
        **env.database("DATABASE_URL"),
        "CONN_MAX_AGE": 60,  # a connection for every request costs 4x the throughput
        "CONN_HEALTH_CHECKS": True,  # a restarted server is noticed before the first statement
        "DISABLE_SERVER_SIDE_CURSORS": True,  # PgBouncer in transaction mode has no sessions
        "OPTIONS": {"connect_timeout": 2, "application_name": "orderkeep"},
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
PGTRIGGER_SCHEMA_EDITOR = True

# --- Valkey: cache, throttles, broker; may be lost at any time --------------------------------
REDIS_URL = env.url("REDIS_URL", schemes=("redis", "rediss"))
REDIS_SOCKET_SECONDS = 0.1  # a cache that hangs must not make an order hang
CACHES = {
    "default": {
        "BACKEND": "config.cache.ForgivingRedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "orderkeep",
        "OPTIONS": {
            "socket_timeout": REDIS_SOCKET_SECONDS,
            "socket_connect_timeout": REDIS_SOCKET_SECONDS,
        },
    },
}
CELERY_BROKER_URL = REDIS_URL
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 300, "socket_timeout": 5}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_TIME_LIMIT = 120
CELERY_TASK_SOFT_TIME_LIMIT = 90
CELERY_TASK_PUBLISH_RETRY = False  # a nudge that cannot be sent is dropped: beat comes by
CELERY_WORKER_CONCURRENCY = env.integer("WORKER_CONCURRENCY", 2, minimum=1, maximum=256)
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = True
CELERY_TIMEZONE = "UTC"
SWEEP_SECONDS = 15
CELERY_BEAT_SCHEDULE = {
    "settle payments in doubt, expired holds and refunds due": {
        "task": "orders.tasks.sweep",
        "schedule": timedelta(seconds=SWEEP_SECONDS),
        "options": {"expires": SWEEP_SECONDS},
    },
    "deliver what nobody nudged": {
        "task": "audit.tasks.relay",
        "schedule": timedelta(seconds=SWEEP_SECONDS),
        "options": {"expires": SWEEP_SECONDS},
    },
    "make next month's audit partitions": {
        "task": "audit.tasks.extend_partitions",
        "schedule": timedelta(days=1),
    },
}

# --- the shop ---------------------------------------------------------------------------------
SHOP_CURRENCY = env.text("SHOP_CURRENCY", "USD")
SHOP_COUNTRY = env.text("SHOP_COUNTRY", "US")
SHOP_TIME_ZONE = env.text("SHOP_TIME_ZONE", "America/New_York")
try:
    digits(SHOP_CURRENCY)
except UnsupportedCurrencyError as exc:
    env.fail("SHOP_CURRENCY", str(exc))
if not (len(SHOP_COUNTRY) == 2 and SHOP_COUNTRY.isascii() and SHOP_COUNTRY.isupper()):  # noqa: PLR2004 - ISO 3166-1 alpha-2
    env.fail("SHOP_COUNTRY", f"must be an ISO 3166 code like US, not {SHOP_COUNTRY!r}")
if SHOP_TIME_ZONE not in zoneinfo.available_timezones():
    env.fail("SHOP_TIME_ZONE", f"is not a known time zone: {SHOP_TIME_ZONE!r}")
HOLD_MINUTES = env.integer("HOLD_MINUTES", 15, minimum=1, maximum=24 * 60)
MAX_PENDING_ORDERS = 3  # a customer's orders waiting for payment at one time
THROTTLE = env.switch("THROTTLE", default=True)
if IS_PRODUCTION and not THROTTLE:
    env.fail("THROTTLE", "may not be off with ENVIRONMENT=production")

# --- the payment provider ---------------------------------------------------------------------
STRIPE_SECRET_KEY = env.text("STRIPE_SECRET_KEY")
STRIPE_PUBLISHABLE_KEY = env.text("STRIPE_PUBLISHABLE_KEY", "")
STRIPE_WEBHOOK_SECRETS = env.items("STRIPE_WEBHOOK_SECRET")
STRIPE_API_BASE = env.url(
    "STRIPE_API_BASE", "https://api.stripe.com", schemes=("http", "https")
).rstrip("/")
_stripe_is_local = urlsplit(STRIPE_API_BASE).hostname in env.LOOPBACK_HOSTS
if STRIPE_SECRET_KEY.startswith(("sk_live_", "rk_live_")) and _stripe_is_local:
    env.fail("STRIPE_SECRET_KEY", "a live key may not be sent to a local STRIPE_API_BASE")
if STRIPE_SECRET_KEY.startswith(("sk_test_", "rk_test_")) and IS_PRODUCTION:
    env.fail("STRIPE_SECRET_KEY", "a test key cannot take money: set a live key in production")

# --- accounts ---------------------------------------------------------------------------------
AUTH_USER_MODEL = "customers.Customer"
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
ACCESS_TOKEN_MINUTES = env.integer("ACCESS_TOKEN_MINUTES", 15, minimum=1, maximum=24 * 60)

# --- e-mail, errors, logs -----------------------------------------------------------------------
SENTRY_DSN = env.text("SENTRY_DSN", "")
DEFAULT_FROM_EMAIL = "orders@example.com"
EMAIL_URL = env.text("EMAIL_URL", "")
MAIL_DIR = ORDERKEEP_HOME / "mail"
LANGUAGE_CODE = "en-us"
USE_I18N = True
