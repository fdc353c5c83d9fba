"""On a CUDA device: the same result as on the CPU, and no host synchronisation for fixed counts."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from roofline import reducers  # noqa: E402  # torch may be missing
from roofline.torch_side.reduce.methods import reduce_tokens  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
METHODS = [name for name in reducers.names() if reducers.find(name).site == "features"]


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
