"""Codes of authenticator apps: each is good once, whatever the cache knows.

Allauth keeps used codes in the cache, which may be lost at any time. Here the database keeps, by
authenticator, the last time step whose code was used; a code of that step or an earlier one is used
up (RFC 6238, 5.2).
"""

from __future__ import annotations

from typing import Final

from allauth.core.internal.cryptokit import compare_user_code
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import (
    format_hotp_value,
    hotp_value,
    yield_hotp_counters_from_time,
)
from allauth.mfa.utils import decrypt

from config.kernel import sql

# Of several who send the same code one changes the row: the others wait for it, and find it used.
USE_UP: Final = """
    UPDATE mfa_authenticator SET data = jsonb_set(data, '{last_step}', to_jsonb(%(step)s::bigint))
    WHERE id = %(id)s AND coalesce((data ->> 'last_step')::bigint, -1) < %(step)s
"""


def use_up(authenticator: Authenticator, code: str) -> bool:
    """Use the code that an authenticator app shows at this moment. One statement.

    Returns:
        False: it is none of this moment, or it was used before.
    """
    secret = decrypt(authenticator.data["secret"])
    for step in yield_hotp_counters_from_time():
        expected = format_hotp_value(hotp_value(secret, step))
        if compare_user_code(actual=code, expected=expected):
            return sql.execute(USE_UP, id=authenticator.pk, step=step) == 1
    return False


def prove_app(*, customer_id: int, code: str) -> bool:
    """Whether somebody has the account's authenticator app at hand; uses the code up.

    A recovery code proves no app, and is not used up by being tried here.
    """
    authenticator = Authenticator.objects.filter(
        user_id=customer_id, type=Authenticator.Type.TOTP
    ).first()
    return authenticator is not None and use_up(authenticator, code)
