"""Statistics of samples, against the standard library, binomial coefficients and simulation."""

from __future__ import annotations

import statistics as stdlib
from math import comb, inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roofline.errors import InputError
from roofline.records.statistics import (
    StoppingRule,
    WarmUpRule,
    median_interval,
    quality_warnings,
    summarize,
)


@given(st.lists(st.floats(1e-6, 1e3), min_size=2, max_size=60))
def test_summary_as_the_standard_library_has_it(samples: list[float]) -> None:
    found = summarize(samples)

    deciles = stdlib.quantiles(samples, n=10, method="inclusive")
    assert found.count == len(samples)
    assert found.min_s == min(samples)
    assert found.p10_s == pytest.approx(deciles[0])
    assert found.p50_s == pytest.approx(stdlib.median(samples))
    assert found.p90_s == pytest.approx(deciles[8])
    assert found.mean_s == pytest.approx(stdlib.fmean(samples))
    assert found.spread == pytest.approx((deciles[8] - deciles[0]) / stdlib.median(samples))


@pytest.mark.parametrize(
    ("n", "rank"),
    [
        # 2·Σ_{i<k} C(n, i) / 2ⁿ may be 5 % at most
        (5, None),  # 2·1 / 32 = 6.3 %
        (6, 1),  # 2·1 / 64 = 3.1 %; 2·(1 + 6) / 64 = 22 %
        (8, 1),  # 2·(1 + 8) / 256 = 7.0 %
        (9, 2),  # 2·(1 + 9) / 512 = 3.9 %; 2·(1 + 9 + 36) / 512 = 18 %
        (10, 2),  # 2·(1 + 10) / 1024 = 2.1 %; 2·(1 + 10 + 45) / 1024 = 10.9 %
        (20, 6),  # 2·(1 + 20 + 190 + 1140 + 4845 + 15504) / 2²⁰ = 4.1 %; + 38760: 11.5 %
    ],
)
def test_interval_between_the_right_order_statistics(n: int, rank: int | None) -> None:
    shuffled = np.random.default_rng(n).permutation(np.arange(1.0, n + 1))  # value = its rank

    expected = None if rank is None else (rank, n + 1 - rank)
    assert median_interval(shuffled) == expected


@given(st.integers(6, 400))
def test_interval_is_the_narrowest_of_95_percent(n: int) -> None:
    low, high = median_interval(np.arange(1.0, n + 1)) or (0, 0)

    def outside(k: int) -> float:
        return 2 * sum(comb(n, i) for i in range(k)) / 2**n

    assert low + high == n + 1
    assert outside(int(low)) <= 0.05 < outside(int(low) + 1)


def test_interval_holds_the_median_of_a_skewed_distribution() -> None:
    generator = np.random.default_rng(0)
    trials = generator.exponential(size=(4000, 15))  # median ln 2

    bounds = np.array([median_interval(trial) for trial in trials])
    share = ((bounds[:, 0] <= np.log(2)) & (np.log(2) <= bounds[:, 1])).mean()

    # k = 4: 1 − 2·(1 + 15 + 105 + 455) / 2¹⁵ = 96.5 %; 4000 trials are good to 0.3 points
    assert share == pytest.approx(0.9648, abs=0.01)


def test_relative_ci_is_half_the_interval_over_the_median() -> None:
    found = summarize([10.0, 11.0, 12.0, 14.0, 15.0, 16.0])

    assert (found.ci_low_s, found.ci_high_s) == (10, 16)
    assert found.relative_ci == pytest.approx(3 / 13)


def test_too_few_samples_have_no_interval() -> None:
    found = summarize([1.0] * 5)

    assert found.ci_low_s is None
    assert found.ci_high_s is None
    assert found.relative_ci == inf


@pytest.mark.parametrize(
    ("samples", "message"), [([], "no samples"), ([1.0, nan], "NaN"), ([inf], "infinity")]
)
def test_refuses_what_is_no_sample(samples: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        summarize(samples)


def test_settled_once_the_interval_is_narrow_enough() -> None:
    rule = StoppingRule(relative_ci=0.05, least=6)
    wide = [0.9, 1.0, 1.0, 1.0, 1.0, 1.1]  # of 6 the extremes: ±10 %

    assert not rule.settled(wide[1:])
    assert not rule.settled(wide)
    assert rule.reached(wide) == pytest.approx((0.05 / 0.1) ** 2)
    assert not rule.settled([*wide, 1.0, 1.0])  # of 8 still the extremes
    assert rule.settled([*wide, 1.0, 1.0, 1.0])  # of 9 the second of each side: ±0


def test_not_settled_by_fewer_than_least_however_equal() -> None:
    rule = StoppingRule(least=12)

    assert not rule.settled([1.0] * 11)
    assert rule.settled([1.0] * 12)


@pytest.mark.parametrize(
    "wrong",
    [
        {"relative_ci": 0},
        {"relative_ci": nan},
        {"cap_s": 0},
        {"cap_s": nan},
        {"least": 0},
        {"least": 9, "most": 8},
    ],
)
def test_refuses_a_rule_that_never_or_always_stops(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="stopping rule"):
        StoppingRule(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"window": 0}, {"most": -1}, {"tolerance": -0.1}])
def test_refuses_a_warm_up_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="warm-up rule"):
        WarmUpRule(**wrong)  # type: ignore[arg-type]


def test_steady_when_two_windows_agree() -> None:
    rule = WarmUpRule(window=3, tolerance=0.1)
    falling = [9.0, 4.0, 2.0, 1.2, 1.0, 1.0]

    assert not rule.steady(falling[1:])  # too few
    assert not rule.steady(falling)  # medians 4 and 1
    assert not rule.steady([*falling, 1.0])  # 2 and 1
    assert not rule.steady([*falling, 1.0, 1.0])  # 1.2 and 1
    assert rule.steady([*falling, 1.0, 1.0, 1.0])  # 1 and 1
    assert rule.steady([8.0, 8.0, 8.0, 8.5, 8.5, 8.5])


QUIET = [1.0 + 0.0001 * (7 * i % 30) for i in range(30)]  # 30 values, evenly 0.1 ms apart, mixed


def warned(samples: list[float], **rule: float) -> list[str]:
    given = StoppingRule(**rule)  # type: ignore[arg-type]
    return quality_warnings(samples, summarize(samples), given)


def test_nothing_to_say_of_quiet_samples() -> None:
    assert warned(QUIET) == []


def test_warns_of_an_interval_that_was_not_reached() -> None:
    # of 10 the second of each side: 0.9 to 1.1 around 1
    samples = [0.8, 0.9, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.1, 1.1]

    assert warned(samples, relative_ci=0.02) == [
        "the median is known to ±10.0 % after 10 samples (wanted: ±2.0 %): "
        "raise --seconds or quieten the machine"
    ]


@pytest.mark.parametrize(
    ("count", "sentence"),
    [
        (1, "untrusted: only 1 of at least 10 samples, too few to tell"),
        (8, "untrusted: only 8 of at least 10 samples, too few to tell"),
    ],
)
def test_warns_of_too_few(count: int, sentence: str) -> None:
    (warning,) = warned([1.0] * count)
    assert warning.startswith(sentence)
    assert warning.endswith(": raise --seconds")


def test_warns_of_a_long_tail() -> None:
    # sorted, p90 of 31 is the 28th: one of the last four
    spoilt = [*QUIET[:13], 1.4, 1.4, *QUIET[13:26], 1.4, 1.4, 1.4]

    assert warned(spoilt) == [
        "one sample in ten takes 1.40 times the median or more: "
        "something else uses this machine, or its clocks vary"
    ]


@pytest.mark.parametrize(("factor", "way"), [(1.05, "slower"), (0.95, "faster")])
def test_warns_of_drift(factor: float, way: str) -> None:
    steps = np.linspace(1, factor, 60)
    first, last = np.median(steps[:20]), np.median(steps[40:])

    [sentence] = warned(list(steps), relative_ci=0.5)

    change = abs(last / first - 1)
    assert sentence == f"times drift: the last third is {100 * change:.1f} % {way} than the first"


def test_noise_is_no_drift() -> None:
    generator = np.random.default_rng(1)
    noisy = list(1 + 0.05 * generator.standard_normal(60))

    assert warned(noisy, relative_ci=0.5) == []


def test_warns_of_two_groups() -> None:
    alternating = [value * (1e-3 if i % 3 else 1.08e-3) for i, value in enumerate(QUIET)]

    assert warned(alternating, relative_ci=0.5) == [
        "times fall into two groups: 20 around 1.00 ms, 10 around 1.08 ms"
    ]


def test_a_few_outliers_are_no_group() -> None:
    spoilt = [1.0 + i / 1000 if i % 10 else 1.09 for i in range(1, 31)]

    assert warned(spoilt, relative_ci=0.5) == []
