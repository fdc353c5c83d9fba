"""On a CUDA device: what a calibration is made of, against PyTorch's own products and a catalog."""

from __future__ import annotations

import time
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402  # torch may be missing

from roofline.errors import UnsupportedModeError  # noqa: E402
from roofline.torch_side.calibrate import ceilings, microbench  # noqa: E402
from roofline.torch_side.calibrate.calibrate import calibrate  # noqa: E402
from roofline.torch_side.calibrate.kernel_samples import row_of  # noqa: E402
from roofline.torch_side.calibrate.kernel_timing import KernelTimer  # noqa: E402
from roofline.torch_side.low_bit import LOW_BIT, low_bit_kernel  # noqa: E402
from roofline.torch_side.measure import machine  # noqa: E402
from roofline.torch_side.measure.modes import CudaRecorder  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
DEVICE = torch.device("cuda", 0)


@pytest.fixture
def timer() -> KernelTimer:
    made = KernelTimer(DEVICE, time.perf_counter)
    made.prepare()
    return made


def timed(timer: KernelTimer, bench: Any) -> dict[str, Any]:
    return row_of([*timer.time([bench], 2.0, float("inf"), lambda bench, why: pytest.fail(why))])


def test_multiply_adds_come_near_the_data_sheet_and_not_beyond(timer: KernelTimer) -> None:
    [bench] = ceilings.arithmetic(DEVICE, int8=False)
    per_s = bench.row["flops"] / timed(timer, bench)["fastest_s"]
    known = machine.catalogued(DEVICE)

    if known is None:
        pytest.skip("no spec of this GPU ships")
    # boost clocks on data sheets are at times below the highest
    assert 0.6 < per_s / known.vector_flops_per_s < 1.15


def test_a_replay_is_a_hundredth_of_the_smallest_kernel_at_most(timer: KernelTimer) -> None:
    assert 0 <= timer.replay_s < 1e-4
    assert timed(timer, ceilings.empty(DEVICE))["replay_share"] < 0.01


@pytest.mark.parametrize("mode", LOW_BIT)
@pytest.mark.parametrize("rows", [1, 16, 17, 300])
def test_low_bit_layers_multiply_and_can_be_captured(mode: str, rows: int) -> None:
    try:
        kernel = low_bit_kernel(mode, DEVICE)
    except UnsupportedModeError as error:
        pytest.skip(str(error))
    torch.manual_seed(0)
    plain = nn.Linear(1024, 512, bias=False, device=DEVICE, dtype=torch.bfloat16)
    x = torch.randn(rows, 1024, device=DEVICE, dtype=torch.bfloat16)
    layer = kernel.layer(plain.requires_grad_(False))
    recorder = CudaRecorder(DEVICE)
    recorder.warm_up(lambda: layer(x))
    replay, found = recorder.record(lambda: layer(x))
    replay()
    torch.cuda.synchronize()

    close = nn.functional.cosine_similarity(found.float(), plain(x).float(), dim=-1)
    assert close.min() > (0.99 if mode != "w4a16" else 0.97)


def test_a_capture_that_fails_poisons_none_after_it() -> None:
    x = torch.ones(1000, device=DEVICE)
    recorder = CudaRecorder(DEVICE)
    recorder.warm_up(lambda: x.sum().item())
    with pytest.raises(RuntimeError):
        recorder.record(lambda: x.sum().item())
    assert torch.cuda.current_stream(DEVICE) == torch.cuda.default_stream(DEVICE)
    first, second = (torch.randn(1000, device=DEVICE) for _ in range(2))
    assert not first.equal(second)

    replay, result = recorder.record(lambda: x + 1)
    x.fill_(2.0)
    replay()
    torch.cuda.synchronize()
    assert result.eq(3).all()
    torch.cuda.empty_cache()


def test_operands_live_as_long_as_their_graph_is_replayed(timer: KernelTimer) -> None:
    """Of many kernels side by side: each capture empties the cache of what nobody holds."""
    benches = list(microbench.vector_ops("bf16", DEVICE, [(64, 1024)], pool_bytes=2.0**26))
    names = [bench.name for bench in benches]
    found = timer.time(benches, 0.2, float("inf"), lambda bench, why: pytest.fail(why))

    assert [samples.name for samples in found] == names
    torch.cuda.synchronize()


def test_a_whole_calibration_has_ceilings_that_bound() -> None:
    found = calibrate("cuda", modes=["fp16", "bf16", "w8a8kv16", "w4a16"], seconds=240.0)
    known = machine.catalogued(DEVICE)

    assert "beats the" not in found.untrusted
    assert max(row["replay_share"] for row in found.rows) < 0.01
    if known is not None:
        assert found.hardware.memory_bytes_per_s < 1.05 * known.memory_bytes_per_s
        assert found.hardware.vector_flops_per_s > 0.6 * known.vector_flops_per_s
