"""Months and windows: the arithmetic of the UTC calendar."""

from hypothesis import given
from hypothesis import strategies as st

from mogul_assets.store.window import Month

months = st.builds(Month, st.integers(1, 9999), st.integers(1, 12))


@given(months)
def test_a_month_is_read_as_it_is_written(month):
    assert Month.parse(str(month)) == Month.parse(month.partition_key) == month
