"""Where real money moves: nothing has a convenient default."""

from config import env
from config.settings.base import *

for required in (
    *("SECRET_KEY", "AUDIT_SEAL_KEY", "SUPPRESSION_KEY", "WEBHOOK_KEY"),
    *("ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "CORS_ALLOWED_ORIGINS"),
):
    env.text(required)  # stops the start where it is not set
if EMAIL_URL:
    env.text("EMAIL_FROM")
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SILENCED_SYSTEM_CHECKS = ["security.W008"]  # the load balancer redirects; probes speak plain HTTP
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
SECURE_HSTS_SECONDS = 365 * 24 * 3600
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
