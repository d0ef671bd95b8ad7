"""What a second factor is asked for, at every door: each code is good once.

Apart from `customers.forms`, which allauth imports before its own forms are there.
"""

from __future__ import annotations

from typing import Any

from allauth.mfa.adapter import get_adapter
from allauth.mfa.base.forms import AuthenticateForm
from allauth.mfa.models import Authenticator
from django import forms

from customers import codes

LONGEST_CODE = 40


class GoodOnce:
    """Beside one of allauth's forms: a code that was right is used up, without the cache as well.

    A recovery code is marked used in the database by allauth itself.
    """

    authenticator: Authenticator

    def clean_code(self) -> str:
        """As allauth's.

        Raises:
            ValidationError: it was used before.
        """
        code: str = super().clean_code()  # type: ignore[misc]  # of the form beside it
        is_of_app = self.authenticator.type == Authenticator.Type.TOTP
        if is_of_app and not codes.use_up(self.authenticator, code):
            raise get_adapter().validation_error("incorrect_code")
        return code


class CodeForm(GoodOnce, AuthenticateForm):  # type: ignore[misc]  # allauth has no types
    """A code of the app, or a recovery code."""


class AppCodeForm(forms.Form):
    """A code of the app alone."""

    code = forms.CharField(
        label="Code of your authenticator app",
        max_length=LONGEST_CODE,
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code"}),
    )

    def __init__(self, *args: Any, customer_id: int, **kwargs: Any) -> None:
        self.customer_id = customer_id
        super().__init__(*args, **kwargs)

    def clean_code(self) -> str:
        """Use it up.

        Raises:
            ValidationError: it is wrong, or was used before.
        """
        code: str = self.cleaned_data["code"]
        if not codes.prove_app(customer_id=self.customer_id, code=code):
            raise get_adapter().validation_error("incorrect_code")
        return code
