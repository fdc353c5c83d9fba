"""Large multimodal models: a vision encoder, a connector and an LLM."""

from __future__ import annotations

from typing import Literal

from roofline.specs.models.connector import AnyConnector
from roofline.specs.models.image_rules import ImageRule
from roofline.specs.models.kinds import register_kind
from roofline.specs.models.language import LanguageModel
from roofline.specs.models.vision import FewTokens, VisionEncoder
from roofline.specs.sourced import Name, PositiveInt, SmallInt, Spec, TokenId

DEFAULT_ARCHITECTURE = "llava"


class Lmm(Spec, frozen=True, tag_field="kind", tag="lmm"):
    """Vision encoder → connector → LLM, each the name of a spec or written out in place."""

    name: Name
    title: str
    source: str
    vision: str | VisionEncoder
    connector: str | AnyConnector
    llm: str | LanguageModel
    vision_feature_layer: int | tuple[int, ...] | Literal["last"] = -2
    """Index into the hidden states (0 is the embeddings' output) that become visual features;
    several lie side by side. `last`: those behind the tower's last norm."""
    vision_feature_select_strategy: Literal["default", "full"] = "default"
    """`default` drops the class token, `full` keeps it."""
    llm_vocab_size: PositiveInt | None = None
    """Rows of the LLM's embedding in this LMM, where its checkpoint pads or extends them."""
    vision_towers: SmallInt = 1
    """Copies of the encoder that are loaded, for images and videos say; a prompt runs one."""
    images: SmallInt = 1
    """Images or frames in one sample of the unreduced prompt."""
    image_tokens: ImageRule | None = None
    """What it makes of a picture of any size. Left out: each is scaled to the tower's square."""
    learned_rows: FewTokens = 0
    """Learned rows of the LLM's width that stand between visual tokens: ends of rows, separators.
    """
    architecture: str = DEFAULT_ARCHITECTURE
    """Name of the Hugging Face family that builds it; looked up where the model is loaded."""
    image_token_index: TokenId = 32000
    """Placeholder id of one visual token of an image."""
    video_token_index: TokenId = 32001
    """The same for videos, where the architecture has them."""
    pad_token_id: TokenId = 32001
    aliases: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()
    """Fields of its config that no source vouches for, each with why it is taken."""


register_kind(Lmm)
