"""On a CUDA device: the same result as on the CPU and each time, and no host synchronisation for
fixed counts.
"""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from towers import driver_of, pixels_for, run, small_tower  # noqa: E402  # torch may be missing

from roofline import reducers  # noqa: E402
from roofline.torch_side.reduce.methods import reduce_tokens  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
RUNS = 5
METHODS = [name for name in reducers.names() if reducers.find(name).site == "features"]
INSIDE_VIT = [name for name in reducers.names() if reducers.find(name).site == "vision"]


def features(device: str) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, 577, 1024, generator=generator).to(device) for _ in range(3))


@pytest.mark.parametrize("method", METHODS)
def test_as_on_the_cpu(method: str) -> None:
    expected = reduce_tokens(method, *features("cpu"), count=144)
    found = reduce_tokens(method, *features("cuda"), count=144)

    for wanted, got in zip(expected.tokens, found.tokens, strict=True):
        torch.testing.assert_close(got.cpu(), wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_fixed_counts_never_wait_for_the_device(method: str) -> None:
    inputs = features("cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        counts = reduce_tokens(method, *inputs, count=144).counts
    finally:
        torch.cuda.set_sync_debug_mode("default")

    assert counts == [144, 144]


@pytest.mark.parametrize("method", METHODS)
def test_features_are_reduced_to_the_same_bits_each_time(method: str) -> None:
    inputs = [tensor.half() for tensor in features("cuda")]
    first, *others = (reduce_tokens(method, *inputs, count=144) for _ in range(RUNS))

    for other in others:
        for wanted, got in zip(first.tokens, other.tokens, strict=True):
            assert torch.equal(got, wanted)


@pytest.mark.parametrize("method", INSIDE_VIT)
def test_blocks_reduce_to_the_same_bits_each_time(method: str) -> None:
    """Several tokens merge into one: atomic additions would come in any order, each of which
    rounds differently.
    """
    tower = small_tower(
        side=24, layers=6, hidden=64, heads=4, dtype=torch.float16, implementation="sdpa"
    ).cuda()
    pixels = pixels_for(tower).cuda()
    first, *others = (
        run(tower, driver_of(method, count=288), 6, pixels).features for _ in range(RUNS)
    )

    assert first.isfinite().all()
    assert first.shape[1] < 400
    for other in others:
        assert torch.equal(other, first)
