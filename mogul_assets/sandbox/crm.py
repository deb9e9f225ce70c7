"""What the company's people keep of its customers: notes, opportunities and tasks.

No dataset is made of them; they are here because an account has them, in lists like all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from random import Random

from mogul_assets.sandbox import documents, names
from mogul_assets.sandbox.company import Company
from mogul_assets.sandbox.history import CURRENCY, Dated, identifier
from mogul_assets.sandbox.moments import DAY, milliseconds, moment, nanoseconds

STAGES = {"Evaluation": ("best_case", 80), "Discovery": ("pipeline", 20), "Closed won": ("won", 100)}
"""The stages of a pipeline, with the forecast category and the likelihood in % that they stand for."""


def _kept(company: Company, what: str) -> Iterator[tuple[str, str, int, Random]]:
    """(customer, uuid, when, chances) of each note, opportunity or task that there is by now."""
    for customer, (first, *_) in company.members.items():
        random = Random(f"{company.recipe.seed} {what} {first}")
        at = company.histories[first].record.arrival + random.randrange(DAY, 60 * DAY)
        if random.random() < 0.3 and at < company.now:
            yield customer, identifier(company.recipe.seed, what, first), at, random


def _notes(company: Company) -> Iterator[Dated]:
    for customer, uuid, at, random in _kept(company, "note"):
        call = random.random() < 0.3
        author = random.choice(names.FIRST)
        note = documents.Note(
            uuid=f"note_{uuid}",
            customer_uuid=customer,
            type="call" if call else "note",
            text="Asked about seats" if call else "Met at the conference",
            call_duration=random.randrange(60, 1800) if call else 0,
            author=f"{author} ({author.lower()}@example.com)",
            created_at=milliseconds(at),
            updated_at=milliseconds(at + random.choice((0, DAY))),
        )
        yield Dated((nanoseconds(at, 548_070), note.uuid), note)


def _opportunities(company: Company) -> Iterator[Dated]:
    for customer, uuid, at, random in _kept(company, "opportunity"):
        stage, (category, likelihood) = random.choice(list(STAGES.items()))
        opportunity = documents.Opportunity(
            uuid=uuid,
            customer_uuid=customer,
            owner="sales@example.com",
            pipeline="New Business",
            pipeline_stage=stage,
            estimated_close_date=f"{moment(at + 30 * DAY):%Y-%m-%d}",
            currency=CURRENCY,
            amount_in_cents=random.randrange(10, 500) * 100,
            type=random.choice(("recurring", "one-time")),
            forecast_category=category,
            win_likelihood=likelihood,
            custom={"from_campaign": random.random() < 0.5},
            created_at=milliseconds(at),
            updated_at=milliseconds(at),
        )
        yield Dated((nanoseconds(at, 133_861), uuid), opportunity)


def _tasks(company: Company) -> Iterator[Dated]:
    for customer, uuid, at, random in _kept(company, "task"):
        task = documents.Task(
            task_uuid=uuid,
            customer_uuid=customer,
            task_details="Ask how the first month went.",
            assignee="success@example.com",
            due_date=milliseconds(at - at % DAY + 5 * DAY),
            completed_at=milliseconds(at + 2 * DAY) if random.random() < 0.5 else None,
            created_at=milliseconds(at),
            updated_at=milliseconds(at),
        )
        yield Dated((nanoseconds(at, 474_354), uuid), task)


LISTS: Mapping[str, Callable[[Company], Iterator[Dated]]] = {
    "customer_notes": _notes,
    "opportunities": _opportunities,
    "tasks": _tasks,
}
"""How each list is made, by its name in the API's path."""
