"""Accounts for staff: particulars can be corrected, an account suspended; log-in is the owner's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import allauth.account.admin
import allauth.mfa.admin  # noqa: F401 - both register pages that are replaced below
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django import forms
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.db.models import F

from audit.admin import AuditedAdmin
from audit.staff_actions import ActionsAdmin, Done, Said, StaffAction, StaffForm
from config.kernel.admin import ReadOnlyAdmin, ReadOnlyInline, SearchByIndex
from customers import services
from customers.models import Address, Customer, CustomerMetrics, CustomerNote

if TYPE_CHECKING:
    from django.http import HttpRequest

RIGHTS = ("is_staff", "is_superuser", "groups")
NEEDED = {"status": "customers.suspend_customer", "tier": "customers.change_tier"}
"""What more than the permission to correct particulars a field takes."""


class CustomerMetricsInline(ReadOnlyInline):
    model = CustomerMetrics
    fields = ("currency", "order_count", "lifetime_value", "updated_at")
    ordering = ("currency",)
    show_change_link = False


class CustomerNoteInline(ReadOnlyInline):
    model = CustomerNote
    fk_name = "customer"
    fields = ("created_at", "author", "text")
    ordering = ("-pk",)
    show_change_link = False
    verbose_name_plural = "notes of staff"

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("author")


class NoteForm(StaffForm):
    text = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 5}),
        max_length=services.LONGEST_NOTE,
        label="Note",
        help_text="For colleagues. The customer is told of it in an export of their data.",
    )


class AddNote(StaffAction):
    name = "note"
    label = "Add note…"
    permission = "customers.note_customer"
    icon = "edit_note"
    form = NoteForm

    def is_offered(self, row: Customer) -> bool:
        return row.erased_at is None

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


@admin.register(Customer)
class CustomerAdmin(SearchByIndex, ActionsAdmin, AuditedAdmin):
    staff_actions = (AddNote(), ResetSecondFactor())
    list_display = ("email", "first_name", "last_name", "status", "is_staff", "created_at")
    list_filter = ("status", "is_staff")
    search_fields = ("email__exact", "last_name__iexact")
    search_help_text = "An e-mail address or a last name, in full"
    ordering = ("-pk",)
    fields = (
        "email",
        "email_verified",
        "first_name",
        "last_name",
        "phone",
        "date_of_birth",
        "marketing_consent",
        "status",
        "tier",
        *RIGHTS,
        "stripe_customer_id",
        "version",
        "last_login",
        "created_at",
        "updated_at",
    )
    # Whoever could set the address could take over the account; its owner changes it, verified.
    readonly_fields = (
        "email",
        "email_verified",
        "stripe_customer_id",
        "version",
        "last_login",
        "created_at",
        "updated_at",
    )
    filter_horizontal = ("groups",)
    inlines = (CustomerMetricsInline, CustomerNoteInline)
    audited_values = ("status", "tier", "is_staff", "is_superuser")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        rights = () if request.user.is_superuser else RIGHTS
        theirs = [name for name, needed in NEEDED.items() if not request.user.has_perm(needed)]
        return (*super().get_readonly_fields(request, obj), *rights, *theirs)

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - Django's hook
        """Customers sign up by themselves; `createsuperuser` makes the first staff."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Accounts of staff are changed by superusers only."""
        may_change = super().has_change_permission(request, obj)
        return may_change and (obj is None or not obj.is_staff or request.user.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - Django's hook
        """Orders refer to accounts; erasing a person is `erase_customer`."""
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        super().save_model(request, obj, form, change)
        if form.changed_data:
            # Whoever has read the profile before must not overwrite this.
            Customer.objects.filter(pk=obj.pk).update(version=F("version") + 1)


@admin.register(CustomerMetrics)
class CustomerMetricsAdmin(ReadOnlyAdmin):
    list_display = ("customer", "currency", "order_count", "lifetime_value", "updated_at")
    list_filter = ("currency",)
    list_select_related = ("customer",)
    search_fields = ("customer__email__exact",)
    search_help_text = "An e-mail address, in full"
    ordering = ("-pk",)


@admin.register(Address)
class AddressAdmin(ReadOnlyAdmin):
    list_display = ("public_id", "customer", "country", "created_at")
    list_filter = ("country",)
    list_select_related = ("customer",)
    search_fields = ("customer__email__exact",)
    search_help_text = "An e-mail address, in full"
    ordering = ("-pk",)


@admin.register(CustomerNote)
class CustomerNoteAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "customer", "author", "text")
    list_select_related = ("customer", "author")
    search_fields = ("customer__email__iexact",)
    search_help_text = "An e-mail address, in full"
    ordering = ("-pk",)


admin.site.unregister([EmailAddress, Authenticator, Group])


@admin.register(EmailAddress)
class EmailAddressAdmin(ReadOnlyAdmin):
    list_display = ("email", "user", "primary", "verified")
    list_filter = ("verified",)
    list_select_related = ("user",)
    search_fields = ("email__exact",)
    ordering = ("-pk",)


@admin.register(Authenticator)
class AuthenticatorAdmin(ReadOnlyAdmin):
    list_display = ("user", "type", "created_at", "last_used_at")
    list_filter = ("type",)
    list_select_related = ("user",)
    search_fields = ("user__email__exact",)
    ordering = ("-pk",)
    exclude = ("data",)  # the second factor's secret


@admin.register(Group)
class GroupAdmin(AuditedAdmin):
    list_display = ("name",)
    search_fields = ("name",)
    ordering = ("name",)
    filter_horizontal = ("permissions",)
    audited_values = ("name",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Whoever writes groups gives rights: superusers only."""
        return request.user.is_superuser

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - Django's hook
        return request.user.is_superuser

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - Django's hook
        return request.user.is_superuser

    def formfield_for_manytomany(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        # A permission's name shows its content type: one query instead of one for each.
        if db_field.name == "permissions":
            kwargs["queryset"] = Permission.objects.select_related("content_type")
        return super().formfield_for_manytomany(db_field, request, **kwargs)
