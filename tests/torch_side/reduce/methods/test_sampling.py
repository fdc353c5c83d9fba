"""Sequential and spatial sampling."""

from __future__ import annotations

import pytest
import torch
from naive.features import agree, flops, inputs, sequential, spatial

from roofline import reducers
from roofline.errors import InputError
from roofline.reducers.token_schedules import squarest
from roofline.torch_side.reduce.methods import reduce_tokens


@pytest.mark.parametrize("patches", [1, 7, 576])
def test_sequential_takes_the_first(patches: int) -> None:
    for count in {1, patches // 2 or 1, patches}:
        images = inputs(2, patches)
        reduction = reduce_tokens("sequential", *images, count=count)
        agree(reduction, images, lambda y, q, k, count=count: sequential(y, count))


@pytest.mark.parametrize("grid", [(6, 6), (5, 8), (8, 5), (5, 7), (7, 5), (4, 4), (1, 1), (24, 24)])
@pytest.mark.parametrize("patches", [576, 729])
def test_spatial_takes_the_middles_of_a_grid(grid: tuple[int, int], patches: int) -> None:
    images = inputs(2, patches)
    reduction = reduce_tokens("spatial", *images, grid=grid)
    assert reduction.counts == [grid[0] * grid[1]] * 2
    agree(reduction, images, lambda y, q, k: spatial(y, grid))


@pytest.mark.parametrize(
    ("count", "grid"),
    [(36, (6, 6)), (40, (5, 8)), (35, (5, 7)), (16, (4, 4)), (23, (1, 23)), (576, (24, 24))],
)
def test_a_count_becomes_its_squarest_grid(count: int, grid: tuple[int, int]) -> None:
    assert squarest(count, 24, 24) == grid
    features = inputs(1, 576)[0]
    by_count = reduce_tokens("spatial", features, count=count)
    assert by_count.indices[0].equal(reduce_tokens("spatial", features, grid=grid).indices[0])


def test_four_patches_in_the_middles_of_the_quarters() -> None:
    indices = reduce_tokens("spatial", inputs(1, 16)[0], count=4).indices[0]
    assert indices.tolist() == [1 * 4 + 1, 1 * 4 + 3, 3 * 4 + 1, 3 * 4 + 3]


def test_neither_needs_a_class_token_or_a_matmul() -> None:
    features = inputs(1, 16)[0]
    for method in ("sequential", "spatial"):
        bare = reduce_tokens(method, features[:, 1:], count=4, class_token=False)
        assert bare.tokens[0].equal(reduce_tokens(method, features, count=4).tokens[0])
        assert flops(lambda method=method: reduce_tokens(method, features, count=4)) == 0


def test_gradients_and_dtype_pass_through() -> None:
    features = inputs(1, 16)[0].bfloat16().requires_grad_()
    for method in ("sequential", "spatial"):
        features.grad = None
        reduction = reduce_tokens(method, features, count=4)
        assert reduction.tokens[0].dtype == torch.bfloat16
        reduction.tokens[0].sum().backward()
        assert features.grad is not None
        touched = features.grad[0].any(dim=-1).nonzero().flatten() - 1
        assert touched.tolist() == reduction.indices[0].tolist()


@pytest.mark.parametrize(
    ("patches", "options", "message"),
    [
        (30, {"count": 4}, "square"),
        (576, {"count": 4, "grid": (2, 2)}, "not both"),
        (576, {"grid": (25, 1)}, "within 24×24"),
        (576, {"grid": (0, 1)}, "`grid` must be"),
        (576, {"count": 29}, "28, 30"),
        (576, {"count": 577}, "576 patches"),
    ],
)
def test_grids_that_are_not_there(patches: int, options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        reduce_tokens("spatial", inputs(1, patches)[0], **options)


@pytest.mark.parametrize("name", ["sequential", "spatial"])
def test_without_a_count_the_analysis_decides(name: str) -> None:
    reduction = reduce_tokens(name, inputs(1, 576)[0])

    assert reduction.counts == [reducers.find(name).default_kept(576, 23)] == [40]
