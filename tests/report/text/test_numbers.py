"""Numbers as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roofline.units import si, significant


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0, 3, "0"),
        (1, 3, "1.00"),
        (1234, 3, "1230"),
        (0.9996, 3, "1.00"),
        (9.996, 3, "10.0"),
        (99.95, 4, "99.95"),
        (0.001234, 2, "0.0012"),
        (-5.678, 2, "-5.7"),
        (7.86, 1, "8"),
        (1e-7, 3, "0.000000100"),
    ],
)
def test_significant_digits(value: float, digits: int, text: str) -> None:
    assert significant(value, digits) == text


@given(st.floats(1e-9, 1e18), st.integers(1, 6))
def test_significant_is_the_nearest_such_number(value: float, digits: int) -> None:
    text = significant(value, digits)

    assert "e" not in text
    assert float(text) == pytest.approx(value, rel=0.5000001 * 10.0 ** (1 - digits))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (9.33e12, "FLOP", "9.33 TFLOP"),
        (999.4, "B", "999 B"),
        (999.6, "B", "1.00 kB"),
        (999_600, "B", "1.00 MB"),
        (2.5e15, "FLOP", "2.50 PFLOP"),
        (17_179_869_184, "B", "17.2 GB"),
        (0, "B", "0 B"),
        (0, "s", "0 s"),
        (0.0156, "s", "15.6 ms"),
        (1.5e-6, "s", "1.50 µs"),
        (3e-10, "s", "0.300 ns"),
        (42, "s", "42.0 s"),
        (4200, "s", "4200 s"),
        (0.5, "B", "0.500 B"),
    ],
)
def test_si(value: float, unit: str, text: str) -> None:
    assert si(value, unit) == text
