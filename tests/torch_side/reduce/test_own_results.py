"""What a method of somebody's own returns is looked at once, wherever it runs."""

from __future__ import annotations

from typing import Any

import pytest
from naive.features import inputs

from roofline import reducers
from roofline.torch_side.reduce.methods.base import BoundMethod, Method, ReducerError, Reduction


def reduced(result: Any, name: str = "sequential", count: int | None = 4) -> Reduction:
    features = inputs(2, 9)[0]

    def method(reducer: Any, features: Any, queries: Any, keys: Any, *, count: Any = None) -> Any:
        return result(features)

    bound = BoundMethod(Method(name, reduce=method), reducers.find(name), {"count": count})
    return bound.reduce(features, None, None)


def test_a_pair_of_tensors_will_do() -> None:
    found = reduced(lambda x: (x[:, 1:5], x[:, :4, 0]))
    assert found.counts == [4, 4]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda x: x[:, 1:5], "sequential must return tokens .* and indices .*, not Tensor"),
        (lambda x: (x[:, 1:5],), "must return tokens"),
        (lambda x: (x[:, 1:6], x[:, :5, 0]), "was to leave 4 tokens an image and left 5"),
        (lambda x: (x[:, 1:5], x[:, :3, 0]), "was to leave 4 tokens an image and left 3"),
        (lambda x: (x[:1, 1:5], x[:, :4, 0]), "tokens and indices of all 2 images"),
    ],
)
def test_what_is_none_is_one_line(result: Any, message: str) -> None:
    with pytest.raises(ReducerError, match=message):
        reduced(result)


def test_where_the_picture_decides_fewer_may_be_left() -> None:
    assert reduced(lambda x: (x[:, 1:4], x[:, :3, 0]), "ats").counts == [3, 3]
    with pytest.raises(ReducerError, match="was to leave 4 tokens an image and left 5"):
        reduced(lambda x: (x[:, 1:6], x[:, :5, 0]), "ats")
