"""Vision encoders: ViTs that turn patches of an image into visual features."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from roofline.specs.models.image_tokens import View
from roofline.specs.models.kinds import register_kind
from roofline.specs.models.language import HiddenAct, LinearShape, NormFunction
from roofline.specs.sourced import Epsilon, Name, PositiveInt, SmallInt, Spec, Width

BlockLinear = Literal[
    "q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2", "gate_proj", "up_proj", "down_proj"
]
"""Weight matrices of a block, by name."""

Pixels = Annotated[int, Meta(ge=1, le=100_000)]
"""Of the side of a square."""
Index = Annotated[int, Meta(ge=0, le=9999)]
"""Of a block, the first being 0."""
FewTokens = Annotated[int, Meta(ge=0, le=1000)]
"""Learned rows beside the patches."""


class Windows(Spec, frozen=True):
    """Attention within square windows of the grid of patches (Qwen2.5-VL)."""

    side: SmallInt
    """Of a window, in patches; those at the right and lower edges hold what is left."""
    full_attention_layers: tuple[Index, ...] = ()
    """Blocks where every patch attends to all of its picture."""

    def lengths(self, view: View) -> dict[int, int]:
        """Patches of a window → how many such windows a picture has."""
        found: dict[int, int] = {}
        for rows, down in self._pieces(view.rows).items():
            for columns, across in self._pieces(view.columns).items():
                found[rows * columns] = found.get(rows * columns, 0) + down * across
        return found

    def _pieces(self, length: int) -> dict[int, int]:
        """Sides of the windows along an edge, and how many there are of each."""
        whole, rest = divmod(length, self.side)
        return {self.side: whole} | ({rest: 1} if rest else {}) if whole else {rest: 1}


class VisionEncoder(Spec, frozen=True, tag_field="kind", tag="vision-encoder"):
    """A pre-norm ViT whose hidden states after one of its blocks are the visual features.

    As it stands that of CLIP. SigLIP's has neither `class_token` nor `pre_norm`, a `patch_bias`,
    and `gelu_tanh`; towers that take pictures of any shape have rotary positions.
    """

    name: Name
    title: str
    source: str
    hidden_size: Width
    num_hidden_layers: SmallInt
    num_attention_heads: SmallInt
    intermediate_size: Width
    image_size_px: Pixels
    """Side of the square image; of a tower that takes any shape, of one where none is given. What
    is left at its edges, where this is no multiple of `patch_size_px`, is in no patch."""
    patch_size_px: Pixels
    num_channels: SmallInt = 3
    temporal_patch_size: SmallInt = 1
    """Frames in one patch; a still is repeated to fill it."""
    head_dim: Width | None = None
    """Left out: hidden_size / num_attention_heads."""
    class_token: bool = True
    register_tokens: FewTokens = 0
    """Learned tokens beside the class token, without positions."""
    mask_token: bool = False
    """Whether the checkpoint keeps the learned row that stood for hidden patches in training."""
    positions: tuple[Literal["learned", "rotary"], ...] = ("learned",)
    """A learned table added to the patches, and rotation of queries and keys by row and column."""
    position_rows: PositiveInt | None = None
    """Of the learned table. Left out: one a patch of `image_size_px`, and one for the class token;
    a table of another length is interpolated."""
    norm: NormFunction = "layer_norm"
    layer_norm_eps: Epsilon = 1e-5
    pre_norm: bool = True
    """A norm between the embeddings and the first block, as in CLIP."""
    last_norm: Literal["pooled", "features"] | None = "pooled"
    """What the norm behind the last block is for: the class token alone, which then yields no
    feature (CLIP), or the features, where those are of the last block (SigLIP)."""
    pooling_head: bool = False
    """Attention and an MLP that make one row of all (SigLIP): loaded, and not run."""
    patch_bias: bool = False
    """Whether the patch embedding has a bias, as in SigLIP."""
    without_bias: tuple[BlockLinear, ...] = ()
    """Weight matrices of a block that have none; the others have one."""
    qk_norm: Literal["width", "head"] | None = None
    """RMSNorm of queries and keys, over all heads at once (InternViT-6B) or each by itself."""
    layer_scale: bool = False
    """A learned factor a channel behind attention and MLP (Touvron et al. 2021)."""
    hidden_act: HiddenAct = "quick_gelu"
    """Between the matrices of the MLP."""
    gated_mlp: bool = False
    """Whether the MLP is down(act(gate(x)) · up(x)) rather than fc2(act(fc1(x)))."""
    windows: Windows | None = None
    aliases: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()
    """Fields of its config that no source vouches for, each with why it is taken."""

    def __post_init__(self) -> None:
        if self.image_size_px < self.patch_size_px:
            raise ValueError("`image_size_px` must hold at least one patch of `patch_size_px`")
        if self.head_dim is None and self.hidden_size % self.num_attention_heads:
            raise ValueError("`hidden_size` must be a multiple of `num_attention_heads`")
        if self.windows and self.sequence(View(1, 1)) > 1:
            raise ValueError("`windows` hold patches alone: no `class_token`, no `register_tokens`")
        if self.position_rows and "learned" not in self.positions:
            raise ValueError("`position_rows` is of the learned table: add learned to `positions`")

    @property
    def view(self) -> View:
        """The grid of patches of a square image, (image // patch) a side."""
        side = self.image_size_px // self.patch_size_px
        return View(side, side)

    @property
    def patches(self) -> int:
        """Whole patches of one image: (image // patch)²."""
        return self.view.patches

    @property
    def tokens(self) -> int:
        """Sequence length in the blocks: patches and, where there is one, the class token."""
        return self.sequence(self.view)

    def sequence(self, view: View) -> int:
        """Sequence length in the blocks of one picture of that shape."""
        return view.patches + self.class_token + self.register_tokens

    def pixels(self, view: View) -> int:
        """Values of one picture of that shape, all channels; its edges that are no patch, too."""
        own = (view.rows, view.columns) == (self.view.rows, self.view.columns)
        area = self.image_size_px**2 if own else view.patches * self.patch_size_px**2
        return self.num_channels * self.temporal_patch_size * area

    @property
    def head_size(self) -> int:
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def attention_width(self) -> int:
        """Width of the queries, all heads together; keys and values are as wide."""
        return self.num_attention_heads * self.head_size

    @property
    def patch_width(self) -> int:
        """Pixel values in one patch, all channels and frames."""
        return self.num_channels * self.temporal_patch_size * self.patch_size_px**2

    @property
    def position_table(self) -> int:
        """Rows of the learned table; none where there is no such."""
        if "learned" not in self.positions:
            return 0
        return self.position_rows or self.patches + self.class_token

    @property
    def layer_linears(self) -> tuple[LinearShape, ...]:
        """The weight matrices of one block, in execution order."""
        d, e, f = self.hidden_size, self.attention_width, self.intermediate_size
        mlp = (
            (("gate_proj", d, f), ("up_proj", d, f), ("down_proj", f, d))
            if self.gated_mlp
            else (("fc1", d, f), ("fc2", f, d))
        )
        attention = (("q_proj", d, e), ("k_proj", d, e), ("v_proj", d, e), ("out_proj", e, d))
        return tuple(LinearShape(*each) for each in (*attention, *mlp))

    def has_bias(self, linear: str) -> bool:
        """Whether the weight matrix of that name in `layer_linears` has a bias."""
        return linear not in self.without_bias

    def windowed(self, block: int) -> bool:
        """Whether a block's attention keeps to windows."""
        return self.windows is not None and block not in self.windows.full_attention_layers


register_kind(VisionEncoder)
