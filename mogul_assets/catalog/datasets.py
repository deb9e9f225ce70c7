"""The thirteen datasets, and the internal ones they are built on.

Column names are ChartMogul's own where it documents a destination column that the API can fill, so that a
query written against ChartMogul's tables keeps working here. Money is in minor units ("cents"): calculated
amounts in the account's currency, source amounts in the invoice's.
"""

from __future__ import annotations

from collections.abc import Mapping

from mogul_assets.catalog.columns import About, Column, Dataset, Group, Kind, Reference

INVOICE_STATUSES = ("open", "paid", "refunded", "written_off", "voided")
"""ChartMogul's enum of ``invoices.status``: the position is the number."""

EVENT_TYPES = (
    "subscription_start_scheduled",
    "subscription_start",
    "scheduled_subscription_start_retracted",
    "subscription_cancellation_scheduled",
    "subscription_cancelled",
    "scheduled_subscription_cancellation_retracted",
    "subscription_update_scheduled",
    "subscription_updated",
    "scheduled_subscription_update_retracted",
    "subscription_event_retracted",
)
"""ChartMogul's enum of ``subscription_events.event_type``: the position is the number."""

MOVEMENT_TYPES: Mapping[str, str] = {
    "new_biz": "New business",
    "expansion": "Expansion",
    "reactivation": "Reactivation",
    "contraction": "Contraction",
    "churn": "Churn",
}
"""What people call the types of movements, gains first."""

CUSTOMER = "coalesce(customer_uuid, customer_external_id, customer_name)"
"""Whose a movement is, as SQL: by the first of these that the account says."""

CUSTOMER_STATUSES = (
    "New Lead",
    "Working Lead",
    "Qualified Lead",
    "Unqualified Lead",
    "Active",
    "Past Due",
    "Cancelled",
)


def _text(name: str, description: str, source: str | None = "", **more: object) -> Column:
    return _column(name, Kind.TEXT, description, source, **more)


def _int(name: str, description: str, source: str | None = "", **more: object) -> Column:
    return _column(name, Kind.INT, description, source, **more)


def _flag(name: str, description: str, source: str | None = "", **more: object) -> Column:
    return _column(name, Kind.FLAG, description, source, **more)


def _moment(name: str, description: str, source: str | None = "", **more: object) -> Column:
    return _column(name, Kind.MOMENT, description, source, **more)


def _json(name: str, description: str, source: str | None = "", **more: object) -> Column:
    return _column(name, Kind.JSON, description, source, **more)


def _column(name: str, kind: Kind, description: str, source: str | None, **more: object) -> Column:
    """A column whose source has its own name, unless another (or ``None``, derived) is given."""
    return Column(name, kind, description, name if source == "" else source, **more)  # type: ignore[arg-type]


def _editing() -> tuple[Column, ...]:
    """What invoices, line items and transactions each say of their validity and of edits by hand."""
    return (
        _flag("disabled", "True where the record is switched off and counts for nothing."),
        _moment("disabled_at", "When it was switched off."),
        _text("disabled_by", "Who switched it off (e-mail)."),
        _flag("user_created", "True where a person made it in ChartMogul's own pages."),
        _json("errors", "Why ChartMogul considers the record invalid, by field; {} where it is valid."),
        _json("edit_history_summary", "Values changed by hand, with the originals; {} where none was."),
    )


CONTACTS = Dataset(
    name="contacts",
    group=Group.SOURCE,
    description="People at the customers.",
    key=("uuid",),
    read="contacts",
    about=About("customer_uuid", ("data_source_uuid", "customer_external_id"), ("email",)),
    data_source="data_source_uuid",
    columns=(
        _text("uuid", "ChartMogul's id of the contact (con_…).", nullable=False),
        _text("customer_uuid", "The customer the contact belongs to; null after some merges."),
        _text("customer_external_id", "The customer's id in its billing system."),
        _text("data_source_uuid", "The data source the contact came from."),
        _text("external_id", "The contact's id in its source."),
        _int("position", "Place in the customer's list of contacts, from 1."),
        _text("first_name", "First name."),
        _text("last_name", "Last name."),
        _text("title", "Job title."),
        _text("email", "E-mail address."),
        _text("phone", "Telephone number."),
        _text("linked_in", "LinkedIn address."),
        _text("twitter", "Twitter address."),
        _text("notes", "Free text."),
        _moment("last_seen", "When the contact was last seen."),
        _json("custom", "The contact's custom attributes."),
    ),
    references=(Reference("customer_uuid", "customers", "uuid"), Reference("data_source_uuid", "data_sources", "uuid")),
)

CURRENCY_RATES = Dataset(
    name="currency_rates",
    group=Group.SOURCE,
    description="Daily exchange rates from the account's currency.",
    key=("date", "base_currency", "currency"),
    window="date",
    read="exchange_rates",
    columns=(
        Column("date", Kind.DAY, "The day the rate is for.", "date", nullable=False),
        _text("base_currency", "The account's currency (ISO 4217).", nullable=False),
        _text("currency", "The other currency (ISO 4217).", nullable=False),
        Column("rate", Kind.FLOAT, "Units of `currency` for one unit of `base_currency`.", "rate", nullable=False),
        Column(
            "quoted_on",
            Kind.DAY,
            "The day whose quote this is: an earlier one on weekends and holidays, at most 7 days back.",
            "quoted_on",
            nullable=False,
        ),
        _text("provider", "Who quoted it.", nullable=False),
    ),
)

CUSTOM_ATTRIBUTES = Dataset(
    name="custom_attributes",
    group=Group.SOURCE,
    description="Custom attributes of customers, one row per customer and attribute.",
    key=("customer_uuid", "name"),
    read="customers",
    each="attributes.custom",
    about=About("customer_uuid"),
    columns=(
        _text("customer_uuid", "The customer (cus_…).", "^uuid", nullable=False),
        _text("name", "The attribute's name.", nullable=False),
        _text(
            "type",
            "String, Integer, Decimal, Boolean or Timestamp; one per name over the whole account.",
            None,
            nullable=False,
        ),
        _text("value", "The value as text, exactly as ChartMogul gives it."),
    ),
    references=(Reference("customer_uuid", "customers", "uuid", within_read=True),),
)

SOURCE_CUSTOMERS = Dataset(
    name="source_customers",
    group=Group.SOURCE,
    description="Customer records as the data sources have them; merged ones share a customer_id.",
    key=("data_source_uuid", "external_id"),
    read="customers",
    each="data_source_uuids",
    about=About("uuid", ("data_source_uuid", "external_id"), ("full_name", "email", "description")),
    data_source="data_source_uuid",
    columns=(
        _int("customer_id", "Number of the (calculated) customer that the record belongs to.", "^id"),
        _text("uuid", "ChartMogul's id of that customer (cus_…).", "^uuid"),
        _text("data_source_uuid", "The data source (ds_…).", nullable=False),
        _text("external_id", "The record's id in its data source.", nullable=False),
        _flag(
            "is_primary", "True for the record that the merged customer takes its details from.", None, nullable=False
        ),
        _text("full_name", "Name; on the primary record only, as are all columns below.", "^name"),
        _text("description", "Company.", "^company"),
        _text("email", "E-mail address.", "^email"),
        _text("country", "Country (ISO 3166 alpha-2).", "^country"),
        _text("state", "State or region code.", "^state"),
        _text("city", "City.", "^city"),
        _text("address_zip", "Postal code.", "^zip"),
        _moment("lead_created_at", "When the record became a lead.", "^lead_created_at"),
        _moment("free_trial_started_at", "When the free trial began.", "^free_trial_started_at"),
        _text("billing_system_type", "Kind of billing system.", "^billing-system-type"),
    ),
    references=(
        Reference("uuid", "customers", "uuid", within_read=True),
        Reference("data_source_uuid", "data_sources", "uuid"),
    ),
)

INVOICES = Dataset(
    name="invoices",
    group=Group.SOURCE,
    description="Invoices, disabled and invalid ones included.",
    key=("uuid",),
    read="invoices",
    about=About("customer_uuid", ("data_source_uuid", "data_source_customer_external_id")),
    data_source="data_source_uuid",
    columns=(
        _text("uuid", "ChartMogul's id of the invoice (inv_…).", nullable=False),
        _text("external_id", "The invoice's number in its billing system."),
        _moment("invoiced_at", "When it was issued.", "date"),
        _moment("due_at", "When it has to be paid.", "due_date"),
        _text("currency", "Currency of the invoice (ISO 4217)."),
        _text(
            "data_source_customer_external_id",
            "The customer's id in the data source; where the API leaves it out, the one record that the"
            " customer has in that source.",
            "customer_external_id",
        ),
        _text("customer_uuid", "The customer (cus_…)."),
        _text(
            "data_source_uuid",
            "The data source that it was read from.",
            "data_source_uuid",
            or_source="@data_source_uuid",
        ),
        _int(
            "status",
            "0 open, 1 paid, 2 refunded, 3 written off, 4 voided; null for a word not known yet.",
            "status",
            enum=INVOICE_STATUSES,
        ),
        _text("status_name", "The status in words, as it came.", "status"),
        _text("collection_method", "manual or automatic."),
        *_editing(),
    ),
    references=(Reference("customer_uuid", "customers", "uuid"), Reference("data_source_uuid", "data_sources", "uuid")),
)

INVOICE_LINE_ITEMS = Dataset(
    name="invoice_line_items",
    group=Group.SOURCE,
    description="What the invoices charge for.",
    key=("uuid",),
    read="invoices",
    each="line_items",
    about=About("customer_uuid"),
    data_source="data_source_uuid",
    columns=(
        _text("uuid", "ChartMogul's id of the line item (li_…).", nullable=False),
        _text("external_id", "The line item's id in its billing system."),
        _text("invoice_uuid", "The invoice.", "^uuid"),
        _text("invoice_external_id", "The invoice's number.", "^external_id"),
        _text("data_source_uuid", "The data source.", "^data_source_uuid", or_source="@data_source_uuid"),
        _text("customer_uuid", "The customer (cus_…).", "^customer_uuid"),
        _text("type", "subscription, one_time or trial."),
        _json(
            "type_data",
            "What belongs to the type: prorated, proration_type, balance_transfer.",
            None,
            parts=(
                ("prorated", "prorated"),
                ("proration_type", "proration_type"),
                ("balance_transfer", "balance_transfer"),
            ),
        ),
        _int("amount_in_cents", "Final amount for the quantity and period, discount deducted, tax included."),
        _text("currency", "The invoice's currency (ISO 4217).", "^currency"),
        _int("quantity", "Seats or units."),
        _text("discount_code", "Discount code."),
        _text("discount_description", "What the discount is for."),
        _int("discount_amount_in_cents", "Discount, already deducted from the amount."),
        _int("tax_amount_in_cents", "Tax, included in the amount."),
        _int("transaction_fees_in_cents", "Fees of the payment provider."),
        _text("transaction_fees_currency", "Currency of the fees."),
        _moment("service_period_start", "Start of the period charged for."),
        _moment("service_period_end", "End of the period charged for."),
        _text("plan_uuid", "The plan (pl_…)."),
        _text("plan_external_id", "The plan's id in its billing system."),
        _text("subscription_uuid", "The subscription (sub_…)."),
        _text("subscription_external_id", "The subscription's id in its billing system."),
        _text("subscription_set_external_id", "The set of subscriptions that are bought together."),
        _text("account_code", "Bookkeeping code."),
        _text("description", "Free text."),
        _int("event_order", "Order among items whose period starts at one moment."),
        *_editing(),
    ),
    references=(
        Reference("invoice_uuid", "invoices", "uuid", within_read=True),
        Reference("plan_uuid", "plans", "uuid"),
    ),
)

PLANS = Dataset(
    name="plans",
    group=Group.SOURCE,
    description="Plans that customers subscribe to.",
    key=("uuid",),
    read="plans",
    data_source="data_source_uuid",
    columns=(
        _text("uuid", "ChartMogul's id of the plan (pl_…).", nullable=False),
        _text("external_id", "The plan's id in its billing system."),
        _text("name", "Name."),
        _text("interval", "Unit of the billing period: day, month or year.", "interval_unit"),
        _int("interval_count", "Units to a billing period."),
        _text("data_source_uuid", "The data source (ds_…)."),
    ),
    references=(Reference("data_source_uuid", "data_sources", "uuid"),),
)

SUBSCRIPTION_EVENTS = Dataset(
    name="subscription_events",
    group=Group.SOURCE,
    description="What happened, or is scheduled to happen, to subscriptions.",
    key=("id",),
    read="subscription_events",
    about=About(record=("data_source_uuid", "data_source_customer_external_id")),
    data_source="data_source_uuid",
    columns=(
        _int("id", "ChartMogul's number of the event.", nullable=False),
        _text("data_source_uuid", "The data source (ds_…)."),
        _text(
            "data_source_customer_external_id",
            "The customer's id in the data source.",
            "customer_external_id",
            or_source="data_source_customer_external_id",
        ),
        _text("subscription_external_id", "The subscription."),
        _text("subscription_set_external_id", "The set of subscriptions."),
        _text("plan_external_id", "The plan."),
        _text("external_id", "The event's id in its source."),
        _moment("event_date", "When the event was raised."),
        _moment("effective_date", "When it takes effect."),
        _int(
            "event_type",
            "ChartMogul's number of the type, 0 to 9; null for a word not known yet.",
            "event_type",
            enum=EVENT_TYPES,
        ),
        _text("event_type_name", "The type in words, as it came.", "event_type"),
        _json(
            "payload",
            "Currency, quantity and amounts, for the types that have them.",
            None,
            parts=(
                ("currency", "currency"),
                ("quantity", "quantity"),
                ("amount_in_cents", "amount_in_cents"),
                ("tax_amount_in_cents", "tax_amount_in_cents"),
            ),
        ),
        _text("retracted_event_id", "The event that this one takes back."),
        _int("event_order", "Order among events of one moment."),
        _json("errors", "Why ChartMogul considers the event invalid; {} where it is valid."),
        _flag("disabled", "True where the event is switched off."),
        _moment("disabled_at", "When it was switched off."),
        _text("disabled_by", "Who switched it off (e-mail)."),
        _moment("created_at", "When ChartMogul received it."),
        _moment("updated_at", "When ChartMogul last changed it."),
    ),
    references=(Reference("data_source_uuid", "data_sources", "uuid"),),
)

TAGS = Dataset(
    name="tags",
    group=Group.SOURCE,
    description="Tags of customers, one row per customer and tag.",
    key=("customer_uuid", "tag"),
    read="customers",
    each="attributes.tags",
    about=About("customer_uuid"),
    columns=(
        _text("customer_uuid", "The customer (cus_…).", "^uuid", nullable=False),
        _text("tag", "The tag.", nullable=False),
    ),
    references=(Reference("customer_uuid", "customers", "uuid", within_read=True),),
)

TRANSACTIONS = Dataset(
    name="transactions",
    group=Group.SOURCE,
    description="Payments and refunds of the invoices.",
    key=("uuid",),
    read="invoices",
    each="transactions",
    about=About("customer_uuid"),
    data_source="data_source_uuid",
    columns=(
        _text("uuid", "ChartMogul's id of the transaction (tr_…).", nullable=False),
        _text("external_id", "The transaction's id in its billing system."),
        _text("invoice_uuid", "The invoice.", "^uuid"),
        _text("invoice_external_id", "The invoice's number.", "^external_id"),
        _text("data_source_uuid", "The data source.", "^data_source_uuid", or_source="@data_source_uuid"),
        _text("customer_uuid", "The customer (cus_…).", "^customer_uuid"),
        _moment("transacted_at", "When it was attempted.", "date"),
        _text("type", "payment or refund."),
        _text("result", "successful or failed."),
        _int("amount_in_cents", "Amount, positive for refunds too; null stands for the whole invoice."),
        _text("currency", "The invoice's currency (ISO 4217).", "^currency"),
        _int("transaction_fees_in_cents", "Fees of the payment provider."),
        _text("transaction_fees_currency", "Currency of the fees."),
        *_editing(),
    ),
    references=(Reference("invoice_uuid", "invoices", "uuid", within_read=True),),
)

DATA_SOURCES = Dataset(
    name="data_sources",
    group=Group.SOURCE,
    description="The billing systems and imports that feed the account.",
    key=("uuid",),
    read="data_sources",
    data_source="uuid",
    columns=(
        _text("uuid", "ChartMogul's id of the source (ds_…).", nullable=False),
        _text("name", "Name."),
        _text("system", "Kind of system: Stripe, Custom, Google Sheets, …"),
        _moment("created_at", "When it was added."),
        _text("status", "State of the import."),
        _json("processing_status", "Records processed, failed and pending."),
        _json("auto_churn_subscription_setting", "Whether and when past-due subscriptions are cancelled."),
        _json("invoice_handling_setting", "Which invoices make or change a subscription."),
    ),
)

CUSTOMERS = Dataset(
    name="customers",
    group=Group.CALCULATED,
    description="Customers as ChartMogul's customer list shows them, merged records folded into one.",
    key=("uuid",),
    read="customers",
    about=About("uuid", ("data_source_uuid", "external_id"), ("name", "email", "company")),
    columns=(
        _text("uuid", "ChartMogul's id of the customer (cus_…).", nullable=False),
        _int("id", "ChartMogul's number of the customer."),
        _text("external_id", "The primary record's id in its data source."),
        _json("external_ids", "The ids of all merged records."),
        _text("data_source_uuid", "The primary record's data source."),
        _json("data_source_uuids", "The data sources of all merged records, in the order of external_ids."),
        _text("name", "Name."),
        _text("email", "E-mail address."),
        _text("company", "Company."),
        _text("status", "New, Working, Qualified or Unqualified Lead; Active; Past Due; Cancelled."),
        _int("mrr", "Monthly recurring revenue, in cents of the account's currency."),
        _int("arr", "Annual run rate, in cents of the account's currency."),
        _text("currency", "The account's currency (ISO 4217)."),
        _text("currency_sign", "The account's currency sign.", "currency-sign"),
        _int(
            "net_payments",
            "Successful payments less successful refunds, in cents of the account's currency at the rate of"
            " each day; null where a rate or the invoices of a source are missing.",
            None,
        ),
        _text("plan_name", "All plans ever subscribed to, joined with a pipe.", None),
        _text("plan_external_id", "Their ids in the billing systems, joined with a pipe.", None),
        _text("billing_cycle", "Their billing periods, joined with a pipe.", None),
        _moment("subscriber_since", "When the customer first paid for a subscription.", "customer-since"),
        _text("country", "Country (ISO 3166 alpha-2)."),
        _text("state", "State or region code."),
        _text("city", "City."),
        _text("address_zip", "Postal code.", "zip"),
        _text("owner", "Who in the team looks after the customer (e-mail)."),
        _text("website_url", "Website."),
        _moment("lead_created_at", "When the customer became a lead."),
        _moment("free_trial_started_at", "When the free trial began."),
        _text("billing_system_type", "Kind of billing system.", "billing-system-type"),
        _text("billing_system_url", "The customer in the billing system.", "billing-system-url"),
        _text("chartmogul_url", "The customer in ChartMogul.", "chartmogul-url"),
        _moment("last_seen", "When the customer was last seen."),
        _json("attributes_stripe", "Attributes that came from Stripe.", "attributes.stripe"),
        _text("lead_status", "Lead status."),
        _text("free_subscriber_status", "Status as a free subscriber."),
        _text("trial_subscriber_status", "Status as a trial subscriber."),
        _text("paid_subscriber_status", "Status as a paid subscriber."),
    ),
    references=(Reference("data_source_uuid", "data_sources", "uuid"),),
)

MRR_MOVEMENTS = Dataset(
    name="mrr_movements",
    group=Group.CALCULATED,
    description="Every change of monthly recurring revenue, customer by customer.",
    key=("uuid",),
    window="date",
    read="activities",
    about=About("customer_uuid", ("billing_connector_uuid", "customer_external_id"), ("customer_name",)),
    data_source="billing_connector_uuid",
    columns=(
        _moment("date", "When the movement happened, or will.", nullable=False),
        _text("customer_name", "The customer's company, or name.", "customer-name"),
        _int("mrr_movement", "Change of MRR, in cents of the account's currency.", "activity-mrr-movement"),
        _int("mrr", "The customer's MRR after it, in cents of the account's currency.", "activity-mrr"),
        _text("description", "What happened, in words."),
        _text("movement_type", "new_biz, expansion, contraction, churn or reactivation.", "type"),
        _text("currency_code", "The activity's currency as it comes (ISO 4217).", "currency"),
        _text("billing_connector_uuid", "The data source (ds_…).", "billing-connector-uuid"),
        _text("customer_external_id", "The customer's id in the data source.", "customer-external-id"),
        _text("customer_uuid", "The customer (cus_…).", "customer-uuid"),
        _text("subscription_external_id", "The subscription.", "subscription-external-id"),
        _text("subscription_set_external_id", "The set of subscriptions.", "subscription-set-external-id"),
        _text("plan_external_id", "The plan.", "plan-external-id"),
        _text(
            "previous_plan_external_id",
            "The plan of the preceding movement of the same subscription, or of its set.",
            None,
        ),
        _int(
            "active_subscription_quantity",
            "Units of the subscription's line items whose service period covers the date; null where none does.",
            None,
        ),
        _text("uuid", "ChartMogul's id of the activity; re-issued when ChartMogul recomputes.", nullable=False),
        _int(
            "rank", "1, 2, … among a customer's movements of one date, in the order they add up.", None, nullable=False
        ),
        _text(
            "movement_key",
            "Our stable identity of the movement: it outlives a re-issued uuid and a corrected amount.",
            None,
            nullable=False,
        ),
    ),
    references=(
        Reference("customer_uuid", "customers", "uuid"),
        Reference("billing_connector_uuid", "data_sources", "uuid"),
    ),
    identity=("movement_key",),
    fleeting=("uuid", "rank"),
)

CUSTOMER_RECORDS = Dataset(
    name="customer_records",
    group=Group.INTERNAL,
    description="The entries of the customer list, before payments and plans are joined to them.",
    key=("uuid",),
    read="customers",
    about=About("uuid", ("data_source_uuid", "external_id"), ("name", "email", "company")),
    columns=tuple(column for column in CUSTOMERS.columns if column.source is not None),
)

MOVEMENT_NEWS = Dataset(
    name="movement_news",
    group=Group.INTERNAL,
    description="Movements of the last weeks and those dated ahead, each with its customer: what messages tell.",
    key=("uuid",),
    read="news",
    about=About(
        "customer_uuid",
        ("billing_connector_uuid", "customer_external_id"),
        ("customer_name", "customer_email", "customer_company"),
    ),
    columns=(
        _text("uuid", "ChartMogul's id of the movement.", nullable=False),
        _text("movement_key", "Our stable identity of it.", nullable=False),
        _text("identity", "The same for movements that differ in nothing but their ordinal.", nullable=False),
        _moment("date", "When it happened, or will.", nullable=False),
        _text("movement_type", "new_biz, expansion, contraction, churn or reactivation.", nullable=False),
        _text("description", "What happened, in words."),
        _int("mrr_movement", "Change of MRR, in cents of the account's currency.", nullable=False),
        _int("mrr", "The customer's MRR after it, in cents of the account's currency.", nullable=False),
        _int("rank", "1, 2, … among a customer's movements of one date.", nullable=False),
        _text("currency_code", "The account's currency (ISO 4217).", nullable=False),
        _int("account_mrr", "All customers' MRR at the last refresh, in cents of it."),
        _text("invoice_currency", "The currency that the subscription is invoiced in (ISO 4217)."),
        _int("invoice_mrr_movement", "The movement in cents of that currency, at the rate of its date."),
        _text("billing_connector_uuid", "The data source (ds_…)."),
        _text("subscription_external_id", "The subscription."),
        _text("plan_external_id", "The plan."),
        _text("plan_name", "The plan's name."),
        _text("customer_uuid", "The customer (cus_…)."),
        _text("customer_external_id", "The customer's id in its data source."),
        _text("customer_name", "The customer's name."),
        _text("customer_email", "The customer's e-mail address."),
        _text("customer_company", "The customer's company."),
        _text("customer_status", "Where the customer stands."),
        _text("customer_currency", "The currency of the two figures below (ISO 4217)."),
        _text("customer_currency_sign", "Its sign."),
        _int("customer_mrr", "The customer's MRR, in cents.", nullable=False),
        _int("customer_arr", "The customer's ARR, in cents.", nullable=False),
        _text("customer_url", "The customer in ChartMogul's pages."),
        _json("customer_external_ids", "The ids of all merged records."),
        _text("customer_data_source_uuid", "The primary record's data source."),
        _json("custom_attributes", "The customer's custom attributes, by name."),
    ),
)

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        CONTACTS,
        CURRENCY_RATES,
        CUSTOM_ATTRIBUTES,
        SOURCE_CUSTOMERS,
        INVOICE_LINE_ITEMS,
        INVOICES,
        PLANS,
        SUBSCRIPTION_EVENTS,
        TAGS,
        TRANSACTIONS,
        DATA_SOURCES,
        CUSTOMERS,
        MRR_MOVEMENTS,
    )
}
"""The thirteen, by name, in ChartMogul's order."""

KNOWN: dict[str, Dataset] = {**DATASETS, **{dataset.name: dataset for dataset in (CUSTOMER_RECORDS, MOVEMENT_NEWS)}}
"""All that the store may hold: the thirteen, and what other datasets and messages are built on."""

ENUMS: dict[tuple[str, str], tuple[str, ...]] = {
    ("invoices", "status_name"): INVOICE_STATUSES,
    ("invoice_line_items", "type"): ("subscription", "one_time", "trial"),
    ("transactions", "type"): ("payment", "refund"),
    ("transactions", "result"): ("successful", "failed"),
    ("plans", "interval"): ("day", "month", "year"),
    ("subscription_events", "event_type_name"): EVENT_TYPES,
    ("customers", "status"): CUSTOMER_STATUSES,
    ("mrr_movements", "movement_type"): tuple(MOVEMENT_TYPES),
}
"""Words known today, by (dataset, column); others are kept as they come and named in a warning."""

LEFT_OUT: dict[str, dict[str, str]] = {
    "customers": {
        "address": "the same address in words; the codes beside it are columns",
        "attributes.clearbit": "gone from the API since 2025",
    },
    "activities": {"activity-arr": "always twelve times activity-mrr"},
    "invoices": {},
    "subscription_events": {},
}
"""Fields known to have no column, by read, and why: counted in the asset's metadata, not reported as drift."""
