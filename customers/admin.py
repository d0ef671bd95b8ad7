"""Accounts for staff: particulars can be corrected; status and tier move by buttons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import allauth.account.admin
import allauth.mfa.admin  # noqa: F401 - both register pages that are replaced below
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.db.models import F

from audit.admin import AuditedAdmin
from audit.staff_actions import ActionsAdmin
from config.kernel.admin import ReadOnlyAdmin, SearchByIndex
from customers import services, suppressions
from customers.models import (
    Address,
    Customer,
    CustomerMetrics,
    CustomerNote,
    EmailSuppression,
)
from customers.staff_actions import CUSTOMER_ACTIONS, LiftSuppression

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet
    from django.http import HttpRequest

    from audit.staff_actions import StaffAction

RIGHTS = ("is_staff", "is_superuser", "groups")
ON_RECORD = (
    *("email", "email_verified", "status", "tier", "stripe_customer_id"),
    *("version", "last_login", "created_at", "updated_at", "erased_at"),
)


class CustomerAdmin(SearchByIndex, ActionsAdmin, AuditedAdmin):
    """Particulars to correct, and what is done to an account.

    `orders.admin` registers it, with what orders know of a customer.
    """

    staff_actions: ClassVar[Sequence[StaffAction]] = CUSTOMER_ACTIONS
    list_display = ("email", "first_name", "last_name", "status", "is_staff", "created_at")
    list_filter = ("status", "is_staff")
    search_fields = ("email__exact", "last_name__iexact")
    search_help_text = "An e-mail address or a last name, in full"
    ordering = ("-pk",)
    sortable_by = ()
    fieldsets = (
        (
            "Particulars",
            {
                "fields": (
                    *("first_name", "last_name", "phone", "date_of_birth"),
                    *("language", "marketing_consent"),
                )
            },
        ),
        ("Rights in the admin", {"classes": ("collapse",), "fields": RIGHTS}),
        ("Everything on record", {"classes": ("collapse",), "fields": ON_RECORD}),
    )
    # Whoever could set the address could take over the account; its owner changes it, verified.
    # Status and tier move by buttons.
    readonly_fields = ON_RECORD
    filter_horizontal = ("groups",)
    audited_values = (*RIGHTS, "language", "marketing_consent")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        rights = () if request.user.is_superuser else RIGHTS
        return (*super().get_readonly_fields(request, obj), *rights)

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - Django's hook
        """Customers sign up by themselves; `createsuperuser` makes the first staff."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Accounts of staff are changed by superusers only, those that were erased by nobody."""
        if not super().has_change_permission(request, obj):
            return False
        if obj is None:
            return True
        return obj.erased_at is None and (not obj.is_staff or request.user.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - Django's hook
        """Orders refer to accounts; erasing a person is `erase_customer`."""
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        super().save_model(request, obj, form, change)
        if not form.changed_data:
            return
        # Whoever has read the profile before must not overwrite this.
        Customer.objects.filter(pk=obj.pk).update(version=F("version") + 1)
        if "marketing_consent" in form.changed_data:
            services.tell_consent(Customer.objects.get(pk=obj.pk))


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
    linked_lookups = ("customer__id__exact",)
    list_select_related = ("customer",)
    search_fields = ("customer__email__exact",)
    search_help_text = "An e-mail address, in full"
    ordering = ("-pk",)


@admin.register(EmailSuppression)
class EmailSuppressionAdmin(ActionsAdmin, ReadOnlyAdmin):
    staff_actions: ClassVar[Sequence[StaffAction]] = (LiftSuppression(),)
    list_display = ("created_at", "reason", "provider", "customer", "lifted_at")
    list_filter = ("reason", ("lifted_at", admin.EmptyFieldListFilter))
    list_select_related = ("customer",)
    search_fields = ("address_digest",)
    search_help_text = "An e-mail address, in full: the list knows it again, and does not keep it"
    ordering = ("-pk",)
    fields = ("reason", "provider", "customer", "created_at", "lifted_at", "lifted_by")
    readonly_fields = fields

    def get_search_results(
        self,
        request: HttpRequest,  # noqa: ARG002 - Django's hook
        queryset: QuerySet[Any],
        search_term: str,
    ) -> tuple[QuerySet[Any], bool]:
        address = search_term.strip()
        if not address:
            return queryset, False
        return queryset.filter(address_digest__in=suppressions.digests(address)), False


@admin.register(CustomerNote)
class CustomerNoteAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "customer", "author", "text")
    list_select_related = ("customer", "author")
    search_fields = ("customer__email__exact",)
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
    audited_values = ("name", "permissions")

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
