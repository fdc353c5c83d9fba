"""The axes of a scenario, declared once: options, JSON keys, columns and help are derived.

Nothing heavy is imported here, so that `--help` stays as quick as click.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, Literal, NamedTuple

Stage = Literal["prefill", "decode", "generate"]
STAGES: tuple[Stage, ...] = ("prefill", "decode", "generate")
ATTENTIONS = ("flash", "eager")
Kernels = Literal["unfused", "fused", "autocast", "compiled"]
KERNELS: tuple[Kernels, ...] = ("unfused", "fused", "autocast", "compiled")
RUNTIMES = ("eager", "compile", "cuda-graph", "vllm", "trt-llm")
"""Ways of running, restated, so that `--help` reads nothing; a test holds them to the data."""

DEFAULT_TEXT_TOKENS = 40
"""The text prompt of the LLaVA-PruMerge paper's efficiency analysis (section 4.2)."""

ANSWER_TOKENS = 128
"""The answer that a saving is held against where nobody says how long it is: efficiency tables of
token reduction mostly write 100 to 128 tokens."""


class Axis(NamedTuple):
    """One thing that a scenario says."""

    name: str
    """Keyword in Python, key in JSON, column of frames."""
    title: str
    """Heading of its column in tables."""
    help: str
    default: str | int | None = None
    """None: the model, the reducer or the accounting decides, or there is none."""
    flag: str = ""
    """Option on the command line, where it is not the name's own."""
    least: int | None = None
    """The smallest count; None for what is no count."""
    phrase: str = "{}"
    """How a value is said."""
    none: str = ""
    """How it is said that there is no value; empty: `no` and the words of the axis."""
    choices: tuple[str, ...] = ()
    """All values that there are, where few are."""
    varied: bool = True
    """Whether a command line may give several values, to be combined with all others."""
    joined: bool = False
    """Whether several values are one scenario's, written with commas."""

    @property
    def option(self) -> str:
        return self.flag or f"--{self.name.replace('_', '-')}"

    @property
    def words(self) -> str:
        """In messages."""
        return self.name.replace("_", " ")

    def in_words(self, value: object) -> str:
        """A value in words: `h200`, `batch 8`, `no reducer`."""
        return (self.none or f"no {self.words}") if value is None else self.phrase.format(value)

    def in_cell(self, value: object) -> str:
        """A value under the axis's title: `h200`, `8`, `kernels alone`."""
        return self.none or "none" if value is None else str(value)

    @property
    def is_count(self) -> bool:
        """Whether it takes whole numbers, and arrays of them in Python."""
        return self.least is not None


AXES = (
    Axis("model", "Model", "Name or YAML file; see `roofline models`."),
    Axis("hardware", "Hardware", "Name or YAML file; see `roofline hardware`.", flag="--hw"),
    Axis(
        "quant",
        "Quant",
        "fp32, fp16, bf16, fp8, int8, int4, w8a16, w4a16, any wXaYkvZ, or a YAML file; "
        "see `roofline quantization`.",
        default="fp16",
    ),
    Axis(
        "reducer",
        "Reducer",
        "Token reducer of an LMM, such as prumerge or fastv:k=3, priced with it, or none; see "
        "`roofline reducers`. Leaves "
        "--visual-tokens, or as many as it keeps by default.",
        phrase="with {}",
    ),
    Axis(
        "visual_tokens",
        "Visual",
        "Visual tokens that reach the LLM.",
        least=0,
        phrase="{} visual tokens",
    ),
    Axis(
        "pictures",
        "Pictures",
        "Width and height in pixels, as 1280x720, of a picture that a sample shows; repeatable for "
        "several in one sample. Default: one of 1280x720 for models whose tokens depend on it.",
        flag="--image",
        phrase="picture {}",
        varied=False,
        joined=True,
    ),
    Axis(
        "text_tokens",
        "Text",
        "Text tokens of each prompt.",
        default=DEFAULT_TEXT_TOKENS,
        least=0,
        phrase="{} text tokens",
    ),
    Axis("batch", "Batch", "Sequences at once.", default=1, least=1, phrase="batch {}"),
    Axis(
        "output_tokens",
        "Output",
        "Decode steps of --stage generate, which needs them.",
        default=0,
        least=0,
        phrase="{} output tokens",
    ),
    Axis("stage", "Stage", "What runs.", default="prefill", choices=STAGES, varied=False),
    Axis(
        "attention",
        "Attention",
        "Default: flash, or what the accounting is defined for.",
        phrase="{} attention",
        choices=ATTENTIONS,
        varied=False,
    ),
    Axis(
        "runtime",
        "Runtime",
        "What runs it: its host's time joins the kernels'. Default: kernels alone.",
        phrase="run by {}",
        none="kernels alone",
        choices=RUNTIMES,
    ),
    Axis(
        "kernels",
        "Kernels",
        "fused: one matmul for q, k and v, one for gate and up, norm with add; autocast: "
        "PyTorch's, with casts and norms in fp32; compiled: the same by torch.compile. Default: "
        "those of the runtime, unfused without.",
        phrase="{} kernels",
        choices=KERNELS,
        varied=False,
    ),
    Axis(
        "library",
        "Library",
        "Library whose kernels run, such as vllm: laws that were fitted to it state its own band. "
        "Default: that of the runtime, or any, with the wider band.",
        phrase="kernels of {}",
        varied=False,
    ),
    Axis(
        "accounting",
        "Accounting",
        "exact, or a convention of published numbers, such as llm-viewer.",
        default="exact",
        phrase="{} accounting",
        varied=False,
    ),
)
BY_NAME = {axis.name: axis for axis in AXES}
COUNTS = tuple(axis for axis in AXES if axis.is_count)
VARIED = tuple(axis for axis in AXES if axis.varied)
NO_REDUCER = "none"


def combinations(given: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Every value of every axis with every other; an axis without a value keeps its default."""
    named = {axis.name: tuple(given[axis.name]) for axis in AXES if given.get(axis.name)}
    for combined in product(*named.values()):
        yield dict(zip(named, combined, strict=True))
