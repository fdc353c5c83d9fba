"""A connector of steps: norms, merges of neighbouring patches, matrices, activations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from roofline.model.architectures import CONNECTORS, Feed, rows_out
from roofline.model.block import Block
from roofline.model.op import Op
from roofline.model.ops import activation, gated_activation, linear, residual, weighted_norm
from roofline.model.polynomial import Number
from roofline.specs.models import (
    ActivationStep,
    ConnectorStep,
    GatedMlpStep,
    GateStep,
    LinearStep,
    MergeStep,
    NormStep,
    PoolStep,
    StepConnector,
    View,
)


def connect(
    connector: StepConnector, feeds: Sequence[Feed], *, in_features: int, out_features: int
) -> tuple[Block, ...]:
    """[rows, in] → [fewer rows, out], step by step; and each tap of the tower likewise."""
    widths = in_features, out_features
    main = Block(1, tuple(_Line(feeds, *widths, "", "connected").ops(connector.steps)))
    if not connector.taps:
        return (main,)
    tapped = tuple(_Line(feeds, *widths, "deepstack_", "tapped").ops(connector.tap_steps))
    added = residual(
        "deepstack_add", "connected", "tapped", rows=rows_out(feeds), width=out_features
    )
    return (Block(len(connector.taps), tapped), main, Block(len(connector.taps), (added,)))


class _Line:
    """Rows on their way through steps: how many, how wide, and the tensor that holds them.

    A feed's `rows` are what comes out; where pictures have more inside, rows are as many more.
    """

    def __init__(
        self, feeds: Sequence[Feed], width: int, out_features: int, prefix: str, target: str
    ) -> None:
        self._feeds, self._width, self._out = feeds, width, out_features
        self._prefix, self._last = prefix, target
        self._inside = [feed.features for feed in feeds]
        self._grids = [(feed.view.rows, feed.view.columns) for feed in feeds]
        self._tensor = "features"

    def ops(self, steps: Sequence[ConnectorStep]) -> Iterator[Op]:
        """The kernels of the steps; a merge is none, for who reads its rows reads them merged."""
        names: dict[str, int] = {}
        for i, step in enumerate(steps):
            last = i == len(steps) - 1
            target = self._last if last else f"{self._prefix}step_{i + 1}"
            yield from self._step(step, target, names)

    @property
    def _rows(self) -> Number:
        rows = (
            feed.rows if inside == feed.tokens else feed.rows * (inside / feed.tokens)
            for feed, inside in zip(self._feeds, self._inside, strict=True)
        )
        return sum(rows, 0.0)

    def _step(self, step: ConnectorStep, target: str, names: dict[str, int]) -> Iterator[Op]:
        def name(kind: str) -> str:
            names[kind] = names.get(kind, 0) + 1
            return f"{self._prefix}{kind}_{names[kind]}"

        source, width = self._tensor, self._width
        match step:
            case MergeStep():
                self._shrink(step.size)
                self._width *= step.size**2
                return
            case PoolStep():
                before = self._rows * width
                self._shrink(step.size)
                yield Op(
                    name("pool"), "activation", "vector", reads={source: before},
                    writes={target: self._rows * width}, vector_flops=before, function="pool",
                )  # fmt: skip
            case NormStep():
                yield weighted_norm(
                    step.norm, name("norm"), source, target, rows=self._rows, width=width
                )
            case ActivationStep():
                yield activation(
                    name("act"), source, target, rows=self._rows, width=width,
                    function=step.function,
                )  # fmt: skip
            case LinearStep():
                yield self._linear(name("linear"), source, target, step.width, step.bias)
            case GateStep():
                half = self._width = width // 2
                op = gated_activation(
                    name("gate"), source, "", target, rows=self._rows, width=half,
                    function=step.function,
                )  # fmt: skip
                yield replace(op, reads={source: self._rows * width})
            case GatedMlpStep():
                f, rows = step.intermediate_size, self._rows
                yield self._linear(name("gate_proj"), source, "gate", f, step.bias)
                self._width = width
                yield self._linear(name("up_proj"), source, "up", f, step.bias)
                yield gated_activation(
                    name("act"), "gate", "up", "activated", rows=rows, width=f,
                    function=step.function,
                )  # fmt: skip
                yield self._linear(name("down_proj"), "activated", target, step.width, step.bias)
        self._tensor = target

    def _linear(self, name: str, source: str, target: str, width: int | None, bias: bool) -> Op:
        before, self._width = self._width, width or self._out
        return linear(
            name, source, target, rows=self._rows, in_features=before, out_features=self._width,
            bias=bias,
        )  # fmt: skip

    def _shrink(self, size: int) -> None:
        self._grids = [(rows // size, columns // size) for rows, columns in self._grids]
        self._inside = [View(*grid).patches for grid in self._grids]


CONNECTORS.register("step-connector", connect)
