"""How passwords are hashed."""

from __future__ import annotations

from django.contrib.auth.hashers import Argon2PasswordHasher


class Argon2idHasher(Argon2PasswordHasher):
    """Argon2id as the OWASP Password Storage Cheat Sheet recommends: 19 MiB, 2 passes, 1 lane.

    Django's own default takes 100 MiB and 8 lanes: a few log-ins at once would be an attack.
    """

    memory_cost = 19_456  # KiB
    time_cost = 2
    parallelism = 1
