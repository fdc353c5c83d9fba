"""Low-bit layers against what their weights say when they are widened again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from roofline.errors import UnsupportedModeError
from roofline.torch_side import low_bit
from roofline.torch_side.low_bit import (
    LOW_BIT,
    EightBitProducts,
    EightBitWeights,
    FourBitWeights,
    low_bit_kernel,
    runs_as,
)

CPU = torch.device("cpu")
CUDA = torch.device("cuda")


def linear(n: int, k: int, *, bias: bool = False, dtype: torch.dtype = torch.float32) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(k, n, bias=bias, dtype=dtype)


def on_cuda(n: int, k: int, dtype: torch.dtype) -> nn.Linear:
    """A layer without values, inside a `FakeTensorMode`."""
    layer = nn.Linear(k, n, bias=False, device="meta")
    layer.weight = nn.Parameter(torch.empty(n, k, device=CUDA, dtype=dtype))
    return layer


def by_row(weight: Tensor) -> Tensor:
    """Rounded to 255 numbers of a row, a number at a time."""
    rows = []
    for row in weight.tolist():
        step = max(abs(number) for number in row) / 127
        rows.append([step * round(number / step) for number in row])
    return torch.tensor(rows)


def by_group(weight: Tensor, group: int) -> Tensor:
    """Rounded to 16 numbers between the least and the largest of a group."""
    found = weight.detach().clone()
    for row in found:
        for first in range(0, len(row), group):
            some = row[first : first + group]
            low, step = some.min(), (some.max() - some.min()) / 15
            some.copy_(low + step * ((some - low) / step).round())
    return found


@pytest.mark.parametrize("rows", [1, 5, 40])
@pytest.mark.parametrize("bias", [False, True])
def test_eight_bit_weights_multiply_as_their_numbers(rows: int, bias: bool) -> None:
    layer, x = linear(48, 64, bias=bias), torch.randn(2, rows, 64)
    expected = nn.functional.linear(x, by_row(layer.weight), layer.bias)

    torch.testing.assert_close(EightBitWeights(layer)(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rows", [1, 5, 40])
def test_eight_bit_products_round_activations_too(rows: int) -> None:
    layer, x = linear(48, 64), torch.randn(rows, 64)
    expected = by_row(x) @ by_row(layer.weight).T

    torch.testing.assert_close(EightBitProducts(layer)(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("k", "group"), [(256, 128), (192, 64), (160, 32)])
def test_four_bit_weights_multiply_as_their_numbers(k: int, group: int) -> None:
    layer, x = linear(48, k), torch.randn(3, 7, k)
    expected = x @ by_group(layer.weight, group).T

    found = FourBitWeights(layer)
    assert found.group == group
    assert found.packed.nbytes == 48 * k / 2
    torch.testing.assert_close(found(x), expected, rtol=1e-3, atol=1e-3)
    strided = torch.randn(k, 5).T
    torch.testing.assert_close(found(strided), found(strided.contiguous()))


def test_a_row_of_zeros_stays_one() -> None:
    layer = linear(32, 64)
    with torch.no_grad():
        layer.weight.zero_()
    for kind in (EightBitWeights, EightBitProducts, FourBitWeights):
        assert kind(layer)(torch.zeros(2, 64)).abs().max() < 1e-5


@pytest.mark.parametrize("kind", [EightBitWeights, EightBitProducts, FourBitWeights])
@pytest.mark.parametrize("rows", [1, 16, 17, 600])
def test_a_forward_reads_nothing_back(kind: Callable[[nn.Linear], nn.Module], rows: int) -> None:
    """On tensors of a CUDA device that have shapes and no values: reading one back would raise."""
    with FakeTensorMode():
        given = on_cuda(64, 256, torch.bfloat16)
        result = kind(given)(torch.empty(1, rows, 256, device=CUDA, dtype=torch.bfloat16))

    assert (result.shape, result.device.type, result.dtype) == (
        (1, rows, 64), "cuda", torch.bfloat16,
    )  # fmt: skip


def test_few_rows_are_padded_on_cuda_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    heights: list[int] = []
    multiply = torch._int_mm

    def seen(left: Tensor, right: Tensor) -> Tensor:
        heights.append(len(left))
        return multiply(left, right)

    monkeypatch.setattr(torch, "_int_mm", seen)
    EightBitProducts(linear(32, 64))(torch.randn(3, 64))
    with FakeTensorMode():
        layer = EightBitProducts(on_cuda(32, 64, torch.bfloat16))
        for rows in (1, 16, 17):
            layer(torch.empty(rows, 64, device=CUDA))

    assert heights == [3, 32, 32, 17]


def test_linear_layers_are_replaced_however_deep_they_lie() -> None:
    module = nn.Sequential(nn.Linear(32, 32), nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 32)))
    low_bit_kernel("w8a16", CPU).quantize(module)

    assert [type(each) for each in module.modules() if not list(each.children())] == [
        EightBitWeights, nn.LayerNorm, EightBitWeights,
    ]  # fmt: skip


@pytest.mark.parametrize(("n", "k"), [(48, 40), (40, 64)])
def test_widths_that_no_kernel_takes_are_refused(n: int, k: int) -> None:
    with pytest.raises(UnsupportedModeError, match=f"not {k} and {n}"):
        FourBitWeights(linear(n, k))


def test_four_bits_on_cuda_are_for_bf16() -> None:
    with FakeTensorMode(), pytest.raises(UnsupportedModeError, match="computes in bf16"):
        FourBitWeights(on_cuda(32, 64, torch.float16))


class TestAvailable:
    @pytest.mark.parametrize("mode", LOW_BIT)
    def test_each_mode_says_what_it_runs_as(self, mode: str) -> None:
        assert low_bit_kernel(mode, CPU).runs.startswith("torch._")
        assert runs_as(mode, CPU) == f"{mode} runs as {low_bit_kernel(mode, CPU).runs}"

    def test_wide_modes_say_nothing(self) -> None:
        assert runs_as("bf16", CPU) == ""

    def test_eight_bit_weights_have_no_kernel_on_cuda(self) -> None:
        with pytest.raises(UnsupportedModeError, match=r"w8a16 on cuda here \(PyTorch's own is a"):
            low_bit_kernel("w8a16", CUDA)

    def test_nothing_is_promised_of_other_devices(self) -> None:
        with pytest.raises(UnsupportedModeError, match=r"w4a16 on mps here \(none was tried"):
            low_bit_kernel("w4a16", torch.device("mps"))

    def test_an_operator_that_torch_lacks_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        unknown = low_bit.LowBitKernel(EightBitWeights, "_no_such_operator", "")
        monkeypatch.setitem(low_bit._KERNELS, ("w8a16", "cpu"), unknown)

        with pytest.raises(UnsupportedModeError, match="has no _no_such_operator there"):
            low_bit_kernel("w8a16", CPU)

    @pytest.mark.parametrize(
        ("capability", "hip", "there"),
        [((7, 5), None, False), ((8, 0), None, True), ((9, 4), "6.4", False)],
    )
    def test_tinygemm_is_for_newer_nvidia_gpus(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capability: tuple[int, int],
        hip: str | None,
        there: bool,
    ) -> None:
        monkeypatch.setattr(torch._C, "_dispatch_has_kernel_for_dispatch_key", lambda *_: True)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
        monkeypatch.setattr(torch.version, "hip", hip)

        assert ("w4a16" in low_bit.low_bit_modes(CUDA)) == there
        if not there:
            with pytest.raises(UnsupportedModeError, match="NVIDIA GPU of compute capability"):
                low_bit_kernel("w4a16", CUDA)
