"""Where data objects lie: a path with placeholders, by which no delivery can overwrite what another one wrote."""

from __future__ import annotations

import re
from dataclasses import dataclass
from string import Formatter

from mogul_assets.errors import ConfigurationError
from mogul_assets.store.table import GENERATION

DEFAULT = "{dataset}/{dataset}-{partition}-{generation}-{part}.{ext}"

_SHAPES = {
    "destination": r"[a-z][a-z0-9_]*",
    "dataset": r".+",
    "date": r"\d{4}-\d\d-\d\d",
    "time": r"\d{6}",
    "partition": r"(?:all|\d{4}-\d\d)",
    "generation": GENERATION.pattern,
    "part": r"\d{4,}-[0-9a-f]{12}",
    "ext": r"(?:parquet|csv|jsonl)(?:\.gz|\.zst)?",
}
"""What each placeholder is filled with: destination and dataset as they are named, when the delivery began (UTC),
the month or ``all``, the refresh, the number of the file with digits that no other has, and the ending."""

PLACEHOLDERS = tuple(_SHAPES)


@dataclass(frozen=True, slots=True)
class Template:
    """A path template that is fit to be used.

    Raises:
        ConfigurationError: where it has an unknown placeholder, could give two files one name, or names no path
            below the destination's root.
    """

    text: str

    def __post_init__(self) -> None:
        try:
            fields = {field for _, field, _, _ in self._parts() if field is not None}
            plain = all(not form and not conversion for _, field, form, conversion in self._parts() if field)
        except ValueError:
            raise self._error("has a brace that is not closed") from None
        if not plain or not fields <= _SHAPES.keys():
            known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
            raise self._error("has a placeholder that there is not", f"there are: {known}")
        wanted = {"dataset", "part"} | ({"generation"} if not {"date", "time"} <= fields else set())
        if lacking := sorted(wanted - fields):
            names = " and ".join(f"{{{name}}}" for name in lacking)
            raise self._error(
                f"would let one delivery overwrite another's files: it lacks {names}",
                "use {dataset}, {part} and either {generation} or both {date} and {time}",
            )
        if any(step in ("", ".", "..") for step in self.text.split("/")) or self.text.startswith("_"):
            raise self._error("is no path below the destination's root", "begin it with a folder, such as {dataset}/")

    def render(self, **values: str) -> str:
        return self.text.format(**values)

    def pattern(self, **values: str) -> re.Pattern[str]:
        """Matches whatever the template can give; ``values`` fix some of its placeholders."""
        shapes = {name: re.escape(values[name]) if name in values else shape for name, shape in _SHAPES.items()}
        return re.compile(
            "".join(re.escape(literal) + (shapes[field] if field else "") for literal, field, _, _ in self._parts())
        )

    def glob(self, **values: str) -> str:
        """The same for a shell."""
        return self.render(**{**dict.fromkeys(_SHAPES, "*"), **values})

    def folder(self, **values: str) -> str:
        """The part of the path that ``values`` fix, ending in ``/``; empty where its first folder varies already."""
        fixed, _, _ = self.glob(**values).partition("*")
        return fixed[: fixed.rfind("/") + 1]

    def _parts(self) -> list[tuple[str, str | None, str | None, str | None]]:
        return list(Formatter().parse(self.text))

    def _error(self, problem: str, remedy: str = "write it like " + DEFAULT) -> ConfigurationError:
        return ConfigurationError(f"template: '{self.text}' {problem}", remedy=remedy)
