"""Amounts as people write them."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from unicodedata import category

_HUNDREDTH = Decimal("0.01")
_MINUS = "\N{MINUS SIGN}"
"""Read aloud as a minus, where a screen reader passes over a hyphen."""


def spoken(cents: int, currency: str | None, *, signed: bool = False) -> str:
    """An amount for a person to read: ``$1,234.56``, ``−¥1,235``, ``+KWD 1,234.560``.

    With the currency's own number of decimals; an amount that is not nothing is never rounded to it.

    Args:
        cents: hundredths of the currency's unit, whatever its own decimals are: that is how ChartMogul counts.
        currency: its code (ISO 4217); ``None`` gives the number alone, one that nobody knows stands as it is.
        signed: whether an amount above nothing has its plus.
    """
    from babel.numbers import format_decimal, get_currency_precision, get_currency_symbol  # noqa: PLC0415 - 0.1 s

    amount = abs(Decimal(cents)) * _HUNDREDTH
    digits = get_currency_precision(currency) if currency else 2
    rounded = amount.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
    if amount and not rounded:
        digits, rounded = 2, amount
    figures = format_decimal(rounded, "#,##0" + "." * bool(digits) + "0" * digits, locale="en_US")
    symbol = get_currency_symbol(currency, locale="en_US") if currency else ""
    if symbol and category(symbol[-1]) != "Sc":
        symbol += "\N{NO-BREAK SPACE}"  # letters stand apart from the figures, ``$`` does not
    sign = _MINUS if cents < 0 else "+" if signed and cents > 0 else ""
    return f"{sign}{symbol}{figures}"
