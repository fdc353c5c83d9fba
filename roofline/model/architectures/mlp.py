"""The connector: an MLP that turns visual features into rows of the prompt."""

from __future__ import annotations

from collections.abc import Sequence

from roofline.model.architectures import CONNECTORS, Feed, rows_out
from roofline.model.block import Block
from roofline.model.op import Op
from roofline.model.ops import activation, linear
from roofline.specs.models import MlpConnector


def project(
    connector: MlpConnector, feeds: Sequence[Feed], *, in_features: int, out_features: int
) -> tuple[Block, ...]:
    """[rows, in] → [rows, out]: Linear and GELU in turn, all Linears but the first square."""
    rows = rows_out(feeds)
    ops: list[Op] = []
    source, width = "features", in_features
    for i in range(connector.num_linear_layers):
        if i:
            name = "act" if i == 1 else f"act_{i}"
            ops.append(
                activation(name, source, "activated", rows=rows, width=width, function="gelu")
            )
            source = "activated"
        target = f"projected_{i + 1}"
        ops.append(
            linear(
                f"linear_{i + 1}",
                source,
                target,
                rows=rows,
                in_features=width,
                out_features=out_features,
                bias=connector.bias,
            )
        )
        source, width = target, out_features
    return (Block(1, tuple(ops)),)


CONNECTORS.register("connector", project)
