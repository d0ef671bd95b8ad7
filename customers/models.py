"""Who buys, and who works here: one account table for customers and staff."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models
from django.db.models import Func, Q
from django.db.models.functions import Now, Upper

from config.kernel import languages
from config.kernel.models import erasable, new_uuid, touches_updated_at


class CustomerManager(BaseUserManager["Customer"]):
    """Makes accounts; e-mail addresses are kept in lower case."""

    def get_by_natural_key(self, username: str | None) -> Customer:
        return self.get(email=(username or "").lower())

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> Customer:
        """An account that can log in; without a password, one that cannot."""
        customer = self.model(email=self.normalize_email(email).lower(), **fields)
        customer.set_password(password)
        customer.save(using=self._db)
        return customer

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> Customer:
        """An account that may do everything in the admin."""
        return self.create_user(
            email, password, is_staff=True, is_superuser=True, email_verified=True, **fields
        )


class Customer(AbstractBaseUser, PermissionsMixin):
    """A person with an account. `version` guards edits of the profile (optimistic locking)."""

    class Status(models.TextChoices):
        ACTIVE = "active"
        INACTIVE = "inactive"
        SUSPENDED = "suspended"

    email = models.EmailField(max_length=255, unique=True)
    email_verified = models.BooleanField(default=False, db_default=False)
    password = models.CharField(max_length=255, db_column="password_hash")
    first_name = models.CharField(max_length=100)
    last_name = models.CharField(max_length=100)
    phone = models.CharField(max_length=20, null=True, blank=True)
    date_of_birth = models.DateField(null=True, blank=True)
    marketing_consent = models.BooleanField(default=False, db_default=False)
    stripe_customer_id = models.CharField(max_length=100, null=True, blank=True)
    status = models.CharField(
        max_length=20, choices=Status, default=Status.ACTIVE, db_default=Status.ACTIVE
    )
    is_active = models.GeneratedField(
        expression=Q(status="active"),  # type: ignore[arg-type]  # a Q will do, the stubs differ
        output_field=models.BooleanField(),
        db_persist=True,
    )
    language = models.CharField(
        max_length=2,
        choices=languages.LANGUAGES,
        default="",
        db_default="",
        blank=True,
        help_text="Which letters are written in; without one, that of the order, or the shop's",
    )
    tier = models.CharField(
        max_length=30,
        default="",
        db_default="",
        blank=True,
        help_text="What price breaks and promotions call customers like this one: wholesale",
    )
    is_staff = models.BooleanField(default=False, db_default=False)
    is_superuser = models.BooleanField(default=False, db_default=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)
    last_login = models.DateTimeField(null=True, blank=True)
    version = models.IntegerField(default=1, db_default=1)
    erased_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects: ClassVar[CustomerManager] = CustomerManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = ["first_name", "last_name"]

    class Meta:
        db_table = "customers"
        permissions = [
            ("suspend_customer", "Can suspend a customer, and end that"),
            ("change_tier", "Can change a customer's tier"),
            ("note_customer", "Can write a note on a customer"),
            ("export_customer", "Can export what is held on a customer"),
            ("erase_customer", "Can erase a customer"),
            # For superusers: no role has it.
            ("reset_second_factor", "Can take a colleague's second factor away"),
            ("export_customers", "Can export who customers are, and who placed an order"),
        ]
        constraints = [
            models.CheckConstraint(
                name="customer_status_known",
                condition=Q(status__in=["active", "inactive", "suspended"]),
            ),
            models.CheckConstraint(
                name="customer_language_is_a_code", condition=Q(language__regex="^([a-z]{2})?$")
            ),
            models.CheckConstraint(name="customer_version_counts_up", condition=Q(version__gte=1)),
            models.CheckConstraint(
                name="customer_tier_is_a_slug",
                condition=Q(tier__regex=r"^[a-z0-9_-]*$"),
                violation_error_message="Lower-case letters, digits, _ and - only.",
            ),
        ]
        indexes = [
            models.Index(fields=["email"], name="idx_customers_email"),
            models.Index(fields=["status"], name="idx_customers_status"),
            models.Index(Upper("last_name"), name="idx_customers_last_name"),
            models.Index(fields=["id"], name="idx_customers_staff", condition=Q(is_staff=True)),
            models.Index(
                fields=["id"], name="idx_customers_erased", condition=Q(erased_at__isnull=False)
            ),
        ]
        triggers = [touches_updated_at()]

    def __str__(self) -> str:
        return self.email

    def get_full_name(self) -> str:
        """The name as people write it."""
        return f"{self.first_name} {self.last_name}".strip()

    def get_short_name(self) -> str:
        """How to greet."""
        return self.first_name


class Session(AbstractBaseSession):
    """A log-in, of a token or a cookie; see `customers.sessions`."""

    customer = models.ForeignKey(
        Customer, models.CASCADE, null=True, blank=True, related_name="sessions"
    )
    staff_since = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "sessions"
        indexes = [
            models.Index(
                fields=["staff_since"],
                name="idx_sessions_staff",
                condition=Q(staff_since__isnull=False),
            ),
        ]

    @classmethod
    def get_session_store_class(cls) -> Any:
        from customers.sessions import SessionStore  # noqa: PLC0415 - it needs this model

        return SessionStore


class Address(models.Model):
    """Where a customer lets things be sent to: what an order's address says, kept for the next.

    Orders keep a copy of their own; changing or deleting this one changes no order. Texts are
    empty where there is nothing to say.
    """

    public_id = models.UUIDField(
        unique=True, default=new_uuid, db_default=Func(function="gen_random_uuid"), editable=False
    )
    customer = models.ForeignKey(Customer, models.CASCADE, related_name="addresses", db_index=False)
    name = models.CharField(max_length=100)
    line1 = models.CharField(max_length=200)
    line2 = models.CharField(max_length=200, default="", db_default="", blank=True)
    city = models.CharField(max_length=100, default="", db_default="", blank=True)
    state = models.CharField(max_length=100, default="", db_default="", blank=True)
    postal_code = models.CharField(max_length=20, default="", db_default="", blank=True)
    country = models.CharField(max_length=2)
    phone = models.CharField(max_length=20, default="", db_default="", blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "addresses"
        verbose_name_plural = "addresses"
        constraints = [
            models.CheckConstraint(
                name="address_country_is_a_code", condition=Q(country__regex="^[A-Z]{2}$")
            ),
        ]
        indexes = [
            models.Index(fields=["customer", "-created_at", "-id"], name="idx_addresses_customer"),
        ]
        triggers = [touches_updated_at()]

    def __str__(self) -> str:
        return str(self.public_id)


class CustomerMetrics(models.Model):
    """What a customer has bought, one row a currency: different currencies are never added up.

    Orders that are paid and living (confirmed up to delivered) count; `lifetime_value` is what
    was captured for them less what was refunded, in major units of `currency`. Worked out from
    orders and payments after the fact, so it may be seconds behind them. Guests have none.
    """

    customer = models.ForeignKey(  # its index is the unique one
        Customer, models.CASCADE, related_name="metrics", db_index=False
    )
    currency = models.CharField(max_length=3)
    order_count = models.PositiveIntegerField()
    lifetime_value = models.DecimalField(max_digits=14, decimal_places=2)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "customer_metrics"
        verbose_name_plural = "customer metrics"
        constraints = [
            models.UniqueConstraint(
                name="customer_metrics_one_per_currency", fields=["customer", "currency"]
            ),
            models.CheckConstraint(
                name="customer_metrics_not_negative", condition=Q(lifetime_value__gte=0)
            ),
        ]
        triggers = [touches_updated_at()]

    def __str__(self) -> str:
        return f"{self.customer_id} {self.currency}"


class CustomerNote(models.Model):
    """What a member of staff wants the others to know of a customer; part of what an export tells.

    The same `request_key` again is the same note. Erasing the customer blanks the text.
    """

    customer = models.ForeignKey(  # its index is the unique one
        Customer, models.PROTECT, related_name="staff_notes", db_index=False
    )
    author = models.ForeignKey(Customer, models.PROTECT, related_name="+", db_index=False)
    text = models.CharField(max_length=2_000, blank=True)
    request_key = models.CharField(max_length=64)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "customer_notes"
        constraints = [
            models.UniqueConstraint(
                name="customer_note_once_per_request", fields=["customer", "request_key"]
            ),
        ]
        triggers = erasable(
            personal=["text"], frozen=["customer", "author", "request_key", "created_at"]
        )

    def __str__(self) -> str:
        return f"note {self.pk}"


class EmailSuppression(models.Model):
    """An address that is not written to: mail to it came back, or its reader called it spam.

    The address itself is kept nowhere, only what `customers.suppressions.digests` makes of it.
    `customer` is whose it was, if anybody's. One that was lifted stays, for the record; should the
    same happen again, that is another one. An erasure removes it.
    """

    class Reason(models.TextChoices):
        BOUNCED = "bounced", "Mail to it came back"
        COMPLAINED = "complained", "Its reader called a letter spam"

    address_digest = models.CharField(max_length=64, editable=False)
    reason = models.CharField(max_length=20, choices=Reason)
    provider = models.CharField(max_length=30)
    customer = models.ForeignKey(
        Customer, models.PROTECT, null=True, blank=True, related_name="email_suppressions"
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    lifted_at = models.DateTimeField(null=True, blank=True)
    lifted_by = models.ForeignKey(
        Customer, models.PROTECT, null=True, blank=True, related_name="+", db_index=False
    )

    class Meta:
        db_table = "email_suppressions"
        permissions = [("lift_suppression", "Can have an address written to again")]
        constraints = [
            models.UniqueConstraint(
                name="email_suppression_once_per_address",
                fields=["address_digest"],
                condition=Q(lifted_at__isnull=True),
            ),
            models.CheckConstraint(
                name="email_suppression_reason_known",
                condition=Q(reason__in=["bounced", "complained"]),
            ),
            models.CheckConstraint(
                name="email_suppression_digest_is_one",
                condition=Q(address_digest__regex="^[0-9a-f]{64}$"),
            ),
            models.CheckConstraint(
                name="email_suppression_lift_is_whole",
                condition=Q(lifted_at__isnull=True, lifted_by__isnull=True)
                | Q(lifted_at__isnull=False, lifted_by__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"suppression {self.pk}"


class SavedView(models.Model):
    """A list of the admin as a member of staff has filtered it, to be opened again.

    `page` is the list (`orders.order`), `query` its filters as an address has them; what was
    searched for is not kept, it names customers. Others see it where it `is_shared`.
    """

    owner = models.ForeignKey(Customer, models.CASCADE, related_name="saved_views", db_index=False)
    page = models.CharField(max_length=100)
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=1_000)
    is_shared = models.BooleanField(default=False, db_default=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "saved_views"
        constraints = [
            models.UniqueConstraint(
                name="saved_view_named_once_by_its_owner", fields=["owner", "page", "name"]
            ),
            models.CheckConstraint(name="saved_view_has_a_name", condition=~Q(name="")),
        ]
        indexes = [
            models.Index(
                fields=["page"], name="idx_saved_views_shared", condition=Q(is_shared=True)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.page} {self.name}"
