"""A config read field by field: each value checked as it is read, none left over at the end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from msgspec import Struct

from roofline.errors import SpecError, shortened
from roofline.specs.models import HiddenAct

_T = TypeVar("_T")

COSTS_NOTHING = frozenset(
    {
        # where it is from, and how it is loaded
        *("model_type", "architectures", "transformers_version", "auto_map", "torch_dtype"),
        *("dtype", "use_cache", "is_decoder", "is_encoder_decoder", "return_dict", "task"),
        *("use_return_dict", "attn_implementation", "use_flash_attn", "unsloth_fixed"),
        # ids, prompts and what is sampled
        *("bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "unk_token_id"),
        *("decoder_start_token_id", "forced_eos_token_id", "forced_bos_token_id", "prefix"),
        *("tokenizer_class", "task_specific_params", "id2label", "label2id", "problem_type"),
        *("temperature", "top_p", "top_k", "do_sample", "max_length", "max_new_tokens"),
        # training
        *("attention_dropout", "hidden_dropout", "hidden_dropout_prob", "resid_pdrop", "dropout"),
        *("attn_pdrop", "embd_pdrop", "activation_dropout", "residual_dropout", "layerdrop"),
        *("embedding_dropout", "attention_probs_dropout_prob", "classifier_dropout"),
        *("classifier_dropout_prob", "initializer_range", "initializer_factor", "init_std"),
        *(
            "gradient_checkpointing",
            "output_router_logits",
            "router_aux_loss_coef",
            "aux_loss_alpha",
        ),
        *("router_jitter_noise", "seq_aux", "ep_size", "pretraining_tp"),
        # what is returned beside the logits
        *("output_attentions", "output_hidden_states", "chunk_size_feed_forward"),
        *("summary_type", "summary_use_proj", "summary_activation", "summary_first_dropout"),
        *("summary_proj_to_labels",),
        # constants that a kernel multiplies or adds anyway
        *("scale_attn_weights", "scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn"),
        *("query_pre_attn_scalar", "attention_multiplier", "routed_scaling_factor"),
        *("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"),
        *("attn_temperature_tuning", "floor_scale", "attn_scale", "swiglu_alpha", "swiglu_limit"),
        # how the largest of a router's logits are found
        *("norm_topk_prob", "n_group", "topk_group", "topk_method", "scoring_func"),
        "experts_per_token",
        # layers that predict further tokens, which plain decoding does not run
        *("num_nextn_predict_layers", "num_mtp_layers"),
        # positions: theta and scaling make other angles of them, by the same ops
        *("rope_scaling", "original_max_position_embeddings", "rope_ratio", "rope_interleave"),
        *("rope_local_base_freq", "initial_context_length", "position_embedding_type"),
        *("n_ctx", "num_image_tokens", "mrope_section"),
        *("order_of_interleaved_layers", "cache_implementation"),
        # the type of the stored weights; a mode of ours says which is computed with
        "quantization_config",
    }
)
"""Fields that change no FLOP, no byte and no tensor of inference."""


ACTIVATIONS: dict[str, HiddenAct] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "relu2": "relu2",
}
"""Functions of an MLP by their names in transformers."""


class Rope(Struct, frozen=True):
    """What a config says of rotary positions."""

    theta: float
    share: float
    """Of a head's width that is rotated."""


class ConfigFields:
    """A config with the defaults of its `model_type`; knows which fields have been read.

    file: what faults are said to be of.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        defaults: Mapping[str, Any],
        file: str,
        preprocessor: Mapping[str, Any] | None = None,
    ) -> None:
        self.config, self.defaults, self.file = config, defaults, file
        self.preprocessor = preprocessor or {}
        self._read: set[str] = set()

    def fault(self, name: str, what: str) -> SpecError:
        """The error that a field is at fault, to be raised."""
        return SpecError(self.file, [(name, what)])

    def given(self, name: str) -> bool:
        """Whether the config itself has a value for a field; one that is null is none."""
        return self.config.get(name) is not None

    def value(self, name: str) -> Any:
        """Whatever a field holds, or its default."""
        self._read.add(name)
        if name in self.config:
            return self.config[name]
        if name not in self.defaults:
            raise self.fault(name, "is missing, and its model_type has no default for it")
        return self.defaults[name]

    def count(self, name: str) -> int:
        """A whole number of at least 0."""
        return int(self._of(name, _is_count, "a whole number of at least 0"))

    def count_or_none(self, name: str) -> int | None:
        """The same, or nothing."""
        return None if self.value(name) is None else self.count(name)

    def number(self, name: str) -> float:
        """A number."""
        return float(self._of(name, _is_number, "a number"))

    def number_or_none(self, name: str) -> float | None:
        """A number, or nothing."""
        return None if self.value(name) is None else self.number(name)

    def flag(self, name: str) -> bool:
        """True or false."""
        return bool(self._of(name, lambda value: isinstance(value, bool), "true or false"))

    def word(self, name: str, known: Collection[str] = ()) -> str:
        """Text; one of the known, if there are any."""
        if not known:
            return str(self._of(name, lambda value: isinstance(value, str), "text"))
        return str(self._of(name, lambda value: value in known, f"one of {', '.join(known)}"))

    def mapped(self, name: str, meanings: Mapping[str, _T]) -> _T:
        """What a word of a config means."""
        return meanings[self.word(name, meanings.keys())]

    def items(self, name: str) -> list[Any]:
        """A list, empty for nothing."""
        value = self.value(name)
        return (
            [] if value is None else self._of(name, lambda v: isinstance(v, list | tuple), "a list")
        )

    def section(self, name: str) -> Mapping[str, Any]:
        """A config within this one; empty for nothing. Who takes it reads it."""
        value = self.value(name)
        return (
            {} if value is None else self._of(name, lambda v: isinstance(v, Mapping), "a mapping")
        )

    def skip(self, *names: str) -> None:
        """Count fields as read that cost nothing in a model of this type."""
        self._read.update(names)

    def require(self, name: str, *values: Any) -> None:
        """Read a field of which only these values can be expressed. Raises SpecError for others.

        One that neither config nor defaults have is none of theirs.
        """
        if name not in self.config and name not in self.defaults:
            return
        value = self.value(name)
        if value not in values:
            only = " or ".join(repr(one) for one in values)
            raise self.fault(name, f"only {only} can be expressed, not {shortened(repr(value))}")

    def rope(self) -> Rope:
        """Of `rope_parameters`, or of the separate fields that older configs have."""
        parameters = dict(self.section("rope_parameters")) if self.given("rope_parameters") else {}
        names = ("rope_theta", "partial_rotary_factor", "rotary_pct", "rotary_emb_base")
        self._read |= {"rope_parameters", *names}
        nested = [one for one in parameters.values() if isinstance(one, Mapping)]
        if nested:  # by the type of layer: all of one width
            parameters = dict(nested[0])
        known = {"rope_theta": 10000.0, "partial_rotary_factor": 1.0, **self.defaults}
        known |= {name: value for name, value in self.config.items() if value is not None}
        known |= parameters
        theta = known.get("rotary_emb_base", known["rope_theta"])
        return Rope(float(theta), float(known.get("rotary_pct", known["partial_rotary_factor"])))

    def check_all_read(self) -> None:
        """Raise SpecError that names each field which nobody has read and which may cost."""
        left = [
            name
            for name, value in self.config.items()
            if name not in self._read
            and name not in COSTS_NOTHING
            and not name.startswith("_")
            and value is not None
        ]
        if left:
            unread = "is not understood: what it costs cannot be said"
            raise SpecError(self.file, [(name, unread) for name in left])

    def _of(self, name: str, fits: Callable[[Any], bool], expected: str) -> Any:
        value = self.value(name)
        if not fits(value):
            raise self.fault(name, f"expected {expected}, got {shortened(repr(value))}")
        return value


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
