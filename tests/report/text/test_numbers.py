"""Numbers as people read them."""

from math import floor, log10

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roofline.units import percent, share, si, significant


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


@pytest.mark.parametrize(
    ("part", "error", "text"),
    [
        (0.13789, 0.15, "14 %"),  # 2.07 points off: a whole percent
        (0.13789, 0.05, "13.8 %"),  # 0.69 off: a tenth
        (0.0028, 0.16, "0.28 %"),
        (0.000064, 0.16, "0.006 %"),  # 0.001024 off: the third decimal
        (0.013789, 0.0, "1.38 %"),  # exact: three digits
        (1.0, 0.0, "100 %"),
        (0.0, 0.2, "0 %"),
        (0.0, 0.0, "0 %"),
        (0.004, 9.0, "0.4 %"),  # 3.6 points off: nothing would be left of it, so one digit is
    ],
)
def test_a_share_has_as_many_digits_as_its_error_allows(
    part: float, error: float, text: str
) -> None:
    assert share(part, error) == text


@given(st.floats(1e-6, 1.0), st.floats(1e-3, 1.0))
def test_what_a_share_leaves_out_is_less_than_its_error(part: float, error: float) -> None:
    shown = float(share(part, error).removesuffix(" %"))

    assert abs(shown - 100 * part) <= max(
        100 * part * error, 0.5 * 10.0 ** floor(log10(100 * part))
    )


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [(0.0034, False, "0.34 %"), (0.025, True, "+2.5 %"), (-0.25, True, "-25 %"), (0, True, "0 %")],
)
def test_percent(value: float, signed: bool, text: str) -> None:
    assert percent(value, signed=signed) == text
