"""The words the pretend company is made of: people, places, plans and the systems that bill for them."""

from __future__ import annotations

from dataclasses import dataclass


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST = _words(
    "Ada Alan Amara Anders Barbara Carlos Chen Dorothy Edsger Elena Farid Grace Hedy Ingrid Ivan Joan Kaito Katherine"
    " Leila Linus Margaret Mateo Niklaus Noor Olga Priya Radia Rosa Sofia Tim Yuki Zoë"
)
LAST = _words(
    "Abara Borg Castillo Dubois Eriksson Fischer García Haddad Ito Jansen Kowalski Larsen Moreau Nakamura O'Neill"
    " Petrov Quist Rossi Schäfer Tanaka Usman Varga Weber Xu Young Zieliński"
)
COMPANY = _words(
    "Alder Basalt Cedar Delta Ember Fathom Granite Harbour Indigo Juniper Kestrel Lumen Meridian Northwind Orchard"
    " Pebble Quill Rowan Saffron Tidal Umber Vesper Willow Zephyr"
)
TRADE = _words("Analytics Bakery Books Cloud Freight Games Health Labs Logistics Media Robotics Studio Travel")
TITLES = ("CEO", "CTO", "CFO", "Head of Operations", "Accountant", None)
TAGS = ("managed", "enterprise", "newsletter", "partner", "at-risk", "beta", "merged-customer")
CHANNELS = ("organic", "paid search", "referral", "conference", "Facebook")
OWNERS = ("sales@example.com", "success@example.com", None)


@dataclass(frozen=True, slots=True)
class Place:
    """``tax`` is what an invoice there adds, as a share of the net amount."""

    country: str
    country_name: str
    state: str | None
    state_name: str | None
    city: str
    postcode: str
    currency: str
    tax: float


PLACES = (
    Place("US", "United States", "CA", "California", "San Francisco", "94103", "USD", 0.0),
    Place("US", "United States", "NY", "New York", "New York", "10001", "USD", 0.08875),
    Place("DE", "Germany", None, None, "Berlin", "10115", "EUR", 0.19),
    Place("FR", "France", None, None, "Lyon", "69001", "EUR", 0.2),
    Place("GB", "United Kingdom", None, None, "Leeds", "LS1 1UR", "GBP", 0.2),
    Place("SE", "Sweden", None, None, "Malmö", "211 20", "SEK", 0.25),
    Place("CH", "Switzerland", "ZH", "Zürich", "Zürich", "8001", "CHF", 0.081),
)

SIGNS = {"EUR": "€", "USD": "$", "GBP": "£", "SEK": "kr", "CHF": "CHF"}
PRICE_LEVEL = {"EUR": 1.0, "USD": 1.1, "GBP": 0.9, "SEK": 11.0, "CHF": 1.05}
"""What a price of one euro is listed at."""


@dataclass(frozen=True, slots=True)
class Source:
    """A data source. ``bills``: its invoices are readable; ``reports``: it sends subscription events."""

    key: str
    name: str
    system: str
    share: float
    bills: bool
    reports: bool


SOURCES = (
    Source("billing", "Billing", "Custom", 0.26, bills=True, reports=False),
    Source("events", "Product events", "Custom", 0.4, bills=False, reports=True),
    Source("stripe", "Stripe", "Stripe", 0.24, bills=False, reports=False),
    Source("sheet", "Resellers", "Google Sheets", 0.1, bills=True, reports=False),
)

TIERS = (("Starter", 1_900), ("Team", 4_900), ("Business", 12_900))
"""Name and price in euro cents for one seat and month."""


@dataclass(frozen=True, slots=True)
class Interval:
    """``price`` multiplies the monthly one, ``share`` of subscribers take it; chances are per period."""

    name: str
    unit: str
    count: int
    months: float
    price: float
    share: float
    changes: float
    churns: float


INTERVALS = (
    Interval("monthly", "month", 1, 1.0, 1.0, 0.42, 0.42, 0.05),
    Interval("quarterly", "month", 3, 3.0, 2.8, 0.1, 0.8, 0.12),
    Interval("annual", "year", 1, 12.0, 10.0, 0.44, 1.0, 0.22),
    Interval("week pass", "day", 7, 7 / 30.4375, 0.3, 0.04, 0.05, 0.3),
)
