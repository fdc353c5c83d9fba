"""Connectors: what turns visual features into rows of the LLM's prompt."""

from __future__ import annotations

from roofline.specs.models.image_tokens import View
from roofline.specs.models.kinds import register_kind
from roofline.specs.models.language import HiddenAct, NormFunction
from roofline.specs.models.vision import FewTokens, Index
from roofline.specs.sourced import Name, PositiveInt, SmallInt, Spec, Width


class Connector(Spec, frozen=True):
    """What all share: how many rows come out. One of one's own may be any such spec."""

    def tokens(self, view: View, features: int) -> int:
        """Rows that come out for one picture of that shape, of which `features` rows go in."""
        return features

    @property
    def needs_grid(self) -> bool:
        """Whether it takes patches alone, which lie in a grid."""
        return False


class MlpConnector(Connector, frozen=True, tag_field="kind", tag="connector"):
    """An MLP from the encoder's width to the LLM's; its sizes are those of its neighbours."""

    name: Name
    title: str
    source: str
    num_linear_layers: SmallInt = 2
    bias: bool = True
    aliases: tuple[str, ...] = ()


class NormStep(Spec, frozen=True, tag_field="step", tag="norm"):
    """Each row by itself, as wide as it comes."""

    norm: NormFunction = "layer_norm"


class MergeStep(Spec, frozen=True, tag_field="step", tag="merge"):
    """Squares of neighbouring patches side by side in one row (pixel shuffle, patch merger)."""

    size: SmallInt = 2
    """Side of the square; what is left at the edges is dropped."""


class PoolStep(Spec, frozen=True, tag_field="step", tag="pool"):
    """The mean of squares of neighbouring patches."""

    size: SmallInt = 2


class LinearStep(Spec, frozen=True, tag_field="step", tag="linear"):
    """A matrix."""

    width: Width | None = None
    """Of what comes out. Left out: the LLM's."""
    bias: bool = True


class ActivationStep(Spec, frozen=True, tag_field="step", tag="activation"):
    """A function of each element."""

    function: HiddenAct = "gelu"


class GateStep(Spec, frozen=True, tag_field="step", tag="gate"):
    """A function of one half of each row, times the other."""

    function: HiddenAct = "silu"


class GatedMlpStep(Spec, frozen=True, tag_field="step", tag="gated-mlp"):
    """down(act(gate(x)) · up(x))."""

    intermediate_size: Width
    width: Width | None = None
    """Of what comes out. Left out: the LLM's."""
    bias: bool = False
    function: HiddenAct = "silu"


ConnectorStep = (
    NormStep | MergeStep | PoolStep | LinearStep | ActivationStep | GateStep | GatedMlpStep
)


class StepConnector(Connector, frozen=True, tag_field="kind", tag="step-connector"):
    """Steps one behind the other, the last of which is as wide as the LLM."""

    name: Name
    title: str
    source: str
    steps: tuple[ConnectorStep, ...]
    taps: tuple[Index, ...] = ()
    """Blocks of the tower whose output is connected, too, each by `tap_steps` of its own; it is
    added to the visual rows behind the LLM's first layers (DeepStack in Qwen3-VL)."""
    tap_steps: tuple[ConnectorStep, ...] = ()
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not any(isinstance(step, LinearStep | GatedMlpStep) for step in self.steps):
            raise ValueError("`steps` must have a `linear` or a `gated-mlp`: rows get their width")
        if bool(self.taps) != bool(self.tap_steps):
            raise ValueError("`taps` and `tap_steps` go together")

    def tokens(self, view: View, features: int) -> int:
        """Of a grid the squares that it is merged to."""
        if not self.needs_grid:
            return features
        rows, columns = view.rows, view.columns
        for step in self.steps:
            if isinstance(step, MergeStep | PoolStep):
                rows, columns = rows // step.size, columns // step.size
        return rows * columns

    @property
    def needs_grid(self) -> bool:
        return any(isinstance(step, MergeStep | PoolStep) for step in self.steps)


class QFormer(Connector, frozen=True, tag_field="kind", tag="q-former"):
    """A BERT whose learned queries attend to each other and, in some layers, to an image (BLIP-2).

    Its rows are brought to the LLM's width by a matrix with a bias.
    """

    name: Name
    title: str
    source: str
    num_query_tokens: SmallInt
    hidden_size: Width
    num_hidden_layers: SmallInt
    num_attention_heads: SmallInt
    intermediate_size: Width
    cross_attention_frequency: SmallInt = 2
    """Every which layer attends to the image, the first of them included."""
    instruction_vocab_size: PositiveInt | None = None
    """Words of an instruction that attends with the queries (InstructBLIP)."""
    instruction_positions: PositiveInt = 512
    instruction_tokens: FewTokens = 0
    """Of such an instruction, in front of each image."""
    hidden_act: HiddenAct = "gelu"
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.instruction_tokens and not self.instruction_vocab_size:
            raise ValueError("`instruction_tokens` need an `instruction_vocab_size`")

    def tokens(self, view: View, features: int) -> int:
        """As many as there are queries, whatever the image."""
        return self.num_query_tokens


class Perceiver(Connector, frozen=True, tag_field="kind", tag="perceiver"):
    """Learned queries that attend to an image and to themselves, layer by layer (Idefics2).

    A gated MLP brings the image's rows to the LLM's width first; each layer has RMSNorms and a
    gated MLP of four times that width.
    """

    name: Name
    title: str
    source: str
    num_query_tokens: SmallInt
    num_hidden_layers: SmallInt
    num_attention_heads: SmallInt
    num_key_value_heads: SmallInt
    head_dim: Width
    intermediate_size: Width
    """Of the gated MLP in front."""
    hidden_act: HiddenAct = "silu"
    aliases: tuple[str, ...] = ()

    def tokens(self, view: View, features: int) -> int:
        """As many as there are queries, whatever the image."""
        return self.num_query_tokens


AnyConnector = MlpConnector | StepConnector | QFormer | Perceiver

for kind in (MlpConnector, StepConnector, QFormer, Perceiver):
    register_kind(kind)
