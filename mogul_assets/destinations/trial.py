"""What a destination lets us do, tried one thing at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mogul_assets.destinations.base import Permission
from mogul_assets.errors import MogulError


class Trial:
    """Things tried in turn, and what came of each.

    Args:
        told: what an exception of the vendor's client means; ``None`` where it is none of its.
        grants: the remedy by which ``told`` says that a permission is missing; each thing has a better one.
    """

    def __init__(self, told: Callable[[Exception], Exception | None], grants: str) -> None:
        self.found: list[Permission] = []
        self._told, self._grants = told, grants

    @contextmanager
    def of(self, name: str, remedy: str = "") -> Iterator[None]:
        """Tries what is in the block; ``remedy`` grants it."""
        place = len(self.found)
        problem, step = None, ""
        try:
            yield
        except Exception as error:
            told = error if isinstance(error, MogulError) else self._told(error)
            if told is None:
                raise
            problem, step = "another delivery was at it", "try again"
            if isinstance(told, MogulError):
                problem, step = told.message, remedy if remedy and told.remedy == self._grants else told.remedy
        self.found.insert(place, Permission(name, problem, step))

    def passed(self, name: str) -> bool:
        return any(one.name == name and one.problem is None for one in self.found)
