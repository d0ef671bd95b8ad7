"""What sign-up asks for besides e-mail and password."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django import forms

from config.kernel.api.text import normalized

if TYPE_CHECKING:
    from django.http import HttpRequest

    from customers.models import Customer

LONGEST_NAME = 100


class NameField(forms.CharField):
    """A person's name in the spelling that is stored."""

    def clean(self, value: object) -> str:
        return normalized(super().clean(value))


class SignupForm(forms.Form):
    """Becomes part of allauth's own form; the adapter stores the names."""

    first_name = NameField(max_length=LONGEST_NAME)
    last_name = NameField(max_length=LONGEST_NAME)

    def signup(self, request: HttpRequest, user: Customer) -> None:
        """Allauth requires it; there is nothing left to do."""
