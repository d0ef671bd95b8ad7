"""Changes accounts; the only writer of a customer's profile."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import structlog
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.db import transaction
from django.db.models import F

from audit import services as audit
from config.kernel import postal, sql
from config.kernel.api import text as texts
from config.kernel.db import short_transaction
from config.kernel.errors import (
    InvalidTransitionError,
    NotFoundError,
    RequestKeyReusedError,
    ValidationFailedError,
)
from config.kernel.models import new_uuid
from customers import mail, selectors
from customers.errors import EditConflictError, InactiveCustomerError, StaffAccountError
from customers.models import Address, Customer, CustomerMetrics, CustomerNote, Session
from customers.sessions import staff_session_lasts

if TYPE_CHECKING:
    import uuid
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime

    from django.db.models import QuerySet

MAX_ADDRESSES: Final = 50
LONGEST_NOTE: Final = 2_000
LONGEST_REASON: Final = 500
ADDRESS_PARTS: Final = (
    "name", "line1", "line2", "city", "state", "postal_code", "country", "phone",
)  # fmt: skip
TIER: Final = re.compile(r"^[a-z0-9_-]{0,30}\Z")
LEFT_OUT_IF_EMPTY: Final = ("line2", "state", "phone")
DEAD: Final = "FROM sessions WHERE expire_date < %(now)s OR staff_since < %(staff_since)s"
COUNT_DEAD: Final = f"SELECT count(*) {DEAD}"
FORGET_DEAD: Final = f"""
    WITH dead AS MATERIALIZED (
        SELECT session_key {DEAD} LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    )
    DELETE FROM sessions USING dead WHERE sessions.session_key = dead.session_key
"""  # noqa: S608 - our own constant

log = structlog.get_logger(__name__)


def address_parts(address: Address) -> dict[str, str]:
    """An address as it is shown, and as an order takes it: what it need not have is left out."""
    parts = {name: getattr(address, name) for name in ADDRESS_PARTS}
    return {name: value for name, value in parts.items() if value or name not in LEFT_OUT_IF_EMPTY}


def update_profile(*, customer_id: int, version: int, changes: Mapping[str, Any]) -> Customer:
    """Change personal data, unless somebody else has done so since it was read.

    Opens its own transaction.

    Args:
        customer_id: whose.
        version: the one the caller has read.
        changes: personal fields of `Customer` and their new values.

    Raises:
        EditConflictError: the profile has another version by now.
        InactiveCustomerError: suspended or inactive.
    """
    with short_transaction():
        moved = Customer.objects.filter(
            pk=customer_id, version=version, status=Customer.Status.ACTIVE
        ).update(**changes, version=F("version") + 1)
        customer = Customer.objects.get(pk=customer_id)
        if moved != 1:
            if customer.status != Customer.Status.ACTIVE:
                raise InactiveCustomerError
            raise EditConflictError(details={"version": customer.version})
        audit.record(
            "CUSTOMER_UPDATED",
            entity_type="customer",
            entity_id=customer_id,
            data={"fields": sorted(changes), "version": customer.version},
        )
        if "marketing_consent" in changes:
            tell_consent(customer)
    return customer


def withdraw_consent(*, customer_id: int, how: str) -> bool:
    """Have a customer be written to no more, whatever became of the account; audited.

    Opens its own transaction. Repeating it changes nothing, and so does naming nobody.

    Args:
        how: by what way they have said so: `link`, `marketing`, `complaint`.

    Returns:
        Whether this has changed anything.
    """
    with short_transaction():
        return end_consent(customer_id=customer_id, how=how)


def end_consent(*, customer_id: int, how: str) -> bool:
    """The same as part of something else. Requires its transaction."""
    withdrawn = Customer.objects.filter(pk=customer_id, marketing_consent=True).update(
        marketing_consent=False, version=F("version") + 1
    )
    if withdrawn:
        tell_consent(Customer.objects.get(pk=customer_id), how=how)
    return bool(withdrawn)


def tell_consent(customer: Customer, *, how: str = "") -> None:
    """Keep on record what a customer has said on being written to, and tell the world.

    The log keeps each word: who consents, and since when, has to be shown. Requires the
    transaction that has written it, under a version of its own.

    Args:
        how: by what way, where it was not said in the profile.
    """
    consents = customer.marketing_consent
    audit.record(
        "MARKETING_CONSENT_GIVEN" if consents else "MARKETING_CONSENT_WITHDRAWN",
        entity_type="customer",
        entity_id=customer.pk,
        data={"how": how} if how else None,
    )
    audit.publish(
        "customer.marketing_consent_changed",
        aggregate_type="customer",
        aggregate_id=customer.pk,
        dedupe_key=f"customer.marketing_consent.{customer.pk}.{customer.version}",
        payload={"customer_id": customer.pk, "marketing_consent": consents},
    )


def request_password_reset(*, email: str) -> None:
    """Have a letter sent to whoever has an account under this address.

    One SELECT and one INSERT, whether there is such an account or not. Opens its own transaction,
    or joins one.
    """
    with transaction.atomic(savepoint=False):
        found = selectors.find_customer_by_email(email=email)
        mail.announce(
            mail.PASSWORD_RESET,
            customer_id=found.pk if found else None,
            email_address_id=getattr(found, "email_address_id", None),
        )


def note_wrong_password(*, customer_id: int) -> None:
    """Somebody who is logged in did not know the account's password."""
    audit.record("LOGIN_FAILED", entity_type="customer", entity_id=customer_id)


def note_second_factor(*, customer_id: int, fact: str) -> None:
    """A second factor came, went or has other codes: `mail.MFA_ACTIVATED` and its like.

    Requires the transaction that made it so.
    """
    event_type = fact.removeprefix("account.").upper()
    audit.record(event_type, entity_type="customer", entity_id=customer_id)
    mail.announce(fact, customer_id=customer_id)


def note_verified_email(*, customer_id: int, email_address_id: int, email: str) -> None:
    """The customer has shown that mail to this address, the present one or another, reaches them.

    Nobody had shown that of an unverified present one: it may be a stranger's. The verified one
    takes its place, and it is free for its owner. Joins the transaction that marks the address,
    which has locked the customer. States `customer.email_verified`.

    Raises:
        IntegrityError: another account has the address as its present one.
    """
    with transaction.atomic():
        replaced = (
            Customer.objects.filter(pk=customer_id, email_verified=False)
            .exclude(email=email.lower())
            .update(email=email.lower(), email_verified=True, version=F("version") + 1)
        )
        if replaced:
            addresses = EmailAddress.objects.filter(user_id=customer_id)
            addresses.exclude(pk=email_address_id).delete()
            addresses.update(primary=True)
            audit.record("CUSTOMER_EMAIL_CHANGED", entity_type="customer", entity_id=customer_id)
        else:
            Customer.objects.filter(pk=customer_id, email=email.lower()).update(email_verified=True)
        audit.record("CUSTOMER_EMAIL_VERIFIED", entity_type="customer", entity_id=customer_id)
        audit.publish(
            "customer.email_verified",
            aggregate_type="customer",
            aggregate_id=customer_id,
            dedupe_key=f"customer.email_verified:{new_uuid()}",
            payload={"customer_id": customer_id, "email_address_id": email_address_id},
        )


def note_changed_email(*, customer_id: int, email: str, verified: bool) -> None:
    """Another address has become the primary one. Joins the transaction that made it so.

    Raises:
        IntegrityError: another account has that address.
    """
    with transaction.atomic():
        Customer.objects.filter(pk=customer_id).update(
            email=email.lower(), email_verified=verified, version=F("version") + 1
        )
        audit.record("CUSTOMER_EMAIL_CHANGED", entity_type="customer", entity_id=customer_id)


def evict_squatter(*, customer_id: int, session_key: str | None) -> None:
    """Take from an unverified account every way back that its maker may have left in it.

    Anybody can sign up with an address that is not theirs. Its owner, who has just reset the
    password from a letter to it, must not share the account with them: other addresses, second
    factors and sessions go. Nothing happens to a verified account. Requires the transaction that
    wrote the password, and with it locked the customer.

    Args:
        session_key: the session of the reset itself, which stays.
    """
    customer = Customer.objects.only("email", "email_verified").get(pk=customer_id)
    if customer.email_verified:
        return
    EmailAddress.objects.filter(user_id=customer_id).exclude(email=customer.email).delete()
    Authenticator.objects.filter(user_id=customer_id).delete()
    Session.objects.filter(customer_id=customer_id).exclude(session_key=session_key).delete()


def count_dead_sessions(*, now: datetime) -> int:
    """How many sessions `forget_dead_sessions` would forget."""
    return sql.count(COUNT_DEAD, now=now, staff_since=now - staff_session_lasts())


def forget_dead_sessions(*, now: datetime, limit: int) -> int:
    """Delete sessions that are over, by their date or as one of staff, and the addresses in them.

    One statement, which waits for nobody.

    Returns:
        How many; `limit` means that there may be more.
    """
    began_before = now - staff_session_lasts()
    return sql.execute(FORGET_DEAD, now=now, staff_since=began_before, limit=limit)


# --- sessions and second factors of staff -----------------------------------------------------


def keep_newest_staff_sessions(*, customer_id: int, now: datetime) -> int:
    """End a member of staff's oldest sessions beyond `STAFF_SESSIONS`.

    Requires an open transaction. Two who log in at once are put in line.

    Returns:
        How many have ended.
    """
    selectors.lock_customers(customer_ids=[customer_id])
    living = selectors.list_staff_sessions(customer_id=customer_id, now=now)
    keys = [session.session_key for session in living[settings.STAFF_SESSIONS :]]
    return _end_sessions(Session.objects.filter(session_key__in=keys), customer_id=customer_id)


def end_other_sessions(*, customer_id: int, session_key: str | None) -> int:
    """End all of an account's sessions but this one, of staff or of the shop; None: really all.

    Joins a transaction if there is one. Repeating it is harmless.

    Returns:
        How many have ended.
    """
    with transaction.atomic():
        others = Session.objects.filter(customer_id=customer_id).exclude(session_key=session_key)
        return _end_sessions(others, customer_id=customer_id)


def end_staff_sessions(*, customer_id: int) -> int:
    """End an account's sessions of staff: its second factor is gone. Requires a transaction."""
    of_staff = Session.objects.filter(customer_id=customer_id, staff_since__isnull=False)
    return _end_sessions(of_staff, customer_id=customer_id)


def _end_sessions(sessions: QuerySet[Session], *, customer_id: int) -> int:
    ended, _ = sessions.delete()
    if ended:
        audit.record(
            "SESSIONS_ENDED",
            entity_type="customer",
            entity_id=customer_id,
            data={"ended": ended},
        )
    return ended


def note_wrong_code(*, customer_id: int) -> None:
    """Somebody who knows the password did not have the second factor."""
    audit.record("SECOND_FACTOR_FAILED", entity_type="customer", entity_id=customer_id)


def change_password(*, customer_id: int, password: str, session_key: str | None) -> None:
    """Set another password, end all other sessions, and tell the owner. Opens a transaction.

    Args:
        password: checked already; the present one was typed beside it.
        session_key: of the session it was typed in, which stays.
    """
    customer = Customer(pk=customer_id)
    customer.set_password(password)
    with transaction.atomic():
        Customer.objects.filter(pk=customer_id).update(password=customer.password)
        audit.record("PASSWORD_CHANGED", entity_type="customer", entity_id=customer_id)
        mail.announce(mail.PASSWORD_CHANGED, customer_id=customer_id)
        end_other_sessions(customer_id=customer_id, session_key=session_key)


def reset_second_factor(*, customer_id: int, user_id: int | None) -> None:
    """Take the second factor of a member of staff away, who sets up another at the next log-in.

    For who has lost it. All of their sessions end, and they are told by letter. Opens its own
    transaction.

    Args:
        user_id: who does it; None: somebody at the server.

    Raises:
        NotFoundError: there is no such member of staff.
        InvalidTransitionError: their own, or there is none to take away.
    """
    if customer_id == user_id:
        raise InvalidTransitionError("Your own second factor is taken away by a colleague.")
    with short_transaction():
        if not Customer.objects.filter(pk=customer_id, is_staff=True).exists():
            raise NotFoundError
        selectors.lock_customers(customer_ids=[customer_id])
        taken, _ = Authenticator.objects.filter(user_id=customer_id).delete()
        if not taken:
            raise InvalidTransitionError("There is no second factor to take away.")
        note_second_factor(customer_id=customer_id, fact=mail.MFA_DEACTIVATED)
        end_other_sessions(customer_id=customer_id, session_key=None)
        audit.record("SECOND_FACTOR_RESET", entity_type="customer", entity_id=customer_id)


def note_stripe_customer(*, customer_id: int, stripe_customer_id: str) -> str | None:
    """Note under which id the provider knows a customer, unless one is noted. Own transaction.

    Returns:
        The id that is noted now; None: the account was erased, nothing is noted.
    """
    with short_transaction():
        noted = Customer.objects.filter(
            pk=customer_id, stripe_customer_id__isnull=True, erased_at__isnull=True
        ).update(stripe_customer_id=stripe_customer_id)
        if noted:
            _record_stripe_customer("PROVIDER_CUSTOMER_NOTED", customer_id, stripe_customer_id)
            return stripe_customer_id
        return Customer.objects.values_list("stripe_customer_id", flat=True).get(pk=customer_id)


def forget_stripe_customer(*, customer_id: int, stripe_customer_id: str) -> None:
    """The provider knows nobody under this id any more, and would refuse orders that name it.

    Requires an open transaction.
    """
    log.warning("provider_customer_gone", customer_id=customer_id)
    if Customer.objects.filter(pk=customer_id, stripe_customer_id=stripe_customer_id).update(
        stripe_customer_id=None
    ):
        _record_stripe_customer("PROVIDER_CUSTOMER_FORGOTTEN", customer_id, stripe_customer_id)


def _record_stripe_customer(event_type: str, customer_id: int, stripe_customer_id: str) -> None:
    audit.record(
        event_type,
        entity_type="customer",
        entity_id=customer_id,
        data={"stripe_customer_id": stripe_customer_id},
    )


def add_address(*, customer_id: int, address: Mapping[str, str]) -> Address:
    """Keep one more address of a customer. Opens its own transaction.

    Args:
        address: as `postal.checked` gives it back.

    Raises:
        InactiveCustomerError: suspended since the request began.
        ValidationFailedError: there are `MAX_ADDRESSES` already.
    """
    with short_transaction():
        _lock_active(customer_id)
        if Address.objects.filter(customer_id=customer_id).count() >= MAX_ADDRESSES:
            raise ValidationFailedError(
                details={"non_field_errors": [f"No more than {MAX_ADDRESSES} addresses are kept."]}
            )
        added = Address.objects.create(customer_id=customer_id, **address)
        _record_address("ADDRESS_ADDED", added)
    added.refresh_from_db()
    return added


def change_address(
    *, customer_id: int, public_id: uuid.UUID, changes: Mapping[str, str]
) -> Address:
    """Change parts of an address; the whole of it is checked again. Opens its own transaction.

    Two changes at once are made one after the other, each upon the other's result.

    Raises:
        NotFoundError: the customer has no such address.
        ValidationFailedError: the parts do not suit their country.
    """
    with short_transaction():
        address = (
            Address.objects.select_for_update(no_key=True)
            .filter(public_id=public_id, customer_id=customer_id)
            .first()
        )
        if address is None:
            raise NotFoundError
        whole = {name: getattr(address, name) for name in ADDRESS_PARTS} | dict(changes)
        for name, value in postal.checked(whole).items():
            setattr(address, name, value)
        address.save(update_fields=ADDRESS_PARTS)
        _record_address("ADDRESS_CHANGED", address)
    return address


def delete_address(*, customer_id: int, public_id: uuid.UUID) -> None:
    """Forget an address; orders keep their copies. Opens its own transaction.

    Raises:
        NotFoundError: the customer has no such address.
    """
    with short_transaction():
        address = selectors.get_address(customer_id=customer_id, public_id=public_id)
        _record_address("ADDRESS_DELETED", address)
        address.delete()


def add_note(*, customer_id: int, text: str, user_id: int, request_key: str) -> CustomerNote:
    """Keep what staff should know of a customer. Opens its own transaction; audited without words.

    It is a part of what the customer's export tells.

    Args:
        text: up to 2,000 characters, newlines and tabs among them.
        request_key: at most 64 characters; the same again on the same customer is the same note.

    Returns:
        The note; an earlier one where the key was used before.

    Raises:
        NotFoundError: there is no such account, or it was erased.
        ValidationFailedError: nothing in it, too long, control characters, or a card number.
        RequestKeyReusedError: the key stands for another note.
    """
    kept = texts.checked(text, field="text", longest=LONGEST_NOTE, multiline=True)
    key = texts.checked(request_key, field="request_key", longest=64)
    with short_transaction():
        _lock_living(customer_id)
        note, _ = _keep_note(customer_id, kept, user_id=user_id, key=key)
    return note


def _keep_note(customer_id: int, text: str, *, user_id: int, key: str) -> tuple[CustomerNote, bool]:
    """The note of this key, and whether it is new. The customer is locked.

    Raises:
        RequestKeyReusedError: the key stands for another note.
    """
    earlier = CustomerNote.objects.filter(customer_id=customer_id, request_key=key).first()
    if earlier is not None:
        if earlier.text != text:
            raise RequestKeyReusedError
        return earlier, False
    note = CustomerNote.objects.create(
        customer_id=customer_id, author_id=user_id, text=text, request_key=key
    )
    audit.record(
        "CUSTOMER_NOTE_ADDED",
        entity_type="customer",
        entity_id=customer_id,
        data={"note": note.pk, "length": len(text)},
    )
    return note, True


# --- what staff decide about an account -------------------------------------------------------


def suspend_customer(
    *, customer_id: int, reason: str, is_logged_out: bool, user_id: int, request_key: str
) -> None:
    """Let a customer write nothing any more, at once, and log in nowhere.

    Where they are logged in they go on reading what is theirs, unless they are logged out as well.
    Orders stay as they are; staff cancels those that shall not go on. The reason is kept as a
    note, in the same transaction, and is none of the log's. Opens its own transaction.

    Args:
        reason: up to 500 characters, newlines among them; part of the customer's export.
        is_logged_out: whether their sessions end, too.
        user_id: the member of staff.
        request_key: at most 64 characters; the same again changes nothing.

    Raises:
        NotFoundError: there is no such account, or it was erased.
        InvalidTransitionError: it is suspended already.
        StaffAccountError: it works here, and whoever asks is no superuser, or is it themselves.
        ValidationFailedError: no reason, too long, control characters, or a card number.
        RequestKeyReusedError: the key stands for something else.
    """
    words = texts.checked(reason, field="reason", longest=LONGEST_REASON, multiline=True)
    key = texts.checked(request_key, field="request_key", longest=64)
    with short_transaction():
        account = _lock_to_decide(customer_id, user_id=user_id)
        _, is_new = _keep_note(customer_id, f"Suspended: {words}", user_id=user_id, key=key)
        if not is_new:
            return
        if account.status == Customer.Status.SUSPENDED:
            raise InvalidTransitionError("This account is suspended already.")
        _set_status(account, Customer.Status.SUSPENDED, event_type="CUSTOMER_SUSPENDED")
        if is_logged_out:
            end_other_sessions(customer_id=customer_id, session_key=None)


def reactivate_customer(*, customer_id: int, user_id: int) -> None:
    """Let a suspended or inactive customer in again. Opens its own transaction.

    Raises:
        NotFoundError: there is no such account, or it was erased.
        InvalidTransitionError: it is active.
        StaffAccountError: as for `suspend_customer`.
    """
    with short_transaction():
        account = _lock_to_decide(customer_id, user_id=user_id)
        if account.status == Customer.Status.ACTIVE:
            raise InvalidTransitionError("This account is active already.")
        _set_status(account, Customer.Status.ACTIVE, event_type="CUSTOMER_REACTIVATED")


def change_tier(*, customer_id: int, tier: str, user_id: int) -> None:
    """Have price breaks and promotions call a customer otherwise. Opens its own transaction.

    Orders that were placed keep their prices. The tier that it is already changes nothing.

    Args:
        tier: lower-case letters, digits, `_` and `-`, at most 30; empty: none.

    Raises:
        NotFoundError: there is no such account, or it was erased.
        ValidationFailedError: no tier is called so.
        StaffAccountError: as for `suspend_customer`.
    """
    if not TIER.fullmatch(tier):
        raise ValidationFailedError(
            details={"tier": ["Lower-case letters, digits, _ and - only; at most 30."]}
        )
    with short_transaction():
        account = _lock_to_decide(customer_id, user_id=user_id)
        if account.tier == tier:
            return
        Customer.objects.filter(pk=customer_id).update(tier=tier, version=F("version") + 1)
        audit.record(
            "CUSTOMER_TIER_CHANGED",
            entity_type="customer",
            entity_id=customer_id,
            data={"before": account.tier, "after": tier},
        )


def end_sessions_of(*, customer_id: int, user_id: int) -> int:
    """Log a customer out everywhere, by the word of staff. Opens its own transaction.

    Returns:
        How many sessions have ended.

    Raises:
        NotFoundError: there is no such account, or it was erased.
        StaffAccountError: as for `suspend_customer`.
    """
    with short_transaction():
        _lock_to_decide(customer_id, user_id=user_id)
        return end_other_sessions(customer_id=customer_id, session_key=None)


def _set_status(account: Customer, status: str, *, event_type: str) -> None:
    Customer.objects.filter(pk=account.pk).update(status=status, version=F("version") + 1)
    audit.record(
        event_type,
        entity_type="customer",
        entity_id=account.pk,
        data={"before": account.status, "after": status},
    )


def _lock_living(customer_id: int) -> Customer:
    """Lock an account.

    Raises:
        NotFoundError: there is none, or it was erased.
    """
    account = Customer.objects.select_for_update(no_key=True).filter(pk=customer_id).first()
    if account is None or account.erased_at is not None:
        raise NotFoundError
    return account


def _lock_to_decide(customer_id: int, *, user_id: int) -> Customer:
    """Lock an account that a member of staff decides about.

    Raises:
        NotFoundError: there is none, or it was erased.
        StaffAccountError: it works here; see below.
    """
    account = _lock_living(customer_id)
    if account.is_staff or account.is_superuser:
        if customer_id == user_id:
            raise StaffAccountError("This is your own account: a colleague decides about it.")
        if not Customer.objects.filter(pk=user_id, is_superuser=True).exists():
            raise StaffAccountError("This account works here: superusers alone decide about it.")
    return account


def _lock_active(customer_id: int) -> None:
    """Have this customer's addresses be added one by one.

    Raises:
        InactiveCustomerError: suspended or inactive.
    """
    customer = Customer.objects.select_for_update(no_key=True).only("status").get(pk=customer_id)
    if customer.status != Customer.Status.ACTIVE:
        raise InactiveCustomerError


def _record_address(event_type: str, address: Address) -> None:
    audit.record(
        event_type,
        entity_type="address",
        entity_id=address.pk,
        data={"customer_id": address.customer_id},
    )


def replace_metrics(*, customer_ids: Collection[int], metrics: Iterable[CustomerMetrics]) -> int:
    """Have these customers' figures be exactly `metrics`; what is right already is not written.

    Requires an open transaction that has locked the customers before it worked the figures out:
    who comes later then knows more, and never less, than who came before.

    Args:
        customer_ids: whose figures `metrics` are; all of them, in every currency.
        metrics: unsaved rows, at most one a customer and currency.

    Returns:
        How many rows were wrong or missing.
    """
    known = {
        (row.customer_id, row.currency): row
        for row in CustomerMetrics.objects.filter(customer_id__in=customer_ids)
    }
    changed = []
    for row in metrics:
        old = known.pop((row.customer_id, row.currency), None)
        figures = (row.order_count, row.lifetime_value)
        if old is None or (old.order_count, old.lifetime_value) != figures:
            changed.append(row)
    if changed:
        CustomerMetrics.objects.bulk_create(
            changed,
            update_conflicts=True,
            unique_fields=["customer", "currency"],
            update_fields=["order_count", "lifetime_value"],
        )
    if known:
        CustomerMetrics.objects.filter(pk__in=[row.pk for row in known.values()]).delete()
    return len(changed) + len(known)
