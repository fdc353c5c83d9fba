"""What a reducer's own launches and waits cost its host: typical of eager runs, or measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from made_up import LAWS, device
from msgspec.structs import replace

import roofline
from roofline.device.laws.host import HostLaw
from roofline.engine.estimate import Estimate
from roofline.errors import UnsupportedModeError
from roofline.model.polynomial import Array
from roofline.reducers import find, names
from roofline.specs.catalog import all_hardware
from roofline.specs.runtimes import find_runtime
from roofline.units import MICRO

EAGER = find_runtime("eager")
assert EAGER.launch_us is not None
assert EAGER.wait_us is not None
LAUNCH_US, WAIT_US = EAGER.launch_us, EAGER.wait_us

OWN: dict[str, Callable[[Array], Any]] = {
    "ats": lambda kept: 1 + 3 * 38,
    "crossget": lambda kept: 5 + 23 * 73 - 1,  # and two more in each block of the tower
    "divprune": lambda kept: 15 + 3 * kept,
    "evit": lambda kept: 1 + 3 * 15,
    "fastervlm": lambda kept: 12,
    "fastv": lambda kept: 29,
    "prumerge": lambda kept: 59,
    "prumerge+": lambda kept: 79,
    "sequential": lambda kept: 1,
    "spatial": lambda kept: 11,
    "tome": lambda kept: 2 + 23 * 39,
    "visionzip": lambda kept: 55,
}
"""Launches of LLaVA-1.5-7B's reducers by hand, as docs/reducers.md has them, of what they keep."""


def priced(name: str, hardware: Any = "h100-sxm", kept: Any = 144, **given: Any) -> Estimate:
    given = {"model": "llava-1.5-7b", "runtime": "eager", **given}
    return roofline.analyze(hardware=hardware, reducer=name, visual_tokens=kept, **given)


def test_every_reducer_is_here() -> None:
    assert set(OWN) == set(names())


@pytest.mark.parametrize("name", names())
def test_no_component_takes_less_than_issuing_its_kernels(name: str) -> None:
    """On every device that ships, at all three ends."""
    inside = find(name).site == "vision"  # layers of many sizes take long to look up
    kept = np.array([144.0] if inside else [36.0, 144.0, 400.0])
    issued = {
        "vision": 5 + 23 * (16 if name == "crossget" else 14),
        "connector": 4,
        "llm": 1303,
        "reducer": OWN[name](kept),
    }
    seen = 0
    for hardware in all_hardware():
        try:
            found = priced(name, hardware, kept)
        except UnsupportedModeError:
            continue
        seen += 1
        for component, launches in issued.items():
            part = found.components[component]
            for elapsed_s, each_us in (
                (part.elapsed_time_low_s, LAUNCH_US.low),
                (part.elapsed_time_s, LAUNCH_US.value),
                (part.elapsed_time_high_s, LAUNCH_US.high),
            ):
                assert elapsed_s is not None
                assert (elapsed_s >= launches * each_us * MICRO * (1 - 1e-12)).all()
            assert (part.elapsed_time_s >= part.kernel_time_s).all()
            waits = 9 if (name, component) == ("ats", "reducer") and hardware.kind != "cpu" else 0
            host_us = launches * LAUNCH_US.value + waits * WAIT_US.value
            assert part.host_time_s == pytest.approx(host_us * MICRO * np.ones(kept.shape))
    assert seen > 40


def test_what_is_read_back_costs_a_round_trip_that_nothing_hides() -> None:
    """ATS: three stages that read back three numbers each; the host works ahead between them."""
    part = priced("ats", batch=[1, 1024]).components["reducer"]

    ends = [
        (part.attainable_time_low_s, part.elapsed_time_low_s, LAUNCH_US.low, WAIT_US.low),
        (part.attainable_time_s, part.elapsed_time_s, LAUNCH_US.value, WAIT_US.value),
        (part.attainable_time_high_s, part.elapsed_time_high_s, LAUNCH_US.high, WAIT_US.high),
    ]
    for kernels_s, elapsed_s, launch_us, wait_us in ends:
        issuing_s, waiting_s = 115 * launch_us * MICRO, 9 * wait_us * MICRO
        assert kernels_s is not None
        assert elapsed_s == pytest.approx(np.maximum(kernels_s, issuing_s) + waiting_s)
        assert (kernels_s > issuing_s).tolist() == [False, True]


@pytest.mark.parametrize("attention", ["flash", "eager"])
def test_attention_in_pieces_launches_two_more(attention: str) -> None:
    """CrossGET, in each of 23 blocks: 16 launches, whatever kernels the LLM has."""
    found = priced("crossget", attention=attention).components["vision"]
    assert found.host_time_s == pytest.approx((5 + 23 * 16) * LAUNCH_US.value * MICRO)


def test_compiled_code_waits_for_what_it_reads_back_and_a_graph_does_not() -> None:
    compiled, graph = find_runtime("compile"), find_runtime("cuda-graph")
    assert compiled.launch_us is not None
    assert compiled.pass_us is not None
    assert compiled.wait_us is not None
    assert graph.pass_us is not None
    hosts = {
        runtime.name: priced("ats", runtime=runtime).components["reducer"].host_time_s
        for runtime in (compiled, graph)
    }
    launches_us = compiled.pass_us.value + 115 * compiled.launch_us.value
    assert hosts["compile"] == pytest.approx((launches_us + 9 * compiled.wait_us.value) * MICRO)
    assert hosts["cuda-graph"] == pytest.approx(graph.pass_us.value * MICRO)


def calibrated(**reducer: Any) -> Any:
    """A machine whose host was measured."""
    laws = {
        "vision": HostLaw(fixed_us=50.0, layer_us=10.0),
        "reducer": HostLaw(fixed_us=590.0, layer_us=0.0, **reducer),
    }
    return device(kernel_laws=LAWS.updated(host=laws))


@pytest.mark.parametrize("runtime", [None, "eager"])
@pytest.mark.parametrize("name", names())
def test_a_measured_host_pays_each_reducer_launch_by_launch(name: str, runtime: str | None) -> None:
    """10 µs a launch, 30 µs a wait."""
    kept = np.array([36.0, 144.0])
    parts = priced(name, calibrated(launches=59, wait_us=30.0), kept, runtime=runtime).components

    waits = 9 if name == "ats" else 0
    own_us = (10 * OWN[name](kept) + 30 * waits) * np.ones(2)
    assert parts["reducer"].host_time_s == pytest.approx(own_us * MICRO)
    in_pieces = 2 if name == "crossget" else 0
    tower_us = 50 + 23 * (10 + 10 * in_pieces)
    assert parts["vision"].host_time_s == pytest.approx(tower_us * MICRO * np.ones(2))


@pytest.mark.parametrize("name", ["prumerge", "divprune", "crossget"])
def test_a_host_measured_before_launches_were_counted_goes_for_any_reducer(name: str) -> None:
    parts = priced(name, calibrated(), runtime=None).components
    assert parts["reducer"].host_time_s == pytest.approx(590 * MICRO)
    assert parts["vision"].host_time_s == pytest.approx((50 + 23 * 10) * MICRO)


def test_waits_that_nobody_measured_are_typical() -> None:
    found = priced("ats", calibrated(launches=59)).components["reducer"]
    assert found.host_time_s == pytest.approx((1150 + 9 * WAIT_US.value) * MICRO)


def test_what_issues_its_own_kernels_waits_for_none() -> None:
    cpu = replace(calibrated(launches=59, wait_us=30.0), kind="cpu")
    found = priced("ats", cpu).components["reducer"]
    bare = priced("ats", replace(cpu, kernel_laws=LAWS), runtime=None).components["reducer"]

    assert bare.attainable_time_s is not None
    expected_s = bare.attainable_time_s + 1150 * MICRO
    assert found.elapsed_time_s == pytest.approx(expected_s)
