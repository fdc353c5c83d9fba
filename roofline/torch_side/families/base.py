"""What a family of Hugging Face models is: all that the rest of `torch_side` knows of a class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from roofline.errors import InputError
from roofline.specs.models import Lmm
from roofline.torch_side.families.tower import Tower
from roofline.torch_side.families.visual import VisualInput


class FamilyError(InputError):
    """A model of no known family, or one that its family cannot take apart."""


_CACHE_KEYWORDS = ("cache", "past_key_values")
"""Of transformers from 5.24 on, and before."""


def cache_keyword(module: nn.Module) -> str:
    """What a model or a layer of transformers calls its KV cache."""
    parameters = signature(module.forward).parameters
    return next(name for name in _CACHE_KEYWORDS if name in parameters)


class PromptPlaces(NamedTuple):
    """Where tokens of a prompt are, along several axes."""

    positions: Tensor
    """[axes, B, n]."""
    behind: Tensor
    """Of the first token of the answer, on all axes: [B, 1]."""


class Decoder(ABC):
    """The LLM of a model without its head: what reducers inside it hook."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    @property
    @abstractmethod
    def layers(self) -> nn.ModuleList:
        """In the order in which they run. Each takes hidden states [B, n, d] first, and keywords
        `position_embeddings` (cosines and sines), `position_ids`, `attention_mask` and the KV
        cache, by `cache_keyword`.
        """

    @property
    @abstractmethod
    def norm(self) -> nn.Module:
        """What runs behind the last layer."""

    @abstractmethod
    def query_and_key(self, layer: nn.Module) -> tuple[nn.Module, nn.Module]:
        """What yields a layer's queries and keys before the rotation, as it is now: [B, n, d] →
        [B, n, H·e] and [B, n, H_kv·e], or with the heads apart.
        """

    def unranked(self, layer: nn.Module) -> str:
        """Why attention cannot be told from rotated queries and keys; empty where it can."""
        return ""

    @property
    def sections(self) -> tuple[int, ...]:
        """Pairs of a head's channels that turn by frame, row and column; empty where all turn by
        one position.
        """
        return ()

    @property
    def tapped(self) -> int:
        """First layers that features of the tower are added behind (DeepStack)."""
        return 0


@dataclass(frozen=True)
class OpOwners:
    """Whose aten calls are which op of the analysis.

    Names are endings of the innermost class (or traced function) that a call runs in, as
    transformers forms them; an op is named after the module itself.
    """

    norm: tuple[str, ...] = ("RMSNorm", "LayerNorm")
    linear: tuple[str, ...] = ("Linear", "Conv2d")
    rotary: tuple[str, ...] = ("RotaryEmbedding", "apply_rotary_pos_emb")
    rotary_table: tuple[str, ...] = ("RotaryEmbedding",)
    """Among `rotary`, those that hold frequencies."""
    rotary_table_module: str = ".rotary_emb"
    """Ending of the path of the module that makes the table of angles."""
    attention: tuple[str, ...] = ("Attention",)
    mlp: tuple[str, ...] = ("MLP",)
    activation: tuple[str, ...] = ("GELUActivation", "GELUTanh", "SiLUActivation", "SiLU")
    layer: tuple[str, ...] = ("DecoderLayer", "EncoderLayer")
    decoder: tuple[str, ...] = ()
    """The LLM without its head: what it derives from whole numbers and masks is `index`."""
    token_embedding: str = "embed_tokens"
    """Ending of the path of the module that looks tokens up."""
    vision_embeddings: str = ".embeddings"
    """Part of the path of the module that makes tokens of pixels."""
    functions: tuple[tuple[str, str], ...] = ()
    """Functions that are traced as if they were modules: where they are found, and their names."""


class Family(ABC):
    """Models of one Hugging Face class: between a spec and a config, and inside the model.

    What belongs to a model takes the model: a family has no state.
    """

    name: ClassVar[str]
    """What specs call it in `architecture`."""
    model_type: ClassVar[str]
    """What its models' configs call it."""
    transformers_class: ClassVar[str]
    """The class of a whole model."""
    owners: ClassVar[OpOwners]
    components: ClassVar[Mapping[str, str]]
    """Parts of module paths, and the component of the analysis that such a module belongs to."""
    settled_arguments: ClassVar[tuple[str, ...]] = ()
    """Arguments of a call that repeat what the config says: with a reducer they may not differ."""
    traced_apart: ClassVar[bool] = True
    """Whether the oracle traces tower, connector and LLM of its specs by themselves."""
    token_types: ClassVar[tuple[str, ...]] = ()
    """Arguments of a call, [B, n], that tell visual tokens from text for its masks."""
    sizes: ClassVar[Mapping[str, tuple[str, ...]]]
    """Fields in parts of the config that must agree between a spec and a checkpoint."""
    special_ids: ClassVar[tuple[str, ...]] = ("pad_token_id",)
    """Fields of the config, or of its `text_config`, that name tokens which are no text."""

    @abstractmethod
    def config_of(self, spec: Lmm, attention: str = "sdpa") -> Any:
        """The config that a spec describes. Raises SpecError for what the class cannot be."""

    def attention_of(self, text_config: Any, attention: str) -> Any:
        """What transformers is told: another kernel for parts that this one does not compute."""
        return attention

    def model_class(self) -> Any:
        """The class of a whole model."""
        import transformers

        return getattr(transformers, self.transformers_class)

    @abstractmethod
    def is_whole(self, model: Any) -> bool:
        """Whether a model whose config is of this `model_type` is one, and not a part of one."""

    @abstractmethod
    def inputs(self, model: Any) -> list[VisualInput]:
        """What pixels a model takes, last those that a spec's sample has.

        Raises FamilyError for a model that cannot be taken apart.
        """

    @abstractmethod
    def connector(self, model: Any) -> nn.Module:
        """Visual features [rows, C] → rows of the prompt [rows, d]."""

    @abstractmethod
    def decoder(self, model: Any) -> Decoder:
        """The LLM without its head."""

    @abstractmethod
    def tower(self, module: nn.Module) -> Tower:
        """A vision tower by itself, taken apart. Raises FamilyError for another layout."""

    def connector_class(self) -> Any:
        """The class of the connector, built from the whole config: asked where `traced_apart`."""
        raise NotImplementedError

    def token_type_values(self, model: Any, ids: Tensor) -> dict[str, Tensor]:
        """Of each of `token_types` what a processor writes for a prompt's ids [B, n]."""
        return {}

    def places(self, model: Any, prompt: Mapping[str, Any]) -> PromptPlaces | None:
        """Positions of a prompt's tokens where they tell places in a picture, and tokens that are
        left keep them. None where tokens are simply counted, and what is left is counted anew.

        prompt: a call's `input_ids`, `attention_mask` and what comes beside its pixels. Raises
        InputError where one is missing.
        """
        return None

    def continue_at(self, model: Any, offset: Tensor) -> None:
        """Tell a model what to add to the number of a token behind the prompt: [B, 1]."""
        raise NotImplementedError  # where there are `places`

    def learned_row(self, model: Any) -> Tensor | None:
        """What stands between rows of views, [d], where there is such a thing."""
        return None

    def sample_input(self, model: Any) -> VisualInput:
        """The input that a spec's sample consists of."""
        return self.inputs(model)[-1]

    def pad_id(self, config: Any) -> int:
        """Token id that fills up shorter sequences; 0 where the config names none."""
        ids = (getattr(owner, "pad_token_id", None) for owner in (config, config.text_config))
        return next((int(pad) for pad in ids if pad is not None), 0)

    def special_tokens(self, config: Any) -> set[int]:
        """Token ids that are no text."""
        ids = (
            getattr(owner, name, None)
            for owner in (config, config.text_config)
            for name in self.special_ids
        )
        return {int(token) for token in ids if token is not None}
