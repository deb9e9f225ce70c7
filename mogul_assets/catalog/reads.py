"""The reads: what of an account is landed raw, and under which key its entries lie in a page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Read:
    """One list of the API, or the exchange rates.

    ``root`` is the key of the entries in a page's object; ``None``: the page is a single object. ``windowed``
    reads take a span of dates and are kept by month, the others are read whole.
    """

    name: str
    description: str
    root: str | None
    windowed: bool = False


READS: dict[str, Read] = {
    read.name: read
    for read in (
        Read("account", "The account itself: name, currency, time zone, settings.", None),
        Read("data_sources", "Data sources with their three settings.", "data_sources"),
        Read("customers", "The customer list, leads included.", "entries"),
        Read("contacts", "The contacts of all customers.", "entries"),
        Read("plans", "The plans of all data sources.", "plans"),
        Read("invoices", "Invoices with their line items and transactions, by data source.", "invoices"),
        Read("subscription_events", "Subscription events, disabled ones included.", "subscription_events"),
        Read("activities", "Changes of MRR, by date.", "entries", windowed=True),
        Read("exchange_rates", "Daily rates of the account's currency, from their provider.", "rates", windowed=True),
    )
}
