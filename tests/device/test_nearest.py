"""Which law goes for a kernel that a device may not have measured, and what it errs then."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from example_laws import FIT, MOE
from made_up import toy_laws
from msgspec.structs import replace

import roofline
from roofline.device.borrowed import Errors, borrowing_errors
from roofline.device.laws.attention import AttentionForm, AttentionLaw
from roofline.device.laws.decode_attention import DecodeAttentionLaw
from roofline.device.laws.encoder_attention import EncoderAttentionLaw
from roofline.device.laws.matmul import MatmulLaw
from roofline.device.nearest import attention_law, matmul_law, moe_law
from roofline.specs.catalog import load_hardware
from roofline.specs.kernel_laws import KernelLaws, Law

TOY = toy_laws("bf16", tile=64, vector_gb_per_s=900.0)
MATMUL: MatmulLaw = TOY.of(MatmulLaw)["bf16"]
PROMPTS: AttentionLaw = replace(TOY.of(AttentionLaw)["bf16"], forms=("prefill",), corrections=())
ENCODER = EncoderAttentionLaw(
    **{
        name: value
        for name in PROMPTS.__struct_fields__
        if name != "forms" and (value := getattr(PROMPTS, name)) is not None
    }
)
DECODE = DecodeAttentionLaw(
    **FIT,
    launch_us=5.0,
    block_us=1.0,
    block_head_dim_power=0.5,
    key_ns=1.0,
    group_share=0.5,
    split_keys=256.0,
    split_waves=1.0,
    split_us=2.0,
    split_ns=10.0,
    bandwidth_fraction=0.8,
)


def laws(**families: Any) -> KernelLaws:
    """Of those families alone."""
    return replace(TOY, families=families)


def measured(law: Any, *kernels: str) -> dict[str, Any]:
    """A law for each kernel, which says whose it is."""
    return {kernel: replace(law, library=kernel) for kernel in kernels}


def errors_of(law: Law) -> Errors:
    return Errors(median_percent=law.median_error_percent, p90_percent=law.p90_error_percent)


@pytest.mark.parametrize(
    ("known", "kernels", "expected"),
    [
        (("fp16", "bf16", "fp32"), ("fp16",), "fp16"),
        (("fp32", "bf16"), ("fp16",), "bf16"),  # tensor cores take both at one rate
        (("fp32", "fp16"), ("bf16",), "fp16"),
        (("bf16", "fp8", "w8a8"), ("int8",), "w8a8"),  # one kernel by two names
        (("bf16", "w4a16"), ("w4a16", "bf16"), "w4a16"),
    ],
)
def test_a_law_of_the_kernel_goes_as_it_is(
    known: tuple[str, ...], kernels: tuple[str, ...], expected: str
) -> None:
    found = matmul_law(laws(matmul=measured(MATMUL, *known)), *kernels)
    assert found == replace(MATMUL, library=expected)


@pytest.mark.parametrize(
    ("known", "kernels", "expected"),
    [
        (("bf16", "fp8"), ("int8",), "fp8"),
        (("bf16", "w8a8"), ("fp8",), "w8a8"),
        (("w8a8", "fp32", "fp16", "bf16"), ("int4",), "bf16"),  # what everybody measures
        (("w8a8", "fp32"), ("int4",), "fp32"),
        (("w8a16", "w4a16"), ("int4",), "w8a16"),  # else the first
        (("fp8", "fp16"), ("w4a16", "bf16"), "fp16"),  # what its weights are unpacked to
        (("bf16", "fp8"), ("w8a8", "int8", "fp8"), "fp8"),
        (("fp16",), ("tf32",), "fp16"),
        (("fp32", "bf16"), ("tf32",), "bf16"),
    ],
)
def test_else_that_of_one_rate_or_a_widespread_one_stands_in(
    known: tuple[str, ...], kernels: tuple[str, ...], expected: str
) -> None:
    found = matmul_law(laws(matmul=measured(MATMUL, *known)), *kernels)
    assert (found.library, found.origin) == (expected, "typical")
    assert found.tiles == MATMUL.tiles


@pytest.mark.parametrize(
    ("known", "wanted", "wide"),
    [
        ("fp16", "fp32", True),
        ("bf16", "tf32", True),
        ("bf16", "fp8", False),
        ("fp8", "bf16", False),
        ("bf16", "w4a16", False),
    ],
)
def test_one_that_stands_in_errs_as_types_of_its_width_do(
    known: str, wanted: str, wide: bool
) -> None:
    every = borrowing_errors()
    kinds = (every.other_type if wide else every.narrow_type)["matmul"]
    found = matmul_law(laws(matmul=measured(MATMUL, known)), wanted)
    assert errors_of(found) == kinds

    # its own errors stay where they are larger, those on other libraries among them
    law = replace(
        MATMUL,
        median_error_percent=1.0,
        p90_error_percent=500.0,
        p90_other_library_error_percent=600.0,
    )
    found = matmul_law(laws(matmul={known: law}), wanted)
    assert errors_of(found) == Errors(median_percent=kinds.median_percent, p90_percent=500.0)
    assert found.error_percent() == 600.0


def test_a_family_that_was_measured_in_one_type_errs_as_on_another_capability(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = borrowing_errors()
    without = replace(known, narrow_type={})
    monkeypatch.setattr("roofline.device.nearest.borrowing_errors", lambda: without)
    found = moe_law(laws(moe=measured(MOE, "bf16")), "fp8")
    assert errors_of(found) == known.other_capability["moe"]


def test_experts_go_by_the_kernel_of_their_matmuls() -> None:
    every = laws(moe=measured(MOE, "bf16", "fp8"))
    assert moe_law(every, "fp16").library == "bf16"
    assert moe_law(every, "fp8").origin is None
    weights_alone = moe_law(every, "w4a16", "bf16", "fp16")
    assert (weights_alone.library, weights_alone.origin) == ("bf16", "typical")


EVERY_ATTENTION = laws(
    attention=measured(PROMPTS, "bf16", "fp8", "bf16-fp8kv"),
    decode_attention=measured(DECODE, "bf16", "bf16-fp8kv"),
    encoder_attention=measured(ENCODER, "bf16"),
)


@pytest.mark.parametrize(
    ("form", "family"),
    [
        ("decode", "decode_attention"),
        ("encoder", "encoder_attention"),
        ("prefill", "attention"),
    ],
)
def test_attention_goes_by_what_attends_to_what(form: AttentionForm, family: str) -> None:
    found = attention_law(EVERY_ATTENTION, form, "bf16", "bf16")
    assert (found.family, found.library, found.origin) == (family, "bf16", None)


@pytest.mark.parametrize(
    ("form", "data_type", "cache_type", "library", "origin"),
    [
        ("prefill", "bf16", "fp8", "bf16-fp8kv", None),
        ("decode", "bf16", "fp8", "bf16-fp8kv", None),
        ("decode", "fp16", "fp8", "bf16-fp8kv", None),  # as fp16 takes bf16's law
        ("prefill", "fp8", "fp8", "fp8", None),
        ("decode", "fp8", "fp8", "bf16", "typical"),
        ("encoder", "fp32", "fp32", "bf16", "typical"),
        ("encoder", "bf16", "fp8", "bf16", "typical"),
        ("prefill", "int8", "int8", "fp8", "typical"),
    ],
)
def test_attention_goes_by_the_types_of_queries_and_of_the_cache(
    form: AttentionForm, data_type: str, cache_type: str, library: str, origin: str | None
) -> None:
    found = attention_law(EVERY_ATTENTION, form, data_type, cache_type)
    assert (found.library, found.origin) == (library, origin)


def test_a_prompt_that_goes_on_takes_the_law_of_prompts_and_says_so() -> None:
    """No table has rows of it: its band is what prompts' laws are off on decode."""
    found = attention_law(EVERY_ATTENTION, "extension", "bf16", "bf16")
    assert (found.family, found.library, found.origin) == ("attention", "bf16", "typical")
    assert errors_of(found) == borrowing_errors().other_phase["decode_attention"]


@pytest.mark.parametrize("form", ["decode", "encoder"])
def test_a_law_of_prompts_stands_in_for_other_forms(form: AttentionForm) -> None:
    prompts_alone = laws(attention=measured(PROMPTS, "bf16"))
    found = attention_law(prompts_alone, form, "bf16", "bf16")
    assert (found.family, found.origin) == ("attention", "typical")
    assert errors_of(found) == borrowing_errors().other_phase[f"{form}_attention"]
    # of another type on top the larger error counts
    other = attention_law(prompts_alone, form, "fp8", "fp8")
    known = borrowing_errors()
    assert other.p90_error_percent == max(
        known.narrow_type["attention"].p90_percent, found.p90_error_percent
    )


@pytest.mark.parametrize("dtype", ["bf16", "fp8"])
def test_a_device_that_ships_says_so_of_prompts_that_go_on(dtype: Literal["bf16", "fp8"]) -> None:
    kernel = roofline.attention_time("h100-sxm", 1, 64, 32, 8, 128, keys=512, dtype=dtype)
    assert kernel.origin == "typical"


def test_a_law_that_was_fitted_to_all_forms_goes_for_each() -> None:
    """Of a table of one's own, where decode and encoders are rows among the others."""
    law = replace(PROMPTS, forms=("prefill", "extension", "decode", "encoder"))
    own = laws(attention={"bf16": law})
    for form in law.forms:
        assert attention_law(own, form, "bf16", "bf16") is law


def test_single_kernels_say_that_another_law_stands_in() -> None:
    """H100 tables have no 4-bit weights: bf16 matmuls stand in; the A100's have."""
    h100 = replace(load_hardware("h100"), laws_from=None)
    stands_in = roofline.matmul_time(h100, 64, 4096, 4096, dtype="w4a16")
    own = roofline.matmul_time("a100", 64, 4096, 4096, dtype="w4a16")
    assert (stands_in.origin, own.origin) == ("typical", "fitted")
    assert stands_in.p90_error_percent == borrowing_errors().narrow_type["matmul"].p90_percent
