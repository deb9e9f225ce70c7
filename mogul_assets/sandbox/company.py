"""The pretend company: every object of its account, made from a seed.

``Recipe`` is all that decides it; the same recipe makes the same company to the byte. Records are told one
by one (``history``); here they are folded into customers the way ChartMogul does it, movements chained, and
the figures of customers and metrics taken from those movements, so that all of it agrees.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from random import Random

from msgspec import Raw

from mogul_assets.sandbox import documents, names
from mogul_assets.sandbox.history import (
    CURRENCY,
    Dated,
    History,
    Move,
    Plan,
    Record,
    Scene,
    Subscribed,
    identifier,
    meet,
    tell,
)
from mogul_assets.sandbox.moments import DAY, milliseconds, nanoseconds, offset, seconds

LEADS = ("New Lead", "Working Lead", "Qualified Lead", "Unqualified Lead")
NO_DATE = "~"
"""Stands for a missing date in sort keys: after all digits, so leads come last."""


@dataclass(frozen=True, slots=True)
class Correction:
    """Somebody corrects the price of an old movement and its invoice by so many percent."""

    at: int
    record: int
    ordinal: int
    percent: int


@dataclass(frozen=True, slots=True)
class Cancellation:
    """A subscription is cancelled for the end of the period that is paid for."""

    at: int
    record: int


@dataclass(frozen=True, slots=True)
class Merge:
    """One customer is merged into another. Both by the number of their first record."""

    at: int
    customer: int
    into: int


@dataclass(frozen=True, slots=True)
class Deletion:
    at: int
    customer: int


Happening = Correction | Cancellation | Merge | Deletion


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides a company.

    ``origin`` and ``now`` are moments in seconds: the company had ``customers`` customers at ``origin``, the
    first ``years`` earlier, and goes on growing at its pace until ``now``. ``issue`` counts how often the
    activities were computed anew, which gives them new uuids.
    """

    seed: int
    origin: int
    now: int
    customers: int
    years: float
    wild: bool
    happenings: tuple[Happening, ...] = ()
    issue: int = 0

    def arrival(self, customer: int) -> int:
        """When the n-th customer arrives. Growth is steady: half the customers came in the last 40 % of time."""
        if customer < self.customers:
            return self.origin - self._span + int(self._span * ((customer + 0.5) / self.customers) ** 0.75)
        return self.origin + int((customer - self.customers + 1) * self._span * 0.75 / self.customers)

    @property
    def _span(self) -> int:
        return int(self.years * 365.25 * DAY)

    def groups(self) -> Iterator[tuple[int, list[tuple[int, int]]]]:
        """Customers as (first record, [(record, arrival), …]): one in twelve is merged from two records or three."""
        record, customer = 0, 0
        while self.customers:
            random = Random(self.seed * 7_919 + customer)
            # Less than the time to the next arrival, and for the last customer before ``origin`` less than to it.
            arrival = self.arrival(customer) + int(random.random() * 0.2 * self._span / self.customers)
            if arrival > self.now:
                return
            draw = random.random()
            size = 3 if draw < 0.02 or customer == 20 else 2 if draw < 0.08 else 1
            yield record, [(record + i, arrival + i * random.randrange(5, 200) * DAY) for i in range(size)]
            record, customer = record + size, customer + 1


@dataclass(frozen=True)
class Company:
    """An account's whole content at one moment. Lists are in no particular order; each entry has its sort key."""

    recipe: Recipe
    account: documents.Account
    data_sources: list[documents.DataSource]
    plans: list[Dated]
    plan_groups: list[Dated]
    customers: list[Dated]
    contacts: list[Dated]
    invoices: list[Dated]
    subscription_events: list[Dated]
    activities: list[Dated]
    histories: Mapping[int, History]
    members: Mapping[str, list[int]]
    """Records by the customer's uuid, the primary one first"""

    @property
    def now(self) -> int:
        return self.recipe.now

    @cached_property
    def movements(self) -> list[tuple[int, documents.Activity]]:
        """Every activity with its moment (seconds), in the order of time; future ones included."""
        return [
            (seconds(datetime.fromisoformat(entry.key[0])), entry.document)  # type: ignore[misc]
            for entry in sorted(self.activities, key=lambda entry: entry.key)
        ]

    def subscriptions(self, customer: str) -> list[documents.Subscription]:
        """The subscriptions of a customer, oldest first."""
        return [
            _subscription(self.recipe.seed, self.histories[number], subscription, index, self.now)
            for number in self.members.get(customer, ())
            for index, subscription in enumerate(self.histories[number].subscriptions)
            if subscription.start <= self.now
        ]


def generate(*, seed: int = 7, now: datetime, customers: int = 200, years: float = 4.0, wild: bool = True) -> Company:
    """A company of so many customers; the same arguments give the same company, to the byte.

    Args:
        seed: decides everything that the other arguments leave open.
        now: until when its history is told; movements already scheduled then are dated later.
        customers: leads included; one in twelve is merged from several records. 20,000 have about 60,000
            invoices and 100,000 activities.
        years: how far back the history goes.
        wild: with the API's rarer shapes: nulls and ``""`` in text and numbers, numbers in strings, trial
            items, a currency that nobody quotes. The official client cannot read a page that has one.
    """
    at = seconds(now)
    return calculate(Recipe(seed, at, at, customers, years, wild))


def calculate(recipe: Recipe, known: Company | None = None) -> Company:
    """The company of a recipe. ``known``: the same company at an earlier time, whose unchanged histories are kept."""
    scene, data_sources, plans = _scenery(recipe)
    merged = {each.customer: each.into for each in recipe.happenings if isinstance(each, Merge)}
    deleted = {each.customer for each in recipe.happenings if isinstance(each, Deletion)}
    members: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for leader, records in recipe.groups():
        first = leader
        while first in merged:
            first = merged[first]
        members[first] += [pair for pair in records if pair[1] <= recipe.now]
    corrections: dict[int, dict[int, tuple[int, int]]] = defaultdict(dict)
    cancellations: dict[int, int] = {}
    for each in recipe.happenings:
        if isinstance(each, Correction):
            corrections[each.record][each.ordinal] = (each.percent, each.at)
        elif isinstance(each, Cancellation):
            cancellations[each.record] = each.at
    fresh = set(recipe.happenings) - set(known.recipe.happenings if known else ())
    touched = {each.record for each in fresh if isinstance(each, Correction | Cancellation)}

    company = Company(
        recipe,
        documents.Account(
            id=f"acc_{identifier(recipe.seed, 'account')}",
            name="Sandbox Company",
            currency=CURRENCY,
            time_zone="Europe/Berlin",
            week_start_on="monday",
        ),
        data_sources,
        [*plans],
        _plan_groups(recipe, plans),
        [], [], [], [], [], {}, {},
    )  # fmt: skip
    histories: dict[int, History] = {}
    by_uuid: dict[str, list[int]] = {}
    for first, pairs in members.items():
        if first in deleted or not pairs:
            continue
        uuid = f"cus_{identifier(recipe.seed, 'customer', first)}"
        told = []
        for number, arrival in pairs:
            old = known.histories.get(number) if known else None
            if old is None or old.next_at <= recipe.now or old.owner != uuid or number in touched:
                old = tell(
                    old.record if old else meet(number, arrival, scene),
                    scene,
                    owner=uuid,
                    now=recipe.now,
                    corrections=corrections.get(number),
                    cancelled_at=cancellations.get(number),
                )
            histories[number] = old
            told.append(old)
            company.invoices.extend(old.invoices)
            company.subscription_events.extend(old.events)
        by_uuid[uuid] = [number for number, _ in pairs]
        _fold(company, scene, uuid, told, issue=(recipe.issue, sum(len(corrections.get(n, ())) for n, _ in pairs)))
    return replace(company, histories=histories, members=by_uuid)


def _scenery(recipe: Recipe) -> tuple[Scene, list[documents.DataSource], list[Dated]]:
    begun = recipe.origin - int(recipe.years * 365.25 * DAY)
    uuids = {source.key: f"ds_{identifier(recipe.seed, 'source', source.key)}" for source in names.SOURCES}
    sources = [_data_source(uuids[source.key], source, begun + i * DAY) for i, source in enumerate(names.SOURCES)]
    plans: dict[tuple[str, str], tuple[Plan, ...]] = {}
    dated: list[Dated] = []
    for source in names.SOURCES:
        for interval in names.INTERVALS:
            family = []
            for tier, (name, price) in enumerate(names.TIERS):
                external_id = f"{source.key}_{name}_{interval.name}".lower().replace(" ", "_")
                document = documents.Plan(
                    external_id=external_id,
                    name=f"{name} {interval.name}",
                    interval_count=interval.count,
                    uuid=f"pl_{identifier(recipe.seed, 'plan', external_id)}",
                    interval_unit=interval.unit,
                    data_source_uuid=uuids[source.key],
                )
                family.append(Plan(document, interval, int(price * interval.price), tier))
                serial = 1_100_000 + len(dated)
                dated.append(Dated((nanoseconds(begun + len(dated) * 60, 35_592), serial), document))
            plans[source.key, interval.name] = tuple(family)
    return Scene(recipe.seed, uuids, plans, recipe.wild), sources, dated


def _data_source(uuid: str, source: names.Source, created: int) -> documents.DataSource:
    handling = {
        "create_subscription_when_invoice_is": "open",
        "update_subscription_when_invoice_is": "open",
        "prevent_subscription_for_invoice_voided": True,
        "prevent_subscription_for_invoice_refunded": False,
        "prevent_subscription_for_invoice_written_off": True,
    }
    return documents.DataSource(
        uuid=uuid,
        name=source.name,
        system=source.system,
        created_at=milliseconds(created),
        status="idle",
        processing_status={"processed": 1200, "failed": 8, "pending": 0},
        auto_churn_subscription_setting={"enabled": source.bills, "interval": 30 if source.bills else None},
        invoice_handling_setting={"manual": dict(handling), "automatic": dict(handling)},
    )


def _plan_groups(recipe: Recipe, plans: list[Dated]) -> list[Dated]:
    groups = []
    for index, (name, _) in enumerate(names.TIERS):
        count = sum(plan.document.name.startswith(name) for plan in plans)  # type: ignore[attr-defined]
        uuid = f"plg_{identifier(recipe.seed, 'group', name)}"
        document = documents.PlanGroup(name=f"All {name} plans", uuid=uuid, plans_count=count)
        created = recipe.origin - 400 * DAY + index * 60
        groups.append(Dated((nanoseconds(created, 246_074), 21_189 + index), document))
    return groups


# -- calculated customers


def _fold(company: Company, scene: Scene, uuid: str, told: list[History], *, issue: tuple[int, int]) -> None:
    """Adds one customer, its activities, contacts and extra invoices, from the histories of its records."""
    recipe, primary = company.recipe, told[0].record
    moves = sorted((move for history in told for move in history.moves), key=lambda move: move.at)
    name = _company_name(primary, wild=recipe.wild) or _full_name(primary)
    mrr, current, since = 0, 0, None
    ever_at: int | None = None
    for move in moves:
        before, mrr = mrr, mrr + move.cents
        if move.cents > 0:
            fresh = ever_at is None or ever_at == move.at
            kind = "new_biz" if fresh else "reactivation" if before == 0 else "expansion"
            ever_at = ever_at if ever_at is not None else move.at
        else:
            kind = "churn" if mrr == 0 else "contraction"
        record = next(history.record for history in told if history.record.number == move.record)
        activity = f"{identifier(recipe.seed, 'activity', move.record, move.ordinal, *issue)}"
        company.activities.append(
            Dated(
                (offset(move.at), activity),
                documents.Activity(
                    description=move.words,
                    activity_mrr_movement=move.cents,
                    activity_mrr=mrr,
                    activity_arr=mrr * 12,
                    date=offset(move.at),
                    type=kind,
                    currency=CURRENCY,
                    subscription_external_id=move.subscription,
                    subscription_set_external_id=_set_of(move, wild=recipe.wild),
                    plan_external_id=None if recipe.wild and move.record % 43 == 17 else move.plan,
                    customer_name=name,
                    customer_uuid=uuid,
                    customer_external_id=record.external_id,
                    billing_connector_uuid=scene.sources[record.source.key],
                    uuid=activity,
                ),
                number=2_600_000_000 + move.record * 1_000 + move.ordinal + 500 * (sum(issue) % 2),
            )
        )
        if move.at <= recipe.now:
            current, since = mrr, since if since is not None else move.at
    company.customers.append(_customer(company, scene, uuid, told, mrr=current, since=since))
    company.contacts.extend(_contacts(company, scene, uuid, told))
    if recipe.wild and primary.source.bills and primary.number % 13 == 4:
        company.invoices.append(_unquoted(company, scene, uuid, primary))


def _set_of(move: Move, *, wild: bool) -> str | Raw | None:
    """The subscription set. ChartMogul writes the key twice for some (recorded): the last one counts."""
    if move.set is None:
        return None if wild and move.record % 4 == 0 else move.subscription
    if move.subscription.endswith("1"):
        return move.set
    return Raw(f'"{move.subscription}","subscription-set-external-id":"{move.set}"'.encode())


def _full_name(record: Record) -> str:
    return f"{record.first_name} {record.last_name}"


def _company_name(record: Record, *, wild: bool) -> str | None:
    if wild and record.number % 23 == 9:
        return None
    if record.number % 19 == 4:
        return ""
    return record.company + (" 🚀" if record.number % 29 == 11 else "")


def _email(record: Record, *, wild: bool) -> str | None:
    if wild and record.number % 37 == 5:
        return None
    if record.number % 41 == 6:
        return ""
    return f"{record.first_name}.{record.last_name}.{record.number}@example.com".lower().replace("'", "")


def _status(told: list[History], mrr: int, since: int | None) -> str:
    if mrr:
        return "Past Due" if any(history.past_due for history in told) else "Active"
    return "Cancelled" if since is not None else LEADS[told[0].record.number % 4]


def _customer(company: Company, scene: Scene, uuid: str, told: list[History], *, mrr: int, since: int | None) -> Dated:
    recipe, primary = company.recipe, told[0].record
    number, place = primary.number, primary.place
    identity = 114_167_450 + number
    name = _company_name(primary, wild=recipe.wild)
    trial_at = next((history.trial_at for history in told if history.trial_at is not None), None)
    lead = since is None or trial_at is not None
    status = _status(told, mrr, since)
    city = "" if number % 17 == 3 else place.city
    website = f"https://{primary.company.replace(' ', '-').lower()}.example" if number % 3 else None
    document = documents.Customer(
        id=identity,
        uuid=uuid,
        external_id=primary.external_id,
        name=_full_name(primary),
        email=_email(primary, wild=recipe.wild),
        status=status,
        customer_since=None if since is None else offset(since),
        attributes=_attributes(recipe, primary, merged=len(told) > 1),
        data_source_uuid=scene.sources[primary.source.key],
        data_source_uuids=[scene.sources[history.record.source.key] for history in told],
        external_ids=[history.record.external_id for history in told],
        company=name,
        country=place.country if number % 17 != 3 else None,
        state=place.state,
        city=city,
        zip=place.postcode if number % 17 != 3 else None,
        lead_created_at=milliseconds(primary.arrival) if lead else None,
        free_trial_started_at=None if trial_at is None else milliseconds(trial_at),
        address=documents.Address(
            country=place.country_name if number % 17 != 3 else None,
            state=place.state_name,
            city=city,
            address_zip=place.postcode if number % 17 != 3 else None,
        ),
        mrr=mrr,
        arr=mrr * 12,
        billing_system_url=f"https://dashboard.stripe.example/customers/{primary.external_id}"
        if primary.source.system == "Stripe"
        else None,
        chartmogul_url=f"https://app.chartmogul.com/#/customers/{identity}-{(name or '').replace(' ', '_')}",
        billing_system_type=primary.source.system,
        currency=CURRENCY,
        currency_sign=names.SIGNS[CURRENCY],
        owner=names.OWNERS[number % 3],
        website_url=website,
        lead_status=LEADS[number % 4],
        free_subscriber_status="Never a Free Subscriber",
        trial_subscriber_status="Never had Trial" if trial_at is None else "Trial Ended",
        paid_subscriber_status="Never a Paid Subscriber" if since is None else "Paid Subscriber",
        last_seen=milliseconds(recipe.origin - number % 90 * DAY) if number % 2 else None,
    )
    return Dated((nanoseconds(since) if since is not None else NO_DATE, identity), document)


def _attributes(recipe: Recipe, record: Record, *, merged: bool) -> documents.Attributes:
    random = Random(recipe.seed * 104_729 + record.number)
    custom: dict[str, object] = {}
    if random.random() < 0.6:
        custom["channel"] = random.choice(names.CHANNELS)
    if random.random() < 0.5:
        custom["CAC"] = random.randrange(50, 900)
    if random.random() < 0.4:
        custom["score"] = random.randrange(100) / 4 + 0.125
    if random.random() < 0.4:
        custom["pro"] = random.random() < 0.5
    if random.random() < 0.3:
        custom["convertedAt"] = nanoseconds(record.arrival + 3 * DAY)[:19].replace("T", " ")
    if recipe.wild and random.random() < 0.2:
        custom["employees"] = random.choice((12, "50+", 7.5, None))
    tags = [tag for tag in names.TAGS[:-1] if random.random() < 0.15]
    if merged:
        tags.append(names.TAGS[-1])
    if record.number % 29 == 12:
        tags.append("très 🎉")
    stripe: dict[str, object] = {"uid": record.number, "coupon": True} if record.source.system == "Stripe" else {}
    return documents.Attributes(custom=custom, stripe=stripe, tags=tags)


def _contacts(company: Company, scene: Scene, uuid: str, told: list[History]) -> Iterator[Dated]:
    recipe = company.recipe
    for history in told:
        record = history.record
        random = Random(recipe.seed * 15_485_863 + record.number)
        for position in range(1, 1 + random.choice((0, 0, 1, 1, 2))):
            contact = f"con_{identifier(recipe.seed, 'contact', record.number, position)}"
            bare = random.random() < 0.3
            first, last = random.choice(names.FIRST), random.choice(names.LAST)
            handle = f"{first}.{last}".lower().replace("'", "")
            created = record.arrival + position * 60
            document = documents.Contact(
                uuid=contact,
                customer_uuid=None if history is not told[0] and record.number % 2 else uuid,
                customer_external_id=record.external_id,
                data_source_uuid=scene.sources[record.source.key],
                external_id=None if bare else f"contact_{record.number:06}_{position}",
                position=position,
                first_name=None if bare else first,
                last_name=None if bare else last,
                title=random.choice(names.TITLES),
                email=f"{handle}.{record.number}.{position}@example.com",
                phone=None if bare else f"+49{random.randrange(10**8, 10**9)}",
                linked_in=None if bare else f"https://linkedin.com/in/{handle}",
                twitter=None if bare else f"https://twitter.com/{handle}",
                notes="Heading\\nBody\\nFooter This contact was merged" if len(told) > 1 else None,
                last_seen=milliseconds(created + 30 * DAY) if random.random() < 0.3 else None,
                custom={} if bare else {"Toggle": random.random() < 0.5, "level": random.randrange(5)},
            )
            yield Dated((nanoseconds(created, 244_875), contact), document, scene.sources[record.source.key])


def _unquoted(company: Company, scene: Scene, uuid: str, record: Record) -> Dated:
    """A one-time invoice in a currency for which the European Central Bank quotes no rate."""
    number = identifier(company.recipe.seed, "unquoted", record.number)
    invoice = documents.Invoice(
        uuid=f"inv_{number}",
        external_id=f"INV-{record.number:06}-AED",
        date=milliseconds(record.arrival),
        due_date=None,
        currency="AED",
        customer_uuid=uuid,
        customer_external_id=record.external_id,
        status="paid",
        collection_method="manual",
        line_items=[
            documents.LineItem(
                uuid=f"li_{number}", type="one_time", description="Training", amount_in_cents=50_000, quantity=1
            )
        ],
        transactions=[
            documents.Transaction(
                uuid=f"tr_{number}",
                amount_in_cents=None,
                type="payment",
                date=milliseconds(record.arrival),
                result="successful",
            )
        ],
        user_created=True,
    )
    return Dated((nanoseconds(record.arrival, 1), invoice.uuid), invoice, scene.sources[record.source.key])


def _subscription(
    seed: int, history: History, subscription: Subscribed, index: int, now: int
) -> documents.Subscription:
    interval, currency = subscription.plan.interval, history.record.currency
    ended = subscription.end is not None and subscription.end <= now
    mrr = 0 if ended else round(subscription.net / interval.months)
    return documents.Subscription(
        id=5_322_874_576 + history.record.number * 100 + index,
        external_id=subscription.external_id,
        subscription_set_external_id=subscription.set or subscription.external_id,
        quantity=subscription.seats,
        uuid=identifier(seed, history.record.number, subscription.external_id),
        mrr=mrr,
        arr=mrr * 12,
        status="inactive" if ended else "active",
        plan=subscription.plan.document.name,
        billing_cycle=interval.unit,
        billing_cycle_count=interval.count,
        start_date=offset(subscription.start),
        end_date=None if subscription.end is None else offset(subscription.end),
        currency=currency,
        currency_sign=names.SIGNS[currency],
    )
