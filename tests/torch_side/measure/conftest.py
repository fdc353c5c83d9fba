"""Pipelines that are closed in the end, on a machine that is taken for quiet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from torch import Tensor

from roofline.torch_side.measure import disturbance
from roofline.torch_side.measure.pipeline import Pipeline


@pytest.fixture(autouse=True)
def quiet(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else runs where the tests do, but for tests marked `noisy`."""
    if request.node.get_closest_marker("noisy") is None:
        monkeypatch.setattr(disturbance.CpuDisturbance, "__call__", lambda self: "")


@pytest.fixture
def made() -> Iterator[Callable[..., Pipeline]]:
    """`Pipeline`, closed in the end."""
    pipelines = []

    def make(
        model: Any, given: dict[str, Tensor], name: str | None, options: dict[str, Any], **more: Any
    ) -> Pipeline:
        [pixels] = [value for key, value in given.items() if key.startswith("pixel_values")]
        pipeline = Pipeline(
            model, reducer=name, options=options, pixels=pixels, ids=given["input_ids"], **more
        )
        pipelines.append(pipeline)
        return pipeline

    yield make
    for pipeline in pipelines:
        pipeline.close()
