from __future__ import annotations

import pytest
from babel.numbers import get_currency_precision, list_currencies
from hypothesis import given
from hypothesis import strategies as st

from mogul_assets.messages.money import spoken

AMOUNTS = st.integers(-(2**63), 2**63 - 1)
CURRENCIES = st.sampled_from(sorted(list_currencies()))


@pytest.mark.parametrize(
    ("cents", "currency", "said"),
    [
        (123456, "USD", "$1,234.56"),
        (-123456, "EUR", "−€1,234.56"),
        (123456, "JPY", "¥1,235"),
        (123450, "JPY", "¥1,235"),
        (123456, "KWD", "KWD 1,234.560"),
        (123456, "CAD", "CA$1,234.56"),
        (-123456, "CHF", "−CHF 1,234.56"),
        (123456, "doubloons", "doubloons 1,234.56"),
        (123456, None, "1,234.56"),
        (0, "USD", "$0.00"),
        (3, "USD", "$0.03"),
        (3, "JPY", "¥0.03"),
        (2**63 - 1, "USD", "$92,233,720,368,547,758.07"),
    ],
)
def test_an_amount_is_written_with_the_decimals_of_its_currency(cents, currency, said):
    assert spoken(cents, currency).replace("\N{NO-BREAK SPACE}", " ") == said


@pytest.mark.parametrize(("cents", "said"), [(100, "+$1.00"), (0, "$0.00"), (-100, "−$1.00")])
def test_a_change_has_its_sign(cents, said):
    assert spoken(cents, "USD", signed=True) == said


def figures(said):
    return "".join(mark for mark in said if mark in "0123456789.").strip(".")


@given(AMOUNTS, CURRENCIES)
def test_what_is_read_is_the_amount_to_half_of_the_last_decimal_shown(cents, currency):
    said = spoken(cents, currency).rpartition("\N{NO-BREAK SPACE}")[2]
    decimals = len(said.partition(".")[2])
    # In units of 10 to the minus 8, exactly.
    shown = int(figures(said).replace(".", "")) * 10 ** (8 - decimals)
    assert abs(shown - abs(cents) * 10**6) * 2 <= 10 ** (8 - decimals)
    assert decimals in {get_currency_precision(currency), 2}


@given(AMOUNTS.filter(bool), CURRENCIES)
def test_what_is_not_nothing_never_reads_as_nothing(cents, currency):
    assert set(figures(spoken(cents, currency))) - set("0.")


@given(AMOUNTS, CURRENCIES, st.booleans())
def test_only_its_sign_tells_a_loss_from_a_gain(cents, currency, signed):
    assert spoken(cents, currency, signed=signed).lstrip("+−") == spoken(-cents, currency, signed=signed).lstrip("+−")
    assert spoken(cents, currency).startswith("−") is (cents < 0)


@given(st.text(max_size=5))
def test_a_currency_that_nobody_knows_is_no_error(currency):
    assert "1.00" in spoken(100, currency)
