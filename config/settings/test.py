"""Under pytest: cheap password hashes, no rate limits unless a test asks for them."""

from config.settings.base import *

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
THROTTLE = False
DATABASES["default"]["CONN_MAX_AGE"] = 0
