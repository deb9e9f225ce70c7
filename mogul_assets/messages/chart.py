"""The waterfall: how MRR came from a period's beginning to its end, as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from mogul_assets.catalog.datasets import MOVEMENT_TYPES
from mogul_assets.messages.money import spoken
from mogul_assets.messages.recap import Recap

# Told apart by lightness too, so without colours as well: gains are light, losses dark.
_LEVEL, _GAIN, _LOSS, _INK, _FAINT = "#51606f", "#5fb49c", "#b5483a", "#25303b", "#8894a0"
_WIDTH, _HEIGHT, _DPI = 8.0, 4.2, 150
_HALF = 0.32
"""Of a bar's width."""
_FITTING = 12
"""How many characters of an amount fit beside those of the next bar."""
_SMALL = 0.25
"""Where all steps together move MRR by less than this part of it, the axis begins above zero."""


@dataclass(frozen=True, slots=True)
class Bar:
    """From one level to another, in cents; a level stands on nothing."""

    label: str
    bottom: int
    top: int
    color: str
    said: str


def bars(recap: Recap) -> tuple[Bar, ...]:
    """Opening MRR, a step for each type and for whatever else moved it, closing MRR: each from where the last ended."""
    return tuple(_bars(recap))


def _bars(recap: Recap) -> Iterator[Bar]:
    yield Bar("Opening\nMRR", 0, recap.opening, _LEVEL, spoken(recap.opening, recap.currency))
    level = recap.opening
    steps = [(MOVEMENT_TYPES.get(kind, kind).replace(" ", "\n"), sum_.amount) for kind, sum_ in recap.types.items()]
    others = [
        ("Left out", sum(left_out.sum.amount for left_out in recap.left_out)),
        ("Exchange\nrates", recap.rest),
    ]
    for label, amount in (*steps, *(other for other in others if other[1])):
        color = _GAIN if amount >= 0 else _LOSS
        yield Bar(label, level, level + amount, color, spoken(amount, recap.currency, signed=True))
        level += amount
    yield Bar("Closing\nMRR", 0, recap.closing, _LEVEL, spoken(recap.closing, recap.currency))


def described(recap: Recap) -> str:
    """The picture in words, for those who do not see it."""
    parts = (f"{bar.label.replace(chr(10), ' ')} {bar.said}" for bar in bars(recap))
    return f"Waterfall chart of MRR, {recap.period.label}: {', '.join(parts)}."


def waterfall(recap: Recap) -> bytes:
    """The picture as PNG, 1200 by 630 pixels, on white."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - 0.5 s, and 60 MB
    from matplotlib.figure import Figure  # noqa: PLC0415

    drawn = bars(recap)
    floor, ceiling = _limits(drawn)
    figure = Figure((_WIDTH, _HEIGHT), dpi=_DPI, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    # Of two $ in a text matplotlib would make a formula.
    plain: dict[str, Any] = {"parse_math": False, "fontfamily": "DejaVu Sans"}
    size = min(8.5, 8.5 * _FITTING / max(len(bar.said) for bar in drawn))
    for place, bar in enumerate(drawn):
        ends = sorted((bar.bottom, bar.top))
        low, high = (max(end, floor) for end in ends)
        axes.bar(place, high - low, 2 * _HALF, bottom=low, color=bar.color)
        at: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "bottom"}
        axes.annotate(bar.said, (place, high), (0, 4), fontsize=size, color=_INK, **at, **plain)
        if place + 1 < len(drawn):
            axes.plot((place + _HALF, place + 1 - _HALF), (bar.top, bar.top), color=_FAINT, linewidth=0.8)
        if floor > 0 and bar.color == _LEVEL:
            cut = floor + (ceiling - floor) * 0.05
            axes.plot((place - 0.4, place + 0.4), (cut, cut + (ceiling - floor) * 0.02), color="white", linewidth=3)
    axes.set_ylim(floor, ceiling)
    axes.set_xticks(range(len(drawn)), [bar.label for bar in drawn], fontsize=8.5, color=_INK, **plain)
    axes.tick_params(length=0)
    axes.set_yticks([])
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_FAINT)
    axes.set_title(f"MRR, {recap.period.label}", loc="left", fontsize=11, color=_INK, pad=14, **plain)
    if floor > 0:
        figure.supxlabel("The axis does not begin at zero.", x=0.99, ha="right", fontsize=7.5, color=_FAINT)
    layout = figure.get_layout_engine()
    assert layout is not None
    layout.set(w_pad=0.15, h_pad=0.12)  # type: ignore[call-arg]  # inches; what a constrained layout takes
    picture = BytesIO()
    FigureCanvasAgg(figure).print_png(picture, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return picture.getvalue()


def _limits(drawn: tuple[Bar, ...]) -> tuple[float, float]:
    """What of the axis is shown: from zero on, or only what moves where that would be too thin to be seen."""
    levels = [bar.top for bar in drawn]
    low, high = min(levels), max(levels)
    span = high - low
    if low > 0 and 0 < span < _SMALL * high:
        return low - max(0.35 * span, 1), high + 0.15 * span
    low, high = min(low, 0), max(high, 0)
    margin = 0.12 * (high - low or 1)
    return (low - margin if low else 0), high + margin
