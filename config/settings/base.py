"""What holds in every environment; local, test and production change a few lines each."""

from __future__ import annotations

import hashlib
import zoneinfo
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from celery.schedules import crontab
from django.urls import reverse_lazy

from config import env, sentry
from config.kernel import languages
from config.kernel.money import UnsupportedCurrencyError, digits
from config.logging import settings_for_logging
from integrations.crm import fields as crm_fields

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
MAX_UPLOAD_BYTES = 20 * 1024 * 1024  # a file that staff import
UPLOADS = "/admin/import/"  # alone may have one
METRICS_TOKEN = env.text("METRICS_TOKEN", "")
STOREFRONT_DIR = env.directory("STOREFRONT_DIR")

# --- the house ------------------------------------------------------------------------------
INSTALLED_APPS = [
    "config.staff",
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "config.apps.OrderkeepAdminConfig",
    "config.backups",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.headless",
    "anymail",
    "rest_framework",
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
    "inventory.api.caching.CatalogueCache",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "config.staff.middleware.ViewersTimeZone",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "customers.api.middleware.AccountRoutes",
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
WHITENOISE_USE_FINDERS = True  # straight from the packages: nothing to collect first

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
# Whom backups connect as: it has to have REPLICATION, which the shop's own role needs not.
BACKUP_DATABASE = env.database(
    "BACKUP_DATABASE_URL" if env.text("BACKUP_DATABASE_URL", "") else "DATABASE_URL"
)
POSTGRES_BIN = env.directory("POSTGRES_BIN")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
PGTRIGGER_SCHEMA_EDITOR = True

# --- the audit log's seals --------------------------------------------------------------------
# Production names a key of its own: whoever knows SECRET_KEY must not be able to seal.
AUDIT_SEAL_KEY = env.key(
    "AUDIT_SEAL_KEY", hashlib.sha256(f"audit seals:{SECRET_KEY}".encode()).digest()
)
AUDIT_SEAL_TRUSTED_KEYS = env.keys("AUDIT_SEAL_TRUSTED_KEYS")
AUDIT_SEAL_DIR = env.text("AUDIT_SEAL_DIR", str(ORDERKEEP_HOME / "seals"))
AUDIT_SEAL_SECONDS = env.integer("AUDIT_SEAL_SECONDS", 5, minimum=1, maximum=300)

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
# Hand-overs of a worker process at the same time: they wait for others, mostly.
RELAY_THREADS = env.integer("RELAY_THREADS", 12, minimum=2, maximum=64)
CELERY_BEAT_SCHEDULE = {
    "settle payments in doubt, expired holds and refunds due": {
        "task": "orders.tasks.sweep",
        "schedule": timedelta(seconds=SWEEP_SECONDS),
        "options": {"expires": SWEEP_SECONDS},
    },
    "fetch the events that no webhook brought": {
        "task": "orders.tasks.backfill_events",
        "schedule": timedelta(hours=1),
        "options": {"expires": 3_600},
    },
    "book the provider's fees and disputes": {
        "task": "orders.tasks.book_balance_transactions",
        "schedule": timedelta(minutes=1),
        "options": {"expires": 60},
    },
    "compare the payments of the last days with the provider": {
        "task": "orders.tasks.reconcile_payments",
        "schedule": crontab(hour=3, minute=41),  # UTC, and not when everybody else comes by
        "options": {"expires": 3_600},
    },
    "check every invariant of the books": {
        "task": "orders.tasks.check_books",
        "schedule": crontab(minute=23),
        "options": {"expires": 3_600},
    },
    "hold the books against the provider's": {
        "task": "orders.tasks.compare_books",
        "schedule": crontab(hour=4, minute=53),  # UTC, and after the night's repairs
        "options": {"expires": 3_600},
    },
    "begin and end scheduled prices": {
        "task": "inventory.tasks.apply_scheduled_prices",
        "schedule": timedelta(seconds=10),
        "options": {"expires": 10},
    },
    "tell of carts left alone, forget old ones": {
        "task": "orders.tasks.tend_carts",
        "schedule": timedelta(minutes=5),
        "options": {"expires": 300},
    },
    "move parcels by what carriers told": {
        "task": "integrations.tasks.work_off_tracking",
        "schedule": timedelta(seconds=SWEEP_SECONDS),
        "options": {"expires": SWEEP_SECONDS},
    },
    "see what became of labels whose purchase has no known end": {
        "task": "integrations.tasks.look_up_labels",
        "schedule": timedelta(minutes=1),
        "options": {"expires": 60},
    },
    "tell of payments that wait for their buyer": {
        "task": "orders.tasks.tell_waiting_payments",
        "schedule": timedelta(minutes=1),
        "options": {"expires": 60},
    },
    "tell of what can be ordered again": {
        "task": "orders.tasks.tell_back_in_stock",
        "schedule": timedelta(minutes=1),
        "options": {"expires": 60},
    },
    "run exports and imports that nobody nudged": {
        "task": "orders.tasks.run_jobs",
        "schedule": timedelta(seconds=SWEEP_SECONDS),
        "options": {"expires": SWEEP_SECONDS},
    },
    "forget files of exports and imports": {
        "task": "orders.tasks.forget_jobs",
        "schedule": timedelta(hours=1),
        "options": {"expires": 3_600},
    },
    "erase what was still to be sent of erased customers": {
        "task": "orders.tasks.finish_erasures",
        "schedule": timedelta(hours=1),
        "options": {"expires": 3_600},
    },
    "forget sessions that are over": {
        "task": "customers.tasks.forget_dead_sessions",
        "schedule": timedelta(hours=1),
        "options": {"expires": 3_600},
    },
    "deliver what nobody nudged": {
        "task": "audit.tasks.relay",
        "schedule": timedelta(seconds=1),
        "options": {"expires": 1},
    },
    "tell marketing whose segment has changed": {
        "task": "integrations.tasks.refresh_segments",
        "schedule": crontab(hour=1, minute=47),  # UTC
        "options": {"expires": 3_600},
    },
    "forget what is kept no longer": {
        "task": "orders.tasks.prune",
        "schedule": crontab(hour=2, minute=17),  # UTC, and done before the night's comparisons
        "options": {"expires": 3_600},
    },
    "seal the audit log": {
        "task": "audit.tasks.seal",
        "schedule": timedelta(seconds=AUDIT_SEAL_SECONDS),
        "options": {"expires": AUDIT_SEAL_SECONDS},
    },
    "hold the audit log against its seals": {
        "task": "audit.tasks.verify",
        "schedule": crontab(hour=5, minute=37),  # UTC, and after the night's comparisons
        "options": {"expires": 3_600},
    },
    "make next month's audit partitions": {
        "task": "audit.tasks.extend_partitions",
        "schedule": timedelta(days=1),
    },
}

# --- how long things are kept: docs/data.md --------------------------------------------------
# The contract promises thirty days.
IDEMPOTENCY_KEY_DAYS = env.integer("IDEMPOTENCY_KEY_DAYS", 30, minimum=30, maximum=3_650)
# `every_subscriber_is_told` looks back 35 days.
OUTBOX_DAYS = env.integer("OUTBOX_DAYS", 90, minimum=36, maximum=3_650)
# The provider lists its own for 30 days: what it still lists must not look new.
PROVIDER_EVENT_DAYS = env.integer("PROVIDER_EVENT_DAYS", 90, minimum=32, maximum=3_650)
# Buyers complain within the two years of a guarantee.
LETTER_DAYS = env.integer("LETTER_DAYS", 730, minimum=30, maximum=36_500)
# Tries to tell webhooks, with what was answered.
WEBHOOK_LOG_DAYS = env.integer("WEBHOOK_LOG_DAYS", 30, minimum=1, maximum=3_650)
# Whole months go. The books look 12 months back (I14), and a year is compared with the one before.
AUDIT_LOG_DAYS = env.integer("AUDIT_LOG_DAYS", 400, minimum=366, maximum=36_500)

# --- the shop ---------------------------------------------------------------------------------
SHOP_CURRENCY = env.text("SHOP_CURRENCY", "USD")
SHOP_COUNTRY = env.text("SHOP_COUNTRY", "US")
SHOP_TIME_ZONE = env.text("SHOP_TIME_ZONE", "America/New_York")
# What letters are written in to whoever has not said what they read.
SHOP_LANGUAGE = env.choice("SHOP_LANGUAGE", "en", tuple(languages.LANGUAGES))
SHOP_NAME = env.text("SHOP_NAME", "Orderkeep")  # these three stand on invoices
SHOP_ADDRESS = env.text("SHOP_ADDRESS", "")
SHOP_TAX_ID = env.text("SHOP_TAX_ID", "")
RETURN_DAYS = env.integer("RETURN_DAYS", 30, minimum=0, maximum=3_650)
try:
    digits(SHOP_CURRENCY)
except UnsupportedCurrencyError as exc:
    env.fail("SHOP_CURRENCY", str(exc))
# What one member of staff may give back of an order alone, by currency; of others, nothing.
REFUND_LIMITS = env.amounts("REFUND_LIMIT", "500", currency=SHOP_CURRENCY)
if not (len(SHOP_COUNTRY) == 2 and SHOP_COUNTRY.isascii() and SHOP_COUNTRY.isupper()):  # noqa: PLR2004 - ISO 3166-1 alpha-2
    env.fail("SHOP_COUNTRY", f"must be an ISO 3166 code like US, not {SHOP_COUNTRY!r}")
if SHOP_TIME_ZONE not in zoneinfo.available_timezones():
    env.fail("SHOP_TIME_ZONE", f"is not a known time zone: {SHOP_TIME_ZONE!r}")
# The provider forgets idempotency keys after 24 hours: no creation may be repeated past that.
HOLD_MINUTES = env.integer("HOLD_MINUTES", 15, minimum=1, maximum=22 * 60)
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
STRIPE_IS_LIVE = STRIPE_SECRET_KEY.startswith(("sk_live_", "rk_live_"))
_stripe_is_local = urlsplit(STRIPE_API_BASE).hostname in env.LOOPBACK_HOSTS
if STRIPE_IS_LIVE and _stripe_is_local:
    env.fail("STRIPE_SECRET_KEY", "a live key may not be sent to a local STRIPE_API_BASE")
if STRIPE_SECRET_KEY.startswith(("sk_test_", "rk_test_")) and IS_PRODUCTION:
    env.fail("STRIPE_SECRET_KEY", "a test key cannot take money: set a live key in production")
# So many requests of a process may be busy with the provider: the others serve the catalogue.
PROVIDER_SLOTS = max(1, env.integer("WEB_THREADS", 8, minimum=1, maximum=256) * 3 // 4)

# --- CRM --------------------------------------------------------------------------------------
CRM_BASE_URL, CRM_TOKEN = env.receiver("CRM")
CRM_ADAPTER = env.choice("CRM_ADAPTER", "generic", crm_fields.ADAPTERS)
# By our names of fields, what the CRM calls them where that is not what it usually does.
CRM_FIELDS = env.renamed("CRM_FIELDS")
if _problem := crm_fields.problem_with(CRM_ADAPTER, CRM_FIELDS):
    env.fail("CRM_FIELDS", _problem)
CRM_PIPELINE = env.text("CRM_PIPELINE", "default")
CRM_STAGES = crm_fields.STAGES | env.renamed("CRM_STAGES")
if _unknown := CRM_STAGES.keys() - crm_fields.STAGES.keys():
    env.fail("CRM_STAGES", f"{min(_unknown)!r} is none of {', '.join(crm_fields.STAGES)}")
CRM_GUESTS = env.switch("CRM_GUESTS", default=False)
# Deliveries, of which each is up to five calls for HubSpot: it takes a hundred in ten seconds.
CRM_PER_SECOND = env.integer(
    "CRM_PER_SECOND", 2 if CRM_ADAPTER == "hubspot" else 20, minimum=1, maximum=1_000
)

# --- analytics --------------------------------------------------------------------------------
ANALYTICS_BASE_URL, ANALYTICS_TOKEN = env.receiver("ANALYTICS")
ANALYTICS_ADAPTER = env.choice("ANALYTICS_ADAPTER", "generic", ("generic", "segment"))
# Makes pseudonyms of account numbers. Of its own, so that a new SECRET_KEY makes nobody a stranger.
ANALYTICS_SALT = env.key(
    "ANALYTICS_SALT", hashlib.sha256(f"analytics pseudonyms:{SECRET_KEY}".encode()).digest()
)
if IS_PRODUCTION and ANALYTICS_BASE_URL:
    env.text("ANALYTICS_SALT")
# Events of one call. A plain collector takes one at a time unless it is said to take more.
ANALYTICS_BATCH = env.integer(
    "ANALYTICS_BATCH", 100 if ANALYTICS_ADAPTER == "segment" else 1, minimum=1, maximum=100
)
ANALYTICS_PER_SECOND = env.integer("ANALYTICS_PER_SECOND", 100, minimum=1, maximum=10_000)

# --- customer service -------------------------------------------------------------------------
SUPPORT_BASE_URL, SUPPORT_TOKEN = env.receiver("SUPPORT")
SUPPORT_ADAPTER = env.choice("SUPPORT_ADAPTER", "generic", ("generic", "zendesk"))
if SUPPORT_BASE_URL and SUPPORT_ADAPTER == "zendesk" and "/token:" not in SUPPORT_TOKEN:
    env.fail("SUPPORT_TOKEN", "must look like agent@shop.example/token:… for Zendesk")
SUPPORT_PER_SECOND = env.integer("SUPPORT_PER_SECOND", 5, minimum=1, maximum=1_000)
SUPPORT_LANGUAGE = env.choice("SUPPORT_LANGUAGE", "en", ("en", "de", "fr"))
# Unset: /api/v1/support/context lets nobody in.
SUPPORT_CONTEXT_TOKENS = env.secrets("SUPPORT_CONTEXT_TOKEN")

# --- marketing --------------------------------------------------------------------------------
MARKETING_BASE_URL, MARKETING_TOKEN = env.receiver("MARKETING")
MARKETING_PER_SECOND = env.integer("MARKETING_PER_SECOND", 20, minimum=1, maximum=1_000)
# Unset: /api/v1/webhooks/marketing refuses everything.
MARKETING_WEBHOOK_SECRETS = env.secrets("MARKETING_WEBHOOK_SECRET")
# From these lifetime values on, by currency, a customer is of middle and of high value.
MARKETING_MIDDLE_VALUES = env.amounts("MARKETING_MIDDLE_VALUE", "100", currency=SHOP_CURRENCY)
MARKETING_HIGH_VALUES = env.amounts("MARKETING_HIGH_VALUE", "500", currency=SHOP_CURRENCY)
for _currency, _high in MARKETING_HIGH_VALUES.items():
    if MARKETING_MIDDLE_VALUES.get(_currency, _high) > _high:
        env.fail("MARKETING_HIGH_VALUE", f"is less than MARKETING_MIDDLE_VALUE in {_currency}")
MARKETING_LOYAL_ORDERS = env.integer("MARKETING_LOYAL_ORDERS", 5, minimum=2, maximum=10_000)
MARKETING_ACTIVE_DAYS = env.integer("MARKETING_ACTIVE_DAYS", 90, minimum=1, maximum=3_650)
MARKETING_LAPSED_DAYS = env.integer("MARKETING_LAPSED_DAYS", 365, minimum=1, maximum=3_650)
if MARKETING_LAPSED_DAYS < MARKETING_ACTIVE_DAYS:
    env.fail("MARKETING_LAPSED_DAYS", "is less than MARKETING_ACTIVE_DAYS")

# --- warehouses and carriers -------------------------------------------------------------------
FULFILMENT_BASE_URL, FULFILMENT_TOKEN = env.receiver("FULFILMENT")
FULFILMENT_PER_SECOND = env.integer("FULFILMENT_PER_SECOND", 20, minimum=1, maximum=1_000)
FULFILMENT_WEBHOOK_SECRETS = env.secrets("FULFILMENT_WEBHOOK_SECRET")
FULFILMENT_FEED_TOKENS = env.tokens("FULFILMENT_FEED_TOKEN")
EASYPOST_API_KEY = env.text("EASYPOST_API_KEY", "")
EASYPOST_BASE_URL = env.url(
    "EASYPOST_BASE_URL", "https://api.easypost.com/v2", schemes=("http", "https")
).rstrip("/")
EASYPOST_FROM_ADDRESS = env.text("EASYPOST_FROM_ADDRESS", "")
if EASYPOST_API_KEY and not EASYPOST_FROM_ADDRESS:
    env.fail("EASYPOST_FROM_ADDRESS", "names where parcels leave, adr_… at EasyPost: set it")
EASYPOST_WEBHOOK_SECRETS = env.secrets("EASYPOST_WEBHOOK_SECRET")
# What merchants' own systems are sent: docs/outgoing-webhooks.md. Of the key all their secrets are
# made; production names one of its own, so that SECRET_KEY can change without them.
WEBHOOK_KEY = env.key(
    "WEBHOOK_KEY", hashlib.sha256(f"webhook secrets:{SECRET_KEY}".encode()).digest()
)
WEBHOOK_OLD_KEYS = env.keys("WEBHOOK_OLD_KEYS")
WEBHOOK_ALLOWED_NETWORKS = env.networks("WEBHOOK_ALLOWED_NETWORKS")
WEBHOOK_FAILING_DAYS = env.integer("WEBHOOK_FAILING_DAYS", 5, minimum=1, maximum=90)

# --- accounts ---------------------------------------------------------------------------------
AUTH_USER_MODEL = "customers.Customer"
# One backend for the shop and the admin: a second would hash every wrong password once more.
AUTHENTICATION_BACKENDS = ["customers.backends.PasswordBackend"]
PASSWORD_HASHERS = [
    "customers.hashers.Argon2idHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
PASSWORD_RESET_TIMEOUT = 3_600  # seconds that a link in a letter is good for
# So many requests of a process may wait for a password to be hashed; the others come back later.
HASHING_PLACES = max(2, env.integer("WEB_THREADS", 8, minimum=1, maximum=256) // 2)
# (uses, seconds) of each limit by scope: docs/security.md. Counted in `customers.throttling`.
ACCOUNT_LIMITS = {
    "log_in": ((5, 60), (20, 3_600), (50, 86_400)),  # failed, of an account and address
    "log_in_address": ((20, 60), (200, 3_600)),  # failed, of an address
    "log_in_account": ((100, 3_600),),  # failed, of an account, from addresses it does not know
    "log_in_request": ((60, 60),),  # failed or not, of an address
    "sign_up": ((100, 60),),  # of an address
    "reset": ((5, 60), (10, 3_600)),  # letters to an address of an account
    "reset_address": ((20, 60), (100, 3_600)),  # asked for by an address
    "key": ((20, 60), (200, 3_600)),  # tries of a key from a letter, of an address
    "password_change": ((5, 60), (20, 3_600)),  # of an address; failed, of an account
    "mfa": ((5, 300), (20, 3_600)),  # codes tried, of an account
}
# A session of staff: so long in all, so long without anybody there, so many of a person at once.
STAFF_SESSION_HOURS = env.integer("STAFF_SESSION_HOURS", 12, minimum=1, maximum=7 * 24)
STAFF_IDLE_MINUTES = env.integer("STAFF_IDLE_MINUTES", 30, minimum=2, maximum=24 * 60)
STAFF_SESSIONS = env.integer("STAFF_SESSIONS", 3, minimum=1, maximum=100)
ACCESS_TOKEN_MINUTES = env.integer("ACCESS_TOKEN_MINUTES", 15, minimum=1, maximum=24 * 60)

# --- e-mail, errors, logs -----------------------------------------------------------------------
SENTRY_DSN = env.text("SENTRY_DSN", "")
DEFAULT_FROM_EMAIL = env.sender("EMAIL_FROM", "orders@example.com")
EMAIL_URL = env.text("EMAIL_URL", "")
# More than one machine sells; what a mail provider allows may be less.
EMAIL_PER_SECOND = env.integer("EMAIL_PER_SECOND", 100, minimum=1, maximum=10_000)
# Knows addresses that are not written to, and our unsubscribe links, again: for years. With a new
# SECRET_KEY in its place whoever complained would be written to.
SUPPRESSION_KEY = env.key(
    "SUPPRESSION_KEY", hashlib.sha256(f"who is not written to:{SECRET_KEY}".encode()).digest()
)
SUPPRESSION_OLD_KEYS = env.keys("SUPPRESSION_OLD_KEYS")
EMAIL_PROVIDER = ""  # anymail's name of it, where `EMAIL_URL` names one
EMAIL_WEBHOOK_SECRET = env.text("EMAIL_WEBHOOK_SECRET", "")
MAIL_DIR = ORDERKEEP_HOME / "mail"
ERASURE_JOURNAL = env.text("ERASURE_JOURNAL", str(ORDERKEEP_HOME / "erasures.jsonl"))
LANGUAGE_CODE = "en-us"  # the admin's
LANGUAGES = list(languages.LANGUAGES.items())
LOCALE_PATHS = [BASE_DIR / "integrations" / "email" / "locale"]
USE_I18N = True

# --- the HTTP layer -----------------------------------------------------------------------------
LOGGING = settings_for_logging(level="INFO")
sentry.start(dsn=SENTRY_DSN, environment=ENVIRONMENT)
DJANGO_STRUCTLOG_CELERY_ENABLED = True  # a task's log lines carry the id of the request behind it
DJANGO_STRUCTLOG_CELERY_DEFAULT_LOG_LEVEL = 10  # its own lines: Celery already writes one a task
TRUSTED_PROXIES = env.integer("TRUSTED_PROXIES", 0, maximum=10)
ALLAUTH_TRUSTED_PROXY_COUNT = TRUSTED_PROXIES
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["customers.api.authentication.AccessTokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_THROTTLE_CLASSES": ["config.kernel.api.throttles.RequestThrottle"],
    "DEFAULT_PARSER_CLASSES": ["config.kernel.api.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "config.kernel.api.negotiation.JsonAlways",
    "DEFAULT_PAGINATION_CLASS": "config.kernel.api.pagination.SignedCursorPagination",
    "DEFAULT_METADATA_CLASS": None,
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "config.api.exception_handler",
    "URL_FORMAT_OVERRIDE": None,
    "NUM_PROXIES": TRUSTED_PROXIES,
}
# (requests, seconds) by scope; counted for a customer, or for an address that is not logged in.
# Generous: many shoppers share one address behind a carrier's NAT.
THROTTLE_RATES = {
    "customer": (600, 60),
    "anonymous": (1_200, 60),
    "orders": (120, 60),
    "carts": (60, 60),  # new ones
    "payment_links": (60, 60),
    "support_context": (120, 60),
    "export": (5, 3_600),
    "saved_cards": (3, 60),  # to save a card is to learn whether it is good
    # Declined payments: of one buyer, and of all guests of an address, who choose their names.
    "declines": (5, 3_600),
    "guest_declines": (20, 3_600),
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Orderkeep",
    "DESCRIPTION": (
        "An order backend for online shops: a paid order is never lost, never doubled, never"
        " oversold. Accounts (sign-up, log-in, tokens, MFA) have routes of their own, described"
        " at `/_allauth/openapi.json`."
    ),
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SERVE_PUBLIC": True,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "COMPONENT_SPLIT_PATCH": False,  # what has to be sent is required of a PATCH too
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,  # each word would explain itself by itself
    "ENUM_ADD_EXPLICIT_BLANK_NULL_CHOICE": False,
    "ENUM_NAME_OVERRIDES": {  # several bodies have them
        "OrderStatusEnum": "orders.models.Order.Status",
        "RefundStatusEnum": "payments.models.Refund.Status",
        "ReturnStatusEnum": "orders.models.Return.Status",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "config.openapi.operations.complete",
        "config.openapi.pages.add_pages",
    ],
}
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    },
}
X_FRAME_OPTIONS = "DENY"
UNFOLD = {
    # It leads to the audit log.
    "SHOW_HISTORY": lambda request: request.user.has_perm("audit.view_auditlog"),
    "SITE_TITLE": "Orderkeep",
    "SITE_HEADER": "Orderkeep",
    "SITE_SYMBOL": "inventory",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "/static/staff/icon.svg"}],
    "SHOW_VIEW_ON_SITE": False,
    "STYLES": ["/static/staff/staff.css"],
    "SIDEBAR": {"show_search": True, "command_search": True},
    "ACCOUNT": {
        "navigation": [
            {"title": "Change password", "link": reverse_lazy("admin:password_change")},
            {"title": "Where I am logged in", "link": reverse_lazy("admin:sessions")},
            {"title": "New recovery codes", "link": reverse_lazy("admin:recovery_codes")},
        ]
    },
}
SECURE_REFERRER_POLICY = "same-origin"  # in the admin; the edge says no-referrer elsewhere

# Sessions carry the tokens of the shop as well as the cookies of the admin.
SESSION_ENGINE = "customers.sessions"
SESSION_COOKIE_AGE = 30 * 24 * 3600  # as long as a refresh token
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
LOGIN_REDIRECT_URL = "/admin/"  # pages to log in on are the admin's; a foreign `next` ends here

ACCOUNT_ADAPTER = "customers.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_SIGNUP_FORM_CLASS = "customers.forms.SignupForm"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "optional"
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
# Not CHANGE_EMAIL: it would empty an unverified account's address as soon as another is asked for.
ACCOUNT_MAX_EMAIL_ADDRESSES = 2  # the present one, and the one it is to become
ACCOUNT_REAUTHENTICATION_TIMEOUT = 300  # seconds: see the adapter
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = True
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False  # no letter to whatever address a stranger types
ACCOUNT_EMAIL_CONFIRMATION_EXPIRE_DAYS = 3
# Allauth reads, counts and writes under a lock that a cache which is away cannot give. It keeps
# those limits that guard no secret; what guards one is counted by `ACCOUNT_LIMITS` instead.
ACCOUNT_RATE_LIMITS = (
    dict.fromkeys(
        (
            "signup",
            "login",
            "login_failed",
            "reset_password",
            "reset_password_from_key",
            "change_password",
            "reauthenticate",
        )
    )
    if THROTTLE
    else False
)
HEADLESS_ONLY = True
HEADLESS_CLIENTS = ("app",)
HEADLESS_SERVE_SPECIFICATION = True
HEADLESS_SPECIFICATION_TEMPLATE_NAME = None
HEADLESS_TOKEN_STRATEGY = "allauth.headless.tokens.strategies.jwt.JWTTokenStrategy"  # noqa: S105
HEADLESS_JWT_ALGORITHM = "HS256"
# Not SECRET_KEY itself, which also encrypts the session named in a token.
HEADLESS_JWT_PRIVATE_KEY = hashlib.sha256(f"access tokens:{SECRET_KEY}".encode()).hexdigest()
HEADLESS_JWT_ACCESS_TOKEN_EXPIRES_IN = ACCESS_TOKEN_MINUTES * 60
HEADLESS_JWT_REFRESH_TOKEN_EXPIRES_IN = 30 * 24 * 3600
HEADLESS_FRONTEND_URLS = {
    "account_confirm_email": f"{PUBLIC_URL}/account/verify-email/{{key}}",
    "account_reset_password": f"{PUBLIC_URL}/account/password/reset",
    "account_reset_password_from_key": f"{PUBLIC_URL}/account/password/reset/key/{{key}}",
    "account_signup": f"{PUBLIC_URL}/account/signup",
}
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_TOTP_ISSUER = "Orderkeep"

EMAIL_TIMEOUT = 8  # seconds, of the whole hand-over of a letter; the relay gives it ten
EMAIL_BACKEND = "integrations.email.backend.EmlFileBackend"
if urlsplit(EMAIL_URL).scheme in env.MAIL_PROVIDERS:
    globals().update(env.mail_provider("EMAIL_URL", webhook_secret=EMAIL_WEBHOOK_SECRET))
elif EMAIL_URL:
    EMAIL_BACKEND = "integrations.email.smtp.TimedSmtpBackend"
    globals().update(env.mail_server("EMAIL_URL"))
