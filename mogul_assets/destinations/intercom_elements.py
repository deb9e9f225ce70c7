"""What a contact of Intercom's is told of its customer: fourteen elements, and how each is written. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

TEXT = 255
"""Characters that a text attribute of Intercom's holds."""

_START = datetime(1970, 1, 1, tzinfo=UTC)

Value = str | float | int | None


@dataclass(frozen=True, slots=True)
class Element:
    """One custom attribute. ``type`` is Intercom's word; ``column`` the calculated customers' column that it tells."""

    label: str
    type: str
    column: str
    description: str


LAST_UPDATED = "last_updated"

ELEMENTS: Mapping[str, Element] = {
    "arr": Element("ARR", "float", "arr", "Annual run rate, in the account's currency."),
    "company": Element("Company", "string", "company", "Company."),
    "currency_code": Element("Currency Code", "string", "currency", "Currency of the amounts (ISO 4217)."),
    "currency_symbol": Element("Currency Symbol", "string", "currency_sign", "Sign of the amounts' currency."),
    "customer_record_link": Element("Customer Record Link", "string", "chartmogul_url", "The customer in ChartMogul."),
    "customer_status": Element("Customer Status", "string", "status", "Lead, Active, Past Due or Cancelled."),
    "email": Element("Email", "string", "email", "E-mail address in ChartMogul."),
    "external_id": Element("External ID", "string", "external_id", "Id in the billing system."),
    LAST_UPDATED: Element("Last Updated", "date", "", "When one of the other ChartMogul attributes last changed."),
    "mrr": Element("MRR", "float", "mrr", "Monthly recurring revenue, in the account's currency."),
    "net_payments": Element(
        "Net Payments", "float", "net_payments", "Payments less refunds, in the account's currency."
    ),
    "plan": Element("Plan", "string", "plan_name", "All plans ever subscribed to."),
    "plan_external_id": Element("Plan External ID", "string", "plan_external_id", "Their ids in the billing system."),
    "subscriber_since": Element("Subscriber Since", "date", "subscriber_since", "When the customer first paid."),
}
"""By the words of ``mogul.yaml``. Labels are ChartMogul's without the brackets, which Intercom allows in no name."""


def attribute(prefix: str, element: str) -> str:
    """What the element's custom attribute is called: ``ChartMogul MRR``."""
    return f"{prefix} {ELEMENTS[element].label}"


def wanted(row: Mapping[str, Any], elements: Iterable[str], prefix: str) -> dict[str, Value]:
    """A customer's values by the names of their attributes, but for *Last Updated*, which no customer has.

    Amounts are cents of any currency in major units, a hundredth each, also where the currency knows no such part
    (ChartMogul gives a yen account 523387 for 5,233.87 yen); moments are seconds since 1970; what is empty is None.
    """
    return {
        attribute(prefix, word): _VALUES[ELEMENTS[word].type](row[ELEMENTS[word].column])
        for word in elements
        if word != LAST_UPDATED
    }


def cut(row: Mapping[str, Any], elements: Iterable[str]) -> list[str]:
    """The labels of the texts that are longer than an attribute holds, and of which only the beginning is written."""
    texts = [ELEMENTS[word] for word in elements if ELEMENTS[word].type == "string"]
    return [element.label for element in texts if len(_bare(row[element.column])) > TEXT]


def shown(value: Any, kind: str) -> str | None:
    """A value as a person reads it: amounts with a point, days as 2026-11-23."""
    if kind == "date" and isinstance(value, int):
        return f"{_START + timedelta(seconds=value):%Y-%m-%d}"
    return None if value is None else str(value)


def differing(ours: Mapping[str, Value], theirs: Mapping[str, Any]) -> dict[str, Value]:
    """What is to be written so that a contact's attributes, ``theirs``, say what ``ours`` do."""
    return {name: value for name, value in ours.items() if not _same(value, theirs.get(name))}


def _same(ours: Value, theirs: Any) -> bool:
    if theirs is None or theirs == "":
        return ours is None
    if isinstance(ours, int | float) and isinstance(theirs, int | float):
        # Intercom's floats need not have ours to the last bit, and a difference that stays is written every day.
        return abs(ours - theirs) < 0.005
    return bool(ours == theirs)


def _bare(value: str | None) -> str:
    # Blanks around a value are not kept by every form of Intercom's, and would differ again every day.
    return (value or "").replace("\0", "").strip()


def _text(value: str | None) -> Value:
    text = _bare(value)
    return (text if len(text) <= TEXT else text[: TEXT - 1].rstrip() + "…") or None


_VALUES: Mapping[str, Any] = {
    "string": _text,
    "float": lambda cents: None if cents is None else cents / 100,
    "date": lambda moment: None if moment is None else int(moment.timestamp()),
}
