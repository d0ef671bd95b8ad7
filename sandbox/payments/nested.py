"""The hashes inside parameters: their names are those of the SDK's types, at every depth.

Most of what they say is checked and then changes nothing here; what would change where money goes
is refused.
"""

from sandbox.payments import method_types
from sandbox.payments.readers import (
    ArrayOf,
    HashOf,
    RefusedWhen,
    Schema,
    Unsettable,
    boolean,
    email,
    integer,
    metadata,
    one_of,
    refused,
    text,
    text_up_to,
    url,
)

_optional_text = Unsettable(text)

# --- people and places --------------------------------------------------------------------------

ADDRESS = HashOf(
    dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"), _optional_text)
)
CUSTOMER_SHIPPING = HashOf(
    {"address": ADDRESS, "name": text, "phone": _optional_text}, required=("address", "name")
)
SHIPPING = HashOf(
    {
        **CUSTOMER_SHIPPING.schema,
        "carrier": _optional_text,
        "tracking_number": _optional_text,
    },
    required=CUSTOMER_SHIPPING.required,
)
INVOICE_SETTINGS = HashOf(
    {
        "custom_fields": Unsettable(
            ArrayOf(HashOf({"name": text, "value": text}, required=("name", "value")))
        ),
        "default_payment_method": _optional_text,
        "footer": _optional_text,
        "rendering_options": Unsettable(
            HashOf(
                {
                    "amount_tax_display": Unsettable(
                        one_of("exclude_tax", "include_inclusive_tax")
                    ),
                    "template": text,
                }
            )
        ),
    }
)
TAX_IDS = ArrayOf(HashOf({"type": text, "value": text}, required=("type", "value")))

# --- PaymentIntents -----------------------------------------------------------------------------

ALLOWED_TYPES = ArrayOf(one_of(*sorted(method_types.ALLOWABLE)))
EXCLUDED_TYPES = Unsettable(ArrayOf(one_of(*sorted(method_types.EXCLUDABLE))))
AUTOMATIC_METHODS = HashOf(
    {"enabled": boolean, "allow_redirects": one_of("always", "never")}, required=("enabled",)
)
_FUTURE_USAGE = Unsettable(one_of("none", "off_session", "on_session"))
_CAPTURE_LATER = Unsettable(refused)  # only `manual` is possible: it would take no money now
_IF_AVAILABLE = one_of("if_available", "never")
_CREDENTIAL_USAGE = one_of("installment", "recurring", "unscheduled")
_CARD_OPTIONS = HashOf(
    {
        "capture_method": _CAPTURE_LATER,
        "cvc_token": text,
        "installments": HashOf(
            {
                "enabled": boolean,
                "plan": Unsettable(
                    HashOf(
                        {
                            "count": integer,
                            "interval": one_of("month"),
                            "type": one_of("bonus", "fixed_count", "revolving"),
                        },
                        required=("type",),
                    )
                ),
            }
        ),
        "mandate_options": HashOf(
            {
                "amount": integer,
                "amount_type": one_of("fixed", "maximum"),
                "description": text,
                "end_date": integer,
                "interval": one_of("day", "month", "sporadic", "week", "year"),
                "interval_count": integer,
                "reference": text,
                "start_date": integer,
                "supported_types": ArrayOf(one_of("india")),
            },
            required=("amount", "amount_type", "interval", "reference", "start_date"),
        ),
        "moto": boolean,
        "network": one_of(
            *("amex", "cartes_bancaires", "diners", "discover", "eftpos_au", "girocard"),
            *("interac", "jcb", "link", "mastercard", "unionpay", "unknown", "visa"),
        ),
        "request_extended_authorization": _IF_AVAILABLE,
        "request_incremental_authorization": _IF_AVAILABLE,
        "request_multicapture": _IF_AVAILABLE,
        "request_overcapture": _IF_AVAILABLE,
        "request_three_d_secure": one_of("any", "automatic", "challenge"),
        "require_cvc_recollection": boolean,
        "setup_credential_usage": _CREDENTIAL_USAGE,
        "setup_future_usage": _FUTURE_USAGE,
        "statement_descriptor_suffix_kana": _optional_text,
        "statement_descriptor_suffix_kanji": _optional_text,
        "stored_credential_usage": _CREDENTIAL_USAGE,
        "three_d_secure": HashOf(
            {
                "ares_trans_status": one_of("A", "C", "I", "N", "R", "U", "Y"),
                "cryptogram": text,
                "electronic_commerce_indicator": one_of("01", "02", "05", "06", "07"),
                "exemption_indicator": one_of("low_risk", "none"),
                "network_options": HashOf(
                    {
                        "cartes_bancaires": HashOf(
                            {
                                "cb_avalgo": one_of("0", "1", "2", "3", "4", "A"),
                                "cb_exemption": text,
                                "cb_score": integer,
                            },
                            required=("cb_avalgo",),
                        )
                    }
                ),
                "requestor_challenge_indicator": text,
                "transaction_id": text,
                "version": one_of("1.0.2", "2.1.0", "2.2.0", "2.3.0", "2.3.1"),
            },
            required=("cryptogram", "transaction_id", "version"),
        ),
    }
)
_BANK_ACCOUNT_OPTIONS = HashOf(
    {
        "financial_connections": HashOf(
            {
                "filters": HashOf(
                    {"account_subcategories": ArrayOf(one_of("checking", "savings"))}
                ),
                "permissions": ArrayOf(
                    one_of("balances", "ownership", "payment_method", "transactions")
                ),
                "prefetch": ArrayOf(one_of("balances", "ownership", "transactions")),
                "return_url": url,
            }
        ),
        "mandate_options": HashOf({"collection_method": Unsettable(one_of("paper"))}),
        "networks": HashOf({"requested": ArrayOf(one_of("ach", "us_domestic_wire"))}),
        "setup_future_usage": _FUTURE_USAGE,
        "target_date": text,
        "transaction_purpose": Unsettable(one_of("goods", "other", "services", "unspecified")),
        "verification_method": one_of("automatic", "instant", "microdeposits"),
    }
)
_PAYPAL_OPTIONS = HashOf(
    {
        "capture_method": _CAPTURE_LATER,
        "preferred_locale": text,
        "reference": text,
        "risk_correlation_id": text,
        "setup_future_usage": Unsettable(one_of("none", "off_session")),
    }
)
METHOD_OPTIONS = HashOf(
    {
        **dict.fromkeys(method_types.WITH_OPTIONS, refused),
        "card": Unsettable(_CARD_OPTIONS),
        "us_bank_account": Unsettable(_BANK_ACCOUNT_OPTIONS),
        "paypal": Unsettable(_PAYPAL_OPTIONS),
    }
)
METHOD_DATA = HashOf(
    {
        **dict.fromkeys(method_types.WITH_DATA, refused),
        "type": RefusedWhen(one_of("paypal"), tuple(method_types.WITH_OPTIONS - {"paypal"})),
        "paypal": HashOf({}),
        "allow_redisplay": one_of("always", "limited", "unspecified"),
        "billing_details": HashOf(
            {
                "address": Unsettable(ADDRESS),
                "email": Unsettable(email),
                "name": _optional_text,
                "phone": _optional_text,
                "tax_id": text,
            }
        ),
        "metadata": metadata,
        "radar_options": HashOf({"session": text}),
    },
    required=("type",),
)


def _mandate_data(*, acceptance: tuple[str, ...], online: tuple[str, ...]) -> HashOf:
    """What proves that the shopper agreed, with the names that each part of it requires."""
    return HashOf(
        {
            "customer_acceptance": HashOf(
                {
                    "accepted_at": integer,
                    "offline": HashOf({}),
                    "online": HashOf({"ip_address": text, "user_agent": text}, required=online),
                    "type": one_of("offline", "online"),
                },
                required=("type",),
            )
        },
        required=acceptance,
    )


MANDATE_DATA = _mandate_data(
    acceptance=("customer_acceptance",), online=("ip_address", "user_agent")
)
MANDATE_DATA_AT_CONFIRMATION = _mandate_data(acceptance=(), online=())
_TAX = Unsettable(HashOf({"total_tax_amount": integer}, required=("total_tax_amount",)))
_LINE_ITEM = HashOf(
    {
        "discount_amount": integer,
        "payment_method_options": HashOf(
            {
                "card": HashOf({"commodity_code": text}),
                "card_present": HashOf({"commodity_code": text}),
                "klarna": HashOf(
                    {
                        "image_url": url,
                        "product_url": url,
                        "reference": text,
                        "subscription_reference": text,
                    }
                ),
                "paypal": HashOf(
                    {
                        "category": one_of("digital_goods", "donation", "physical_goods"),
                        "description": text,
                        "sold_by": text,
                    }
                ),
            }
        ),
        "product_code": text,
        "product_name": text,
        "quantity": integer,
        "tax": _TAX.reader,
        "unit_cost": integer,
        "unit_of_measure": text,
    },
    required=("product_name", "quantity", "unit_cost"),
)
AMOUNT_DETAILS = Unsettable(
    HashOf(
        {
            "discount_amount": Unsettable(integer),
            "enforce_arithmetic_validation": boolean,
            "line_items": Unsettable(ArrayOf(_LINE_ITEM)),
            "shipping": Unsettable(
                HashOf(
                    {
                        "amount": Unsettable(integer),
                        "from_postal_code": _optional_text,
                        "to_postal_code": _optional_text,
                    }
                )
            ),
            "tax": _TAX,
        }
    )
)
PAYMENT_DETAILS = Unsettable(
    HashOf({"customer_reference": _optional_text, "order_reference": _optional_text})
)
HOOKS = HashOf(
    {"inputs": HashOf({"tax": HashOf({"calculation": _optional_text}, required=("calculation",))})}
)
RADAR_OPTIONS = HashOf({"referrer": _optional_text, "session": text})

# --- disputes -----------------------------------------------------------------------------------

EVIDENCE_TEXTS = (
    "access_activity_log",
    "billing_address",
    "cancellation_policy",
    "cancellation_policy_disclosure",
    "cancellation_rebuttal",
    "customer_communication",
    "customer_email_address",
    "customer_name",
    "customer_purchase_ip",
    "customer_signature",
    "duplicate_charge_documentation",
    "duplicate_charge_explanation",
    "duplicate_charge_id",
    "product_description",
    "receipt",
    "refund_policy",
    "refund_policy_disclosure",
    "refund_refusal_explanation",
    "service_date",
    "service_documentation",
    "shipping_address",
    "shipping_carrier",
    "shipping_date",
    "shipping_documentation",
    "shipping_tracking_number",
    "uncategorized_file",
    "uncategorized_text",
)
_TRANSACTION: Schema = {
    "customer_account_id": _optional_text,
    "customer_device_fingerprint": _optional_text,
    "customer_device_id": _optional_text,
    "customer_email_address": _optional_text,
    "customer_purchase_ip": _optional_text,
    "product_description": _optional_text,
    "shipping_address": ADDRESS,
}
_FEE_ACKNOWLEDGED = HashOf({"fee_acknowledged": boolean})
EVIDENCE = HashOf(
    {
        **{name: Unsettable(text_up_to(20_000)) for name in EVIDENCE_TEXTS},
        "appeal": HashOf(
            {
                "card": HashOf(
                    {
                        "reason_for_filing": _optional_text,
                        "supporting_files": Unsettable(ArrayOf(text)),
                    }
                )
            }
        ),
        "enhanced_evidence": Unsettable(
            HashOf(
                {
                    "mastercard_compliance": _FEE_ACKNOWLEDGED,
                    "visa_compelling_evidence_3": HashOf(
                        {
                            "disputed_transaction": HashOf(
                                {
                                    **_TRANSACTION,
                                    "merchandise_or_services": one_of("merchandise", "services"),
                                }
                            ),
                            "prior_undisputed_transactions": ArrayOf(
                                HashOf({**_TRANSACTION, "charge": text}, required=("charge",))
                            ),
                        }
                    ),
                    "visa_compliance": _FEE_ACKNOWLEDGED,
                }
            )
        ),
    }
)
