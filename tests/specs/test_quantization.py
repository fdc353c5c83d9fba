"""Widths, compute types and the notation wXaYkvZ."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from roofline import analyze
from roofline.errors import SpecError, UnknownNameError
from roofline.specs.catalog import load_quantization, mode_outside_llm, quantization_modes
from roofline.specs.quantization import MODES, Quantization, register_quantization

SIXTEEN = ("fp16", "bf16")


@pytest.mark.parametrize(
    ("name", "weight", "activation", "kv"),
    [
        ("fp32", 32, 32, 32),
        ("fp16", 16, 16, 16),
        ("bf16", 16, 16, 16),
        ("fp8", 8, 8, 8),
        ("int8", 8, 8, 8),
        ("int4", 4, 4, 4),
        ("w8a16", 8, 16, 16),
        ("w4a16", 4, 16, 16),
    ],
)
def test_bits_of_the_named_modes(name: str, weight: int, activation: int, kv: int) -> None:
    mode = load_quantization(name)

    assert (mode.weight_bits, mode.activation_bits, mode.kv_bits) == (weight, activation, kv)
    assert (mode.activation_bytes, mode.kv_bytes) == (activation / 8, kv / 8)
    assert mode.name == name


def test_no_named_mode_is_untested() -> None:
    assert set(quantization_modes()) == {
        *("fp32", "fp16", "bf16", "fp8", "int8", "int4", "w8a16", "w4a16")
    }
    assert all(mode.source for mode in quantization_modes().values())


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("w4a8kv8", (4, 8, 8)),
        ("w3a16", (3, 16, 16)),
        ("w8a8", (8, 8, 8)),
        ("w4a8kv4", (4, 8, 4)),
        ("w16a16kv2", (16, 16, 2)),
        ("w1a32", (1, 32, 32)),
        ("W4A8KV8", (4, 8, 8)),
    ],
)
def test_a_mode_written_out(name: str, bits: tuple[int, int, int]) -> None:
    mode = load_quantization(name)

    assert (mode.weight_bits, mode.activation_bits, mode.kv_bits) == bits
    assert mode.name == name.lower()


@pytest.mark.parametrize(
    "name",
    [
        *("w0a8", "w8a0", "w8a8kv0", "w33a8", "w8a33", "w8a8kv33", "w4", "a8", "w4a", "w4a8kv"),
        *("w4a8 ", "w-4a8", "w4.5a8", "w4a8v8", "xw4a8", "w4a8kv8x", ""),
    ],
)
def test_what_is_no_mode(name: str) -> None:
    with pytest.raises(UnknownNameError, match="1 to 32 bits"):
        load_quantization(name)


@pytest.mark.parametrize(("named", "spelled"), [("int8", "w8a8kv8"), ("int4", "w4a4kv4")])
@pytest.mark.parametrize("device", ["v100", "a100", "h100"])
def test_a_named_mode_costs_what_its_spelling_costs(named: str, spelled: str, device: str) -> None:
    one, other = (
        analyze("llava-1.5-7b", device, quant=quant, stage="generate", output_tokens=3)
        for quant in (named, spelled)
    )

    for part in ("components", "end_to_end", "device", "comparison"):
        assert one.to_dict()[part] == other.to_dict()[part]


def test_llm_viewer_accounting_knows_no_difference_either() -> None:
    one, other = (
        analyze("vicuna-7b", "v100", quant=quant, accounting="llm-viewer")
        for quant in ("int4", "w4a4")
    )

    assert one.to_dict()["components"] == other.to_dict()["components"]


@pytest.mark.parametrize(
    ("name", "bits_per_weight"),
    [
        ("fp32", 32),
        ("fp16", 16),
        ("int8", 8),
        ("int4", 4),
        ("w4a16", 4 + (16 + 4) / 128),  # a 16-bit scale and a 4-bit zero point per 128 weights
        ("w8a16", 8 + 16 / 128),  # symmetric: no zero point
        ("w3a16", 3 + (16 + 3) / 128),
        ("w2a16kv4", 2 + (16 + 2) / 128),
        ("w4a8", 4),
    ],
)
def test_bytes_of_a_linear_weight_include_its_share_of_scales(
    name: str, bits_per_weight: float
) -> None:
    assert load_quantization(name).weight_bytes("linear") == bits_per_weight / 8


@pytest.mark.parametrize("name", ["w4a16", "w8a16", "w3a16", "w4a16kv8"])
@pytest.mark.parametrize("role", ["embedding", "lm_head"])
def test_weight_only_modes_keep_embedding_lm_head_and_norms_in_16_bit(name: str, role: str) -> None:
    mode = load_quantization(name)

    assert mode.weight_bytes(role) == 2  # type: ignore[arg-type]
    assert mode.vector_bytes == 2


@pytest.mark.parametrize("role", ["linear", "embedding", "lm_head"])
def test_other_modes_quantize_every_tensor_alike(role: str) -> None:
    mode = load_quantization("w4a8kv8")

    assert mode.weight_bytes(role) == 0.5  # type: ignore[arg-type]
    assert mode.vector_bytes == 0.5


@pytest.mark.parametrize("name", ["w4a16", "w3a16"])
def test_a_weight_only_mode_written_out_follows_w4a16(name: str) -> None:
    mode, base = load_quantization(name), load_quantization("w4a16")

    assert (mode.group_size, mode.scale_bits) == (base.group_size, base.scale_bits) == (128, 16)
    assert mode.compute == base.compute == SIXTEEN


@pytest.mark.parametrize(
    ("name", "linear", "attention"),
    [
        ("int4", ("int4", "int8", *SIXTEEN), ("int4", "int8", *SIXTEEN)),
        ("int8", ("int8", *SIXTEEN), ("int8", *SIXTEEN)),
        ("w4a8", ("int8", *SIXTEEN), ("int8", *SIXTEEN)),
        ("w8a4", ("int8", *SIXTEEN), ("int4", "int8", *SIXTEEN)),
        ("w4a4kv8", ("int4", "int8", *SIXTEEN), ("int8", *SIXTEEN)),
        ("w4a8kv16", ("int8", *SIXTEEN), SIXTEEN),
        ("w8a9", SIXTEEN, SIXTEEN),
        ("w4a16", SIXTEEN, SIXTEEN),
        ("w16a16", SIXTEEN, SIXTEEN),
        ("w16a17", ("fp32",), ("fp32",)),
        ("w4a32", ("fp32",), ("fp32",)),
    ],
)
def test_a_kernel_computes_in_the_wider_type_of_its_operands(
    name: str, linear: tuple[str, ...], attention: tuple[str, ...]
) -> None:
    mode = load_quantization(name)

    assert mode.compute == linear
    assert mode.attention_types == attention


@pytest.mark.parametrize(
    ("device", "quant", "computes_in"),
    [
        ("a100", "int4", "int4"),
        ("h100", "int4", "int8"),  # Hopper has no int4 tensor cores
        ("v100", "int4", "int8"),
        ("v100", "int8", "int8"),
        ("v100", "w4a16", "fp16"),
        ("a100", "w8a16", "fp16"),
        ("h100", "fp8", "fp8"),
        ("a100", "bf16", "bf16"),
        ("a100", "fp32", "fp32"),
    ],
)
def test_a_device_computes_in_the_first_type_it_has(
    device: str, quant: str, computes_in: str
) -> None:
    peaks = analyze("vicuna-7b", device, quant=quant).device["peaks"]["llm"]

    assert (peaks["matmul_type"], peaks["attention_type"]) == (computes_in, computes_in)


@pytest.mark.parametrize(
    ("name", "bits"),
    [("int4", 16), ("int8", 16), ("fp8", 16), ("w4a16", 16), ("fp16", 16), ("fp32", 32)],
)
def test_vision_tower_and_connector_are_not_quantized(name: str, bits: int) -> None:
    outside = mode_outside_llm(load_quantization(name))

    assert (outside.weight_bits, outside.activation_bits) == (bits, bits)


def test_outside_the_llm_either_16_bit_type_will_do() -> None:
    assert mode_outside_llm(load_quantization("int4")).compute == SIXTEEN
    assert mode_outside_llm(load_quantization("bf16")).compute == ("bf16",)


MODE: dict[str, object] = {
    "name": "Toy",
    "title": "made up",
    "source": "made up for a test",
    "weight_bits": 6,
    "activation_bits": 8,
    "kv_bits": 4,
    "compute": ["fp8", "int8"],
}
Writer = Callable[..., Path]


def bits(mode: Quantization) -> tuple[int, int, int]:
    return mode.weight_bits, mode.activation_bits, mode.kv_bits


def test_a_mode_in_a_file_of_the_users_own(write_spec: Writer) -> None:
    mode = load_quantization(str(write_spec(MODE, "elsewhere.yml")))

    assert bits(mode) == (6, 8, 4)
    assert mode.weight_bytes("linear") == 6 / 8
    peaks = analyze("vicuna-7b", "a100", str(write_spec(MODE)), 40).device["peaks"]["llm"]
    assert peaks["matmul_type"] == "int8"  # an A100 has no fp8


def test_an_edited_mode_is_read_again(write_spec: Writer) -> None:
    file = str(write_spec(MODE))
    before = load_quantization(file)
    write_spec({**MODE, "kv_bits": 2})
    os.utime(file, ns=(10**18, 10**18))

    assert (before.kv_bits, load_quantization(file).kv_bits) == (4, 2)


def test_a_mode_on_the_search_path_goes_by_the_name_inside(
    write_spec: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROOFLINE_PATH", str(tmp_path))
    write_spec(MODE, "quantization/file.yaml")

    assert bits(load_quantization("TOY")) == (6, 8, 4)
    assert "toy" in quantization_modes()
    assert load_quantization("int4").weight_bits == 4
    with pytest.raises(UnknownNameError, match="did you mean toy"):
        load_quantization("toyy")


def test_the_first_mode_of_a_name_counts_and_shadows_what_ships(
    write_spec: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    monkeypatch.setenv("ROOFLINE_PATH", f"{first}{os.pathsep}{second}")
    write_spec({**MODE, "name": "int4", "kv_bits": 1}, "first/quantization/mine.yaml")
    write_spec({**MODE, "name": "int4", "kv_bits": 2}, "second/quantization/mine.yaml")

    assert load_quantization("int4").kv_bits == 1
    # a mode written out still follows what ships
    assert load_quantization("w4a4").zero_point_bits == 0
    assert load_quantization("w4a4").kv_bits == 4


def test_a_broken_mode_is_reported_when_it_is_meant_and_else_left_out(
    write_spec: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROOFLINE_PATH", str(tmp_path))
    file = write_spec({**MODE, "kv_bits": 0}, "quantization/toy.yaml")

    with pytest.raises(SpecError, match="kv_bits: expected") as caught:
        load_quantization("toy")
    assert caught.value.file == str(file)
    with warnings.catch_warnings():  # nobody asked for it
        warnings.simplefilter("error")
        assert load_quantization("int4").kv_bits == 4
    with pytest.warns(UserWarning, match="left out: .*kv_bits"):
        assert "toy" not in quantization_modes()
    with warnings.catch_warnings():  # it has been said
        warnings.simplefilter("error")
        assert "toy" not in quantization_modes()


def test_a_mode_outside_the_llm_that_does_not_exist_is_an_error(write_spec: Writer) -> None:
    mode = load_quantization(str(write_spec({**MODE, "outside_llm": "fp17"})))

    with pytest.raises(SpecError, match=r"outside_llm: .*did you mean fp16"):
        mode_outside_llm(mode)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Quantization:
    monkeypatch.setattr(MODES, "_things", {})
    return register_quantization(msgspec.convert({**MODE, "name": "Mine"}, Quantization))


def test_a_registered_mode_is_found_by_its_name(registered: Quantization) -> None:
    assert load_quantization("mine") is load_quantization("MINE") is registered
    assert quantization_modes()["mine"] is registered
