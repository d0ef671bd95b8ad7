"""The buttons of a customer's page that take nothing but the account; `orders` adds its own."""

from __future__ import annotations

from typing import Any

from allauth.mfa.models import Authenticator
from django import forms
from django.core.validators import RegexValidator
from django.utils import timezone

from audit.staff_actions import Done, Said, StaffAction, StaffForm
from customers import selectors, services, suppressions
from customers.models import Customer, EmailSuppression


class CustomerAction(StaffAction):
    """What is decided about a customer who was not erased."""

    def is_offered(self, row: Customer) -> bool:
        return row.erased_at is None

    def state(self, row: Customer) -> dict[str, Any]:
        return {
            "status": row.status,
            "tier": row.tier,
            "is_erased": row.erased_at is not None,
            "sessions": selectors.count_sessions(customer_id=row.pk, now=timezone.now()),
        }


class NoteForm(StaffForm):
    text = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 5}),
        max_length=services.LONGEST_NOTE,
        label="Note",
        help_text="For colleagues. The customer is told of it in an export of their data.",
    )


class AddNote(CustomerAction):
    name = "note"
    label = "Add note…"
    permission = "customers.note_customer"
    icon = "edit_note"
    form = NoteForm

    def state(self, row: Customer) -> dict[str, Any]:
        return {"notes": row.staff_notes.count()}

    def run(self, row: Customer, said: Said) -> Done:
        services.add_note(
            customer_id=row.pk,
            text=said.values["text"],
            user_id=said.user_id,
            request_key=said.request_key,
        )
        return Done(text="The note is on record.")


class LogOutEverywhere(CustomerAction):
    name = "log_out"
    label = "Log out everywhere"
    permission = "customers.change_customer"
    icon = "logout"
    description = "Ends all sessions of the account. Whoever knows the password can log in again."

    def run(self, row: Customer, said: Said) -> Done:
        ended = services.end_sessions_of(customer_id=row.pk, user_id=said.user_id)
        return Done(text=f"Sessions ended: {ended}.")


class TierForm(StaffForm):
    tier = forms.CharField(
        max_length=30,
        required=False,
        validators=[RegexValidator(services.TIER, "Lower-case letters, digits, _ and - only.")],
        help_text="As price breaks and promotions call it: wholesale. Empty: none.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["tier"].initial = self.row.tier


class ChangeTier(CustomerAction):
    name = "tier"
    label = "Change tier…"
    permission = "customers.change_tier"
    icon = "loyalty"
    description = "Other prices and promotions from now on; what was ordered keeps its prices."
    form = TierForm
    audited = ("tier",)

    def run(self, row: Customer, said: Said) -> Done:
        tier = said.values["tier"]
        services.change_tier(customer_id=row.pk, tier=tier, user_id=said.user_id)
        return Done(text=f"The tier is {tier} now." if tier else "There is no tier now.")


class SuspendForm(StaffForm):
    reason = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3}),
        max_length=services.LONGEST_REASON,
        label="Why",
        help_text="Kept as a note. The customer is told of it in an export of their data.",
    )
    is_logged_out = forms.BooleanField(
        required=False,
        label="Log them out everywhere as well",
        help_text="Else they go on reading what is theirs where they are logged in.",
    )


class Suspend(CustomerAction):
    name = "suspend"
    label = "Suspend…"
    permission = "customers.suspend_customer"
    icon = "block"
    description = (
        "From now on nobody logs in to the account, orders with it or changes anything in it. Its"
        " orders go on as they are: cancel those that shall not."
    )
    form = SuspendForm
    is_dangerous = True
    audited = ("is_logged_out",)

    def is_offered(self, row: Customer) -> bool:
        return super().is_offered(row) and row.status != Customer.Status.SUSPENDED

    def run(self, row: Customer, said: Said) -> Done:
        services.suspend_customer(
            customer_id=row.pk,
            reason=said.values["reason"],
            is_logged_out=said.values["is_logged_out"],
            user_id=said.user_id,
            request_key=said.request_key,
        )
        return Done(text="Suspended.")


class Reactivate(CustomerAction):
    name = "reactivate"
    label = "Reactivate"
    permission = "customers.suspend_customer"
    icon = "lock_open"
    description = "The customer can log in and order again."

    def is_offered(self, row: Customer) -> bool:
        return super().is_offered(row) and row.status != Customer.Status.ACTIVE

    def run(self, row: Customer, said: Said) -> Done:
        services.reactivate_customer(customer_id=row.pk, user_id=said.user_id)
        return Done(text="Active again.")


class ResetSecondFactor(StaffAction):
    name = "reset-second-factor"
    label = "Take second factor away…"
    permission = "customers.reset_second_factor"
    icon = "phonelink_erase"
    description = (
        "For a colleague who has lost it: every session of theirs ends, and at the next log-in they"
        " set up another. They are told by e-mail."
    )
    is_dangerous = True

    def is_offered(self, row: Customer) -> bool:
        return row.is_staff and self.state(row)["second_factors"] > 0

    def state(self, row: Customer) -> dict[str, Any]:
        return {"second_factors": Authenticator.objects.filter(user=row).count()}

    def run(self, row: Customer, said: Said) -> Done:
        services.reset_second_factor(customer_id=row.pk, user_id=said.user_id)
        return Done(text="It is gone. They set up another when they log in.")


CUSTOMER_ACTIONS = (
    AddNote(),
    LogOutEverywhere(),
    ChangeTier(),
    Suspend(),
    Reactivate(),
    ResetSecondFactor(),
)


class LiftSuppression(StaffAction):
    name = "lift"
    label = "Write to it again"
    permission = "customers.lift_suppression"
    icon = "mark_email_read"
    description = (
        "Letters go to this address again. Should mail come back, or be called spam, once more, it"
        " is suppressed again. Consent to marketing does not come back by this."
    )

    def is_offered(self, row: EmailSuppression) -> bool:
        return row.lifted_at is None

    def state(self, row: EmailSuppression) -> dict[str, Any]:
        return {"reason": row.reason, "is_lifted": row.lifted_at is not None}

    def run(self, row: EmailSuppression, said: Said) -> Done:
        suppressions.lift(suppression_id=row.pk, user_id=said.user_id)
        return Done(text="This address is written to again.")
