"""One record of one data source, told from its arrival to now: its movements, invoices and events.

A history is told in the order of time and draws its chances in that order, so a later ``now`` only adds to
it: the past stays as it was unless somebody corrects it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cache, lru_cache
from hashlib import md5
from random import Random
from typing import Any

from currency_converter import CurrencyConverter
from msgspec import UNSET, Struct

from mogul_assets.sandbox import documents, names
from mogul_assets.sandbox.moments import DAY, HOUR, milliseconds, moment, nanoseconds, plain

CURRENCY = "EUR"
"""The account's currency."""

NEVER = 1 << 62


def identifier(*parts: object) -> str:
    """A uuid that depends on nothing but the parts."""
    digits = md5("/".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


@lru_cache(maxsize=1)
def _converter() -> CurrencyConverter:
    return CurrencyConverter(fallback_on_wrong_date=True, fallback_on_missing_rate=True)


@cache
def _rate(currency: str, day: int) -> float:
    on = date(1970, 1, 1).toordinal() + day
    return float(_converter().convert(1, currency, CURRENCY, date=date.fromordinal(on)))


def in_account_currency(cents: float, currency: str, at: int) -> int:
    """At the European Central Bank's rate of the (UTC) day; where it quoted none, of the nearest day."""
    return round(cents if currency == CURRENCY else cents * _rate(currency, at // DAY))


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan of one source. ``price`` is in euro cents for a seat and a billing period."""

    document: documents.Plan
    interval: names.Interval
    price: int
    tier: int

    def unit_price(self, currency: str) -> int:
        """Cents of the currency for a seat and a billing period, without discount and tax."""
        return int(self.price * names.PRICE_LEVEL[currency]) // 100 * 100

    def end_of(self, start: int) -> int:
        """When the period that starts then ends: the same day a month, quarter or year later, or in 7 days."""
        if self.interval.unit == "day":
            return start + self.interval.count * DAY
        at = moment(start)
        month = at.month - 1 + round(self.interval.months)
        year, month = at.year + month // 12, month % 12 + 1
        return int(datetime(year, month, min(at.day, 28), at.hour, at.minute, at.second, tzinfo=UTC).timestamp())


@dataclass(frozen=True, slots=True)
class Scene:
    """What all records of one company share."""

    seed: int
    sources: Mapping[str, str]
    """uuid by the source's key"""
    plans: Mapping[tuple[str, str], tuple[Plan, ...]]
    """By the source's key and the interval's name, cheapest first"""
    wild: bool


class Record(Struct, gc=False, kw_only=True):
    """Who a record is about, and what it sets out with. Decided at arrival, never changed."""

    number: int
    arrival: int
    source: names.Source
    place: names.Place
    currency: str
    first_name: str
    last_name: str
    company: str
    external_id: str
    lead: bool
    trial: bool
    announced: bool
    """The subscription is known a week before it starts"""
    add_on: bool
    plan: Plan
    seats: int
    discount: int
    """Percent"""


class Move(Struct, gc=False):
    """A change of one subscription's MRR: ``cents`` in the account's currency, signed."""

    at: int
    cents: int
    words: str
    subscription: str
    set: str | None
    plan: str
    record: int
    ordinal: int


class Dated(Struct, gc=False):
    """A document with what sorts it: ``key`` is (created, tie-breaker), the content of its cursor."""

    key: tuple[str, str | int]
    document: documents.Document
    source: str = ""
    """uuid of the data source, for lists whose objects do not say it"""
    number: int = 0


@dataclass(slots=True)
class Subscribed:
    """A subscription of a record, current or ended. Money: ``unit`` in the record's currency, ``cents`` of
    MRR in the account's.
    """

    external_id: str
    set: str | None
    plan: Plan
    seats: int
    unit: int
    discount: int
    start: int
    end: int | None = None
    cents: int = 0
    corrected: tuple[int, int] = (0, 0)
    """Percent added to the price, and when"""

    @property
    def gross(self) -> int:
        return self.unit * self.seats

    @property
    def net(self) -> int:
        return self.gross * (100 - self.discount) // 100


@dataclass(slots=True)
class History:
    """What has come of a record by now. ``next_at``: nothing changes before (seconds; ``NEVER`` at the end)."""

    record: Record
    owner: str
    moves: list[Move] = field(default_factory=list)
    invoices: list[Dated] = field(default_factory=list)
    events: list[Dated] = field(default_factory=list)
    subscriptions: list[Subscribed] = field(default_factory=list)
    past_due: bool = False
    trial_at: int | None = None
    next_at: int = NEVER


def meet(number: int, arrival: int, scene: Scene) -> Record:
    """The record of that number."""
    random = Random(scene.seed * 1_000_003 + number * 2)
    draw = random.random()
    for source in names.SOURCES:
        draw -= source.share
        if draw < 0:
            break
    place = random.choice(names.PLACES)
    interval = random.choices(names.INTERVALS, weights=_SHARES)[0]
    plans = scene.plans[source.key, interval.name]
    return Record(
        number=number,
        arrival=arrival,
        source=source,
        place=place,
        currency=place.currency if random.random() < 0.7 else CURRENCY,
        first_name=random.choice(names.FIRST),
        last_name=random.choice(names.LAST),
        company=f"{random.choice(names.COMPANY)} {random.choice(names.TRADE)}",
        external_id=f"cus_{number:06}",
        lead=random.random() < 0.15,
        trial=random.random() < 0.3,
        announced=random.random() < 0.1,
        add_on=random.random() < 0.08,
        plan=random.choice(plans[:2]),
        seats=1 + int(random.expovariate(0.35)),
        discount=random.choice((10, 20, 25)) if random.random() < 0.15 else 0,
    )


_SHARES = [interval.share for interval in names.INTERVALS]


class _NotYet(Exception):
    """The story has reached now."""


class _Cancelled(Exception):
    """Somebody cancelled the subscription from outside."""


def tell(
    record: Record,
    scene: Scene,
    *,
    owner: str,
    now: int,
    corrections: Mapping[int, tuple[int, int]] | None = None,
    cancelled_at: int | None = None,
) -> History:
    """The record's history up to ``now``, and what is known then of the time after.

    Args:
        record: whose.
        scene: the company's.
        owner: uuid of the customer that it belongs to.
        now: in seconds.
        corrections: by the ordinal of a movement (percent, when): how its price was corrected, and when.
        cancelled_at: when a cancellation is asked for, effective at the end of the period then paid for.
    """
    teller = _Teller(record, scene, owner=owner, now=now, corrections=corrections or {}, cancelled_at=cancelled_at)
    if not record.lead:
        with suppress(_NotYet):
            teller.live()
    return teller.history


class _Teller:
    def __init__(
        self,
        record: Record,
        scene: Scene,
        *,
        owner: str,
        now: int,
        corrections: Mapping[int, tuple[int, int]],
        cancelled_at: int | None,
    ) -> None:
        self.record = record
        self.scene = scene
        self.now = now
        self.corrections = corrections
        self.cancelled_at = cancelled_at
        self.random = Random(scene.seed * 1_000_003 + record.number * 2 + 1)
        self.source_uuid = scene.sources[record.source.key]
        self.history = History(record, owner)
        self.active: list[Subscribed] = []
        self.ordinal = 0

    # -- time

    def reach(self, at: int) -> None:
        """Goes on to that moment, unless now or a cancellation from outside comes first."""
        if self.active and self.cancelled_at is not None and self.cancelled_at < at:
            raise _Cancelled
        if at > self.now:
            self.history.next_at = min(self.history.next_at, at)
            raise _NotYet

    def seen(self, at: int) -> bool:
        """Whether that moment has come; if not, the history changes then."""
        if at > self.now:
            self.history.next_at = min(self.history.next_at, at)
        return at <= self.now

    # -- the story

    def live(self) -> None:
        at = self.record.arrival
        self.reach(at)
        if self.record.trial:
            self.history.trial_at = at
            if self.record.source.bills and self.scene.wild:
                self.bill(at, [self.trial_item(at)], settle=False)
            at += 14 * DAY
        if self.record.announced:
            self.reach(at - 7 * DAY)
            self.report("subscription_start_scheduled", at - 7 * DAY, effective=at)
        else:
            self.reach(at)
        while True:
            self.subscribe(at)
            self.reach(at)
            end = self.periods(at)
            if self.random.random() > 0.35:
                return
            at = end + int(self.random.uniform(20, 200) * DAY)
            self.reach(at)

    def subscribe(self, at: int) -> None:
        """Starts the subscription, and its add-on at the same moment."""
        record, count = self.record, len(self.history.subscriptions)
        group = f"set_{record.number:06}" if record.add_on else None
        plans = [record.plan]
        if record.add_on:
            plans.append(self.scene.plans[record.source.key, record.plan.interval.name][0])
        for index, plan in enumerate(plans):
            subscription = Subscribed(
                external_id=f"sub_{record.number:06}_{count + index + 1}",
                set=group,
                plan=plan,
                seats=record.seats if index == 0 else 1,
                unit=plan.unit_price(record.currency),
                discount=record.discount,
                start=at,
            )
            self.active.append(subscription)
            self.history.subscriptions.append(subscription)
            words = f"purchased the {plan.document.name} plan"
            if subscription.discount:
                off = subscription.gross - subscription.net
                words += f" with {names.SIGNS[record.currency]}{off / 100:.2f} discount applied"
            self.move(at, subscription, words)
        if at <= self.now:
            self.report("subscription_start", at)

    def periods(self, start: int) -> int:
        """Period after period until the subscription ends; when that is (seconds)."""
        first = True
        while True:
            main, chance = self.active[0], self.random.random
            interval = main.plan.interval
            end = main.plan.end_of(start)
            failed = not first and chance() < 0.05
            doomed = failed and chance() < 0.5
            self.renew(start, end, failed=failed, doomed=doomed, setup=first and chance() < 0.2)
            try:
                if doomed:
                    due = start + 30 * DAY
                    if start <= self.now < due:
                        self.history.past_due = True
                    self.reach(due)
                    self.finish(due)
                    return due
                if chance() < interval.changes:
                    at = start + int((end - start) * chance() * 0.6)
                    self.reach(at)
                    self.change(at, end)
                if chance() < interval.churns:
                    at = start + int((end - start) * 0.7)
                    mode = chance()
                    self.reach(at)
                    if mode < 0.15:
                        self.finish(at)
                        return at
                    self.report("subscription_cancellation_scheduled", at, effective=end)
                    retracted = start + int((end - start) * 0.85)
                    if mode > 0.3 or not self.seen(retracted):
                        self.finish(end)
                        self.reach(end)
                        return end
                    self.reach(retracted)
                    self.report("scheduled_subscription_cancellation_retracted", retracted, retracts=True)
                self.reach(end)
            except _Cancelled:
                at = self.cancelled_at or end
                self.cancelled_at = None
                self.report("subscription_cancellation_scheduled", at, effective=end)
                self.finish(end)
                self.reach(end)
                return end
            start, first = end, False

    def change(self, at: int, end: int) -> None:
        """More or fewer seats, another plan, or both at one moment."""
        main, chance = self.active[0], self.random.random()
        plans = self.scene.plans[self.record.source.key, main.plan.interval.name]
        before = main.net
        if chance < 0.45 or main.seats == 1:
            added = 1 + int(self.random.random() * 3)
            main.seats += added
            self.move(at, main, f"added {added} to the quantity of the {main.plan.document.name} plan")
        elif chance < 0.65:
            main.seats -= 1
            self.move(at, main, f"removed 1 from the quantity of the {main.plan.document.name} plan")
        if chance > 0.6:
            up = main.plan.tier + 1 < len(plans) and (main.plan.tier == 0 or self.random.random() < 0.6)
            old, main.plan = main.plan, plans[main.plan.tier + (1 if up else -1)]
            main.unit = main.plan.unit_price(self.record.currency)
            verb = "upgraded" if up else "downgraded"
            self.move(at, main, f"{verb} from the {old.document.name} plan to the {main.plan.document.name} plan")
        self.report("subscription_updated", at)
        if main.net > before and self.record.source.bills:
            whole = main.plan.end_of(at) - at
            share = (end - at) / whole
            item = self.item(main, at, end, gross=round((main.net - before) * share), prorated=True)
            self.bill(at, [item])

    def finish(self, at: int) -> None:
        for subscription in self.active:
            subscription.end = at
            self.move(at, subscription, f"cancelled their {subscription.plan.document.name} plan", ends=True)
        if at <= self.now:
            self.report("subscription_cancelled", at)
        self.active = []

    def move(self, at: int, subscription: Subscribed, words: str, *, ends: bool = False) -> None:
        """Books the change from what the subscription was worth to what it is worth now."""
        if self.ordinal in self.corrections:
            subscription.corrected = percent, _ = self.corrections[self.ordinal]
            subscription.unit += max(1, subscription.unit * percent // 100)
        ordinal, self.ordinal = self.ordinal, self.ordinal + 1
        worth = subscription.net / subscription.plan.interval.months
        target = 0 if ends else max(1, in_account_currency(worth, self.record.currency, at))
        cents = target - subscription.cents
        if cents:
            subscription.cents = target
            plan = subscription.plan.document.external_id
            self.history.moves.append(
                Move(at, cents, words, subscription.external_id, subscription.set, plan, self.record.number, ordinal)
            )

    # -- events

    def report(self, kind: str, at: int, *, effective: int | None = None, retracts: bool = False) -> None:
        """One event per active subscription, where the source sends any."""
        if not self.record.source.reports:
            return
        events, number = self.history.events, self.record.number
        subscribed: list[Subscribed] | list[None] = self.active or [None]
        for subscription in subscribed:
            identity = 370_000_000 + number * 2_000 + len(events)
            amount: int | str | None = subscription.net if subscription else None
            quantity: int | str | None = subscription.seats if subscription else None
            cancels = "cancel" in kind
            errors: dict[str, list[str]] = {}
            disabled = identity % 61 == 7
            currency: str | None = self.record.currency
            if self.scene.wild and cancels:
                amount, quantity, currency = "", "", ""
            elif self.scene.wild and identity % 13 == 5 and amount is not None:
                amount = str(amount)
            elif self.scene.wild and identity % 53 == 11:
                errors = {"plan_external_id": ["Plan does not exist"]}
            created = plain(at + 1)
            retracted = str(events[-len(subscribed)].document.id) if retracts and events else None  # type: ignore[attr-defined]
            document = documents.SubscriptionEvent(
                id=identity,
                data_source_uuid=self.source_uuid,
                customer_external_id=self.record.external_id,
                subscription_set_external_id=subscription.set if subscription else None,
                subscription_external_id=subscription.external_id
                if subscription
                else f"sub_{number:06}_{len(self.history.subscriptions) + 1}",
                plan_external_id=None if cancels else (subscription or self.record).plan.document.external_id,
                event_date=plain(at),
                effective_date=plain(effective or at),
                event_type=kind,
                external_id=("" if self.scene.wild else None) if identity % 3 == 0 else f"ev_{identity}",
                errors=errors,
                created_at=created,
                updated_at=created,
                quantity=quantity,
                currency=currency,
                amount_in_cents=amount,
                tax_amount_in_cents=None if cancels else 0,
                retracted_event_id=retracted,
                event_order=0 if len(subscribed) > 1 else None,
                disabled=disabled,
                disabled_at=created if disabled else None,
                disabled_by="ops@example.com" if disabled else None,
            )
            key = (nanoseconds(at + 1, identity * 7919 % 1_000_000), identity)
            events.append(Dated(key, document, self.source_uuid))

    # -- invoices

    def renew(self, start: int, end: int, *, failed: bool, doomed: bool, setup: bool) -> None:
        if not self.record.source.bills:
            return
        items = [self.item(each, start, end, gross=each.gross) for each in self.active]
        if setup:
            items.append(
                documents.LineItem(
                    uuid=f"li_{self.uid('setup', start)}",
                    type="one_time",
                    description="Setup",
                    amount_in_cents=self.taxed(9_900)[0],
                    tax_amount_in_cents=self.taxed(9_900)[1],
                    quantity=1,
                    plan_uuid=UNSET,
                )
            )
        self.bill(start, items, failed=failed, doomed=doomed)

    def uid(self, *parts: object) -> str:
        return identifier(self.scene.seed, self.record.number, *parts)

    def taxed(self, net: int) -> tuple[int, int]:
        """(amount with tax, the tax in it), in cents."""
        tax = round(net * self.record.place.tax)
        return net + tax, tax

    def item(
        self, subscription: Subscribed, start: int, end: int, *, gross: int, prorated: bool = False
    ) -> documents.LineItem:
        discounted = gross if prorated else subscription.net
        amount, tax = self.taxed(discounted)
        plan = subscription.plan.document
        history: dict[str, Any] = {}
        percent, at = subscription.corrected
        if percent and start == subscription.start:
            history = {
                "values_changed": {
                    "amount_in_cents": {"original_value": amount * 100 // (100 + percent), "edited_value": amount}
                },
                "latest_edit_author": "Ada Borg (ada@example.com)",
                "latest_edit_performed_at": milliseconds(at),
            }
        forgets_plan = self.scene.wild and self.record.number % 31 == 7
        item = documents.LineItem(
            uuid=f"li_{self.uid('item', subscription.external_id, start)}",
            external_id=None if self.record.number % 2 else f"li_{subscription.external_id}_{start}",
            type="subscription",
            subscription_uuid=f"sub_{self.uid(subscription.external_id)}",
            subscription_external_id=subscription.external_id,
            prorated=prorated,
            proration_type="differential" if prorated else None,
            service_period_start=milliseconds(start),
            service_period_end=milliseconds(end),
            amount_in_cents=amount,
            quantity=subscription.seats,
            discount_code=f"SAVE{subscription.discount}" if subscription.discount else "",
            discount_amount_in_cents=gross - discounted,
            discount_description=f"{subscription.discount} % off" if subscription.discount else None,
            tax_amount_in_cents=tax,
            plan_uuid=None if forgets_plan else plan.uuid,
            plan_external_id=None if forgets_plan else plan.external_id,
            balance_transfer=True if prorated and self.record.number % 5 == 0 else None,
            edit_history_summary=history,
        )
        if subscription.set:
            item.subscription_set_external_id = subscription.set
        return item

    def trial_item(self, at: int) -> documents.LineItem:
        plan = self.record.plan.document
        return documents.LineItem(
            uuid=f"li_{self.uid('trial', at)}",
            type="trial",
            subscription_uuid=f"sub_{self.uid('trial')}",
            subscription_external_id=f"trial_{self.record.number:06}",
            prorated=False,
            proration_type=None,
            service_period_start=milliseconds(at),
            service_period_end=milliseconds(at + 14 * DAY),
            amount_in_cents=0,
            quantity=1,
            plan_uuid=plan.uuid,
            plan_external_id=plan.external_id,
            balance_transfer=None,
        )

    def bill(
        self,
        at: int,
        items: list[documents.LineItem],
        *,
        settle: bool = True,
        failed: bool = False,
        doomed: bool = False,
    ) -> None:
        """Issues an invoice and pays it, sooner, later or never; ``settle=False``: there is nothing to pay."""
        if at > self.now:
            return
        chance, number = self.random.random, len(self.history.invoices)
        refunded, manual, ghost = chance() < 0.02, chance() < 0.2, chance()
        paid = at + (5 * DAY if failed else 10 * DAY if manual else HOUR)
        attempts = [(at + HOUR, "payment", "failed"), (at + 3 * DAY, "payment", "failed")] if failed else []
        if settle and not doomed:
            attempts.append((paid, "payment", "successful"))
            if refunded:
                attempts.append((paid + 10 * DAY, "refund", "successful"))
        attempts = [attempt for attempt in attempts if self.seen(attempt[0])]
        status = "open" if settle else "paid"
        if attempts and attempts[-1][2] == "successful":
            status = "refunded" if attempts[-1][1] == "refund" else "paid"
        elif doomed and self.seen(at + 30 * DAY):
            status = "written_off"
        total = sum(item.amount_in_cents for item in items)
        spelled = self.record.number % 3 == 0
        self.file(
            at,
            number,
            items,
            status=status,
            manual=manual,
            transactions=[
                documents.Transaction(
                    uuid=f"tr_{self.uid('transaction', number, index)}",
                    external_id=f"tr_{self.record.number:06}_{number}_{index}" if spelled else None,
                    amount_in_cents=total if spelled else None,
                    type=kind,
                    date=milliseconds(when),
                    result=result,
                    transaction_fees_in_cents=total * 29 // 1000 + 30 if spelled else None,
                    transaction_fees_currency=self.record.currency if spelled else None,
                )
                for index, (when, kind, result) in enumerate(attempts)
            ],
        )
        if settle and ghost < 0.03:
            self.haunt(at + DAY, len(self.history.invoices), items, ghost)

    def haunt(self, at: int, number: int, items: list[documents.LineItem], chance: float) -> None:
        """A copy of an invoice that counts for nothing: voided, disabled or invalid."""
        if not self.seen(at):
            return
        copies = [
            documents.LineItem(
                uuid=f"li_{self.uid('copy', number, index)}",
                type="one_time",
                description=item.type,
                amount_in_cents=item.amount_in_cents,
                quantity=item.quantity,
                disabled=0.01 <= chance < 0.02,
            )
            for index, item in enumerate(items)
        ]
        invoice = self.file(at, number, copies, status="voided" if chance < 0.01 else "open", manual=True)
        if 0.01 <= chance < 0.02:
            invoice.disabled, invoice.disabled_at, invoice.disabled_by = True, milliseconds(at), "ops@example.com"
        elif chance >= 0.02:
            invoice.errors = {"currency": ["Currency is invalid"]}

    def file(
        self,
        at: int,
        number: int,
        items: list[documents.LineItem],
        *,
        status: str,
        manual: bool,
        transactions: list[documents.Transaction] | None = None,
    ) -> documents.Invoice:
        uuid = f"inv_{self.uid('invoice', number)}"
        invoice = documents.Invoice(
            uuid=uuid,
            external_id=f"INV-{self.record.number:06}-{number:03}",
            date=milliseconds(at),
            due_date=milliseconds(at + 14 * DAY) if manual else None,
            currency=self.record.currency,
            customer_uuid=self.history.owner,
            customer_external_id=self.record.external_id,
            status=status,
            collection_method="manual" if manual else "automatic",
            line_items=items,
            transactions=transactions or [],
        )
        micros = (self.record.number * 7919 + number) % 1_000_000
        self.history.invoices.append(Dated((nanoseconds(at + 2, micros), uuid), invoice, self.source_uuid))
        return invoice
