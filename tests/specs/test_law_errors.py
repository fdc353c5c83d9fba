"""What a law says that it is off, by whose kernels run; and whose kernels laws were fitted to."""

from __future__ import annotations

from typing import Any

import pytest
from made_up import toy_laws
from msgspec.structs import replace

from roofline.device.laws.attention import AttentionLaw
from roofline.device.laws.host import HostLaw
from roofline.device.laws.matmul import MatmulLaw
from roofline.device.laws.pointwise import PointwiseLaw
from roofline.specs.kernel_laws import KernelLaws, is_of

TOY = toy_laws("bf16", tile=64, vector_gb_per_s=900.0)


def law(own: float, other: float | None, library: str = "vllm 0.24.0") -> PointwiseLaw:
    return replace(
        TOY.of(PointwiseLaw)["default"],
        p90_error_percent=own,
        p90_other_library_error_percent=other,
        library=library,
    )


@pytest.mark.parametrize(
    ("name", "library", "expected"),
    [
        ("vllm", "vllm 0.24.0", True),
        ("vLLM", "vllm 0.24.0", True),
        ("vllm 0.24.0", "vllm 0.24.0", True),
        ("vllm", "vLLM, by Vidur 2024", True),
        ("vllm 0.14.0", "vllm 0.24.0", False),
        ("vllm 0.24", "vllm 0.24.0", False),
        ("vll", "vllm 0.24.0", False),
        ("sglang", "vllm 0.24.0", False),
        ("sglang", "sglang 0.5.14 custom", True),
        ("vllm 0.24.0", "vllm", False),  # which version it was nobody knows
        ("trt-llm", "trtllm 1.2.0rc5", True),  # as the runtime is called
        ("", "vllm 0.24.0", False),
        ("vllm", "", False),
        ("", "", False),
    ],
)
def test_a_library_goes_by_its_name_with_or_without_a_version(
    name: str, library: str, expected: bool
) -> None:
    assert is_of(name, library) is expected


@pytest.mark.parametrize(
    ("own", "other", "library", "expected"),
    [
        (10.0, 30.0, "vllm", 10.0),
        (10.0, 30.0, "sglang", 30.0),
        (10.0, 30.0, None, 30.0),  # nobody knows whose kernels run
        (10.0, 30.0, "", 30.0),
        (40.0, 30.0, None, 40.0),  # the wider of both
        (40.0, 30.0, "sglang", 40.0),
        (10.0, None, None, 10.0),  # only one was measured
        (10.0, None, "sglang", 10.0),
    ],
)
def test_the_error_is_that_of_the_library_or_the_wider_one(
    own: float, other: float | None, library: str | None, expected: float
) -> None:
    assert law(own, other).error_percent(library) == expected


def test_libraries_are_those_of_all_laws_each_once() -> None:
    def named(of: Any, *libraries: str) -> dict[str, Any]:
        return {str(i): replace(of, library=library) for i, library in enumerate(libraries)}

    assert TOY.libraries == ()
    found: KernelLaws = replace(
        TOY,
        families={
            "matmul": named(TOY.of(MatmulLaw)["bf16"], "vllm 0.24.0", "trtllm 1.0.0", ""),
            "host": {"llm": HostLaw(fixed_us=1.0, layer_us=1.0)},  # of no library
            "attention": named(TOY.of(AttentionLaw)["bf16"], "sglang 0.5", "vllm 0.24.0"),
        },
    )
    assert found.libraries == ("vllm 0.24.0", "trtllm 1.0.0", "sglang 0.5")
