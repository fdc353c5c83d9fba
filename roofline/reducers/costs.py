"""Token reducers: what each leaves for the layers behind it, and what it costs itself.

The formulas are those of the implementations in `roofline.torch_side.reduce.methods`, matmul by matmul, so
that the analytic FLOPs of a reduced model equal those counted on it. N patches and T tokens an
image, C the ViT's width, K tokens selected, d the width of the LLM's queries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from math import isqrt
from typing import Literal

from msgspec import Struct

from roofline.errors import ScenarioError, UnknownNameError
from roofline.model.block import Block, LayerGroup, labelled
from roofline.model.op import MatmulShape, Op
from roofline.model.ops import SOFTMAX_FLOPS, layer_norm, linear
from roofline.model.polynomial import Number
from roofline.reducers.token_schedules import (
    Schedule,
    ats_schedule,
    crossget_schedule,
    evit_schedule,
    squarest,
    tome_schedule,
)
from roofline.specs.models import LanguageModel, VisionEncoder

Site = Literal["features", "vision", "llm"]
"""Where a reducer acts: on the final visual features, inside the ViT's blocks, inside the LLM."""
_NORM_FLOPS = 2  # square and accumulate
_COSINE_FLOPS = 3  # square, accumulate, divide


class ReductionTask(Struct, frozen=True):
    """An LMM, and how many visual tokens an image is to leave."""

    vision: VisionEncoder
    blocks: int
    images: Number
    """Images of the whole batch."""
    kept: int
    """Visual tokens that come out of one image, merged ones included."""
    llm: LanguageModel
    batch: Number
    prompt: Number
    """Tokens of one sequence that enter the LLM."""

    @property
    def patches(self) -> int:
        return self.vision.patches

    @property
    def tokens(self) -> int:
        return self.vision.tokens

    @property
    def width(self) -> int:
        return self.vision.hidden_size

    @property
    def heads(self) -> int:
        return self.vision.num_attention_heads

    @property
    def head_size(self) -> int:
        return self.vision.hidden_size // self.vision.num_attention_heads


def _nothing(task: ReductionTask) -> Sequence[Block]:
    return ()


class Reducer(Struct, frozen=True):
    """A method: where it acts, what it leaves, what it costs."""

    name: str
    site: Site
    default_kept: Callable[[int, int], int]
    """(patches, ViT blocks) → visual tokens of one image that it usually leaves."""
    default_source: str
    extra_ops: Callable[[ReductionTask], Sequence[Block]] = _nothing
    """Its own work, for the features of all images."""
    schedule: Callable[[int, int, int], Schedule] | None = None
    """(tokens, blocks, visual tokens left) → tokens in attention and MLP of each ViT block."""
    connects_all: bool = False
    """Whether the connector runs on all patches, before anything is dropped."""
    materialises: bool = False
    """Whether the blocks that reduce need attention's probabilities in memory."""
    samples_queries: bool = False
    """Whether the blocks that reduce compute attention for the tokens that stay alone."""
    full_llm_layers: int = 0
    """For `llm`: layers that still see all visual tokens."""
    least: int = 1
    """Fewest visual tokens that it can leave."""
    on_a_grid: bool = False
    """Whether what it leaves forms rows and columns."""
    title: str = ""

    @property
    def label(self):
        return self.name

    @property
    def chosen(self):
        return {}

    def check(self, task):
        check_kept(self, task)

    def vision_groups(self, task):
        return vision_groups(self, task)


def find(name) -> Reducer:
    if isinstance(name, Reducer):
        return name
    """A method by name. Raises UnknownNameError."""
    if name not in REDUCERS:
        raise UnknownNameError("reducer", name, REDUCERS)
    return REDUCERS[name]


def vision_groups(reducer: Reducer, task: ReductionTask) -> tuple[LayerGroup, ...]:
    """What the ViT's blocks see. Raises ScenarioError for counts that the method cannot reach."""
    if reducer.schedule is None:
        return (LayerGroup(task.blocks, float(task.tokens)),)
    schedule = reducer.schedule(task.tokens, task.blocks, task.kept)
    return tuple(
        LayerGroup(
            layers=len(list(group)),
            tokens=float(before),
            mlp_tokens=float(after),
            query_tokens=float(after if reducer.samples_queries else before),
            materialised=reducer.materialises and after < before,
        )
        for (before, after), group in groupby(schedule)
    )


def check_kept(reducer: Reducer, task: ReductionTask) -> None:
    """Raise ScenarioError for more tokens than an image has, or fewer than the method's least."""
    if not reducer.least <= task.kept <= task.patches:
        raise ScenarioError(
            f"{reducer.name} leaves {reducer.least} to {task.patches} visual tokens an image of "
            f"{task.vision.name}, not {task.kept}"
        )
    if reducer.on_a_grid:
        squarest(task.kept, isqrt(task.patches))


def _matmul(
    name: str,
    images: Number,
    shape: tuple[float, float, float],
    *,
    vector_flops: Number = 0.0,
) -> Op:
    """[rows, inner] @ [inner, columns] an image; every operand is read once."""
    rows, inner, columns = shape
    return Op(
        name,
        "reduction",
        "attention",
        reads={
            f"{name}_left": images * (rows * inner),
            f"{name}_right": images * (inner * columns),
        },
        writes={f"{name}_out": images * (rows * columns)},
        flops=2 * images * (rows * inner * columns),
        vector_flops=vector_flops,
        shape=MatmulShape(images * rows, inner, columns),
    )


def _ranking(images: Number, scores: float) -> Op:
    """Sort or threshold `scores` numbers an image: one pass, a comparison each."""
    return Op(
        "select",
        "reduction",
        "vector",
        reads={"scores": images * scores},
        writes={"indices": images * scores},
        vector_flops=images * scores,
    )


def _class_attention(task: ReductionTask, tokens: int, heads: int) -> Op:
    """One row of logits over the tokens of a block and its softmax, head by head."""
    logits = task.images * (heads * tokens)
    return Op(
        "class_attention",
        "reduction",
        "attention",
        reads={"query": task.images * task.width, "keys": task.images * (tokens * task.width)},
        writes={"attention": logits},
        flops=task.images * (2 * task.width * tokens),
        vector_flops=SOFTMAX_FLOPS * logits,
        shape=MatmulShape(task.images, task.width, tokens),
    )


def _next_block_attention(task: ReductionTask) -> tuple[Op, ...]:
    """LN1 and k_proj of the first block that does not run, q_proj of the class token alone."""
    rows, width = task.images * task.tokens, task.width
    projection = partial(linear, in_features=width, out_features=width, bias=True)
    return (
        layer_norm("layer_norm1", "features", "normed", rows=rows, width=width),
        projection("k_proj", "normed", "keys", rows=rows),
        projection("q_proj", "normed", "query", rows=task.images),
        _class_attention(task, task.tokens, 1),
    )


def _prumerge(task: ReductionTask) -> Sequence[Block]:
    """K = kept − 1 clusters, and one token of all the rest."""
    n, c, selected = task.patches, task.width, task.kept - 1
    ops = [*_next_block_attention(task), _ranking(task.images, n)]
    if n > 1:  # one patch has no neighbours
        cosines = task.images * (_COSINE_FLOPS * n * c)
        ops.append(_matmul("similarity", task.images, (selected, c, n), vector_flops=cosines))
        # the shares of all patches in each cluster, zero but for its neighbours
        ops.append(_matmul("merge", task.images, (selected, n, c)))
    ops.append(_matmul("extra_token", task.images, (1, n, c)))
    return (Block(1, tuple(ops)),)


def _fastervlm(task: ReductionTask) -> Sequence[Block]:
    row = _class_attention(task, task.tokens, task.heads)
    return (Block(1, (row, _ranking(task.images, task.patches))),)


def _visionzip(task: ReductionTask) -> Sequence[Block]:
    """D dominant tokens, class token among them; c contextual ones of the R patches left."""
    contextual = task.kept * 10 // 64
    rest = task.patches - (task.kept - contextual) + 1
    ops = [_class_attention(task, task.tokens, task.heads), _ranking(task.images, task.patches)]
    if contextual:
        others = rest - contextual
        ops.append(_head_mean(task, task.patches))
        cosines = task.images * (task.patches * task.width)
        ops += [
            _matmul(
                "similarity",
                task.images,
                (others, task.head_size, contextual),
                vector_flops=cosines,
            ),
            _matmul("merge", task.images, (contextual, others, task.width)),
        ]
    return (Block(1, tuple(ops)),)


def _in_blocks(
    task: ReductionTask, schedule: Schedule, ops: Callable[[int, int], Sequence[Op]]
) -> list[Block]:
    """A block of own work per run of ViT blocks that see the same tokens."""
    runs = [(before, after, len(list(group))) for (before, after), group in groupby(schedule)]
    groups = [LayerGroup(count, float(before)) for before, _, count in runs]
    return [
        Block(count, tuple(ops(before, after)), label or "")
        for (before, after, count), (_, label) in zip(runs, labelled(groups), strict=True)
        if after < before
    ]


def _tome(task: ReductionTask) -> Sequence[Block]:
    """Cosines of even against odd tokens, by keys averaged over heads; then the weighted means."""

    def own(before: int, after: int) -> Sequence[Op]:
        even, odd = (before + 1) // 2, before // 2
        return (
            _head_mean(task, before),
            _matmul("similarity", task.images, (even, task.head_size, odd)),
            _ranking(task.images, even),
            _averaging(task, before, after),
        )

    return _in_blocks(task, tome_schedule(task.tokens, task.blocks, task.kept), own)


def _crossget(task: ReductionTask) -> Sequence[Block]:
    """Cosines of all tokens; importance from the attention that the block computes anyway."""

    def own(before: int, after: int) -> Sequence[Op]:
        received = task.images * (task.heads * before * before)  # importance: sums of attention
        shape = (before, task.head_size, before)
        return (
            _head_mean(task, before),
            _matmul("similarity", task.images, shape, vector_flops=received),
            _ranking(task.images, before),
            _averaging(task, before, after),
        )

    return _in_blocks(task, crossget_schedule(task.tokens, task.blocks, task.kept), own)


def _evit(task: ReductionTask) -> Sequence[Block]:
    """The class token's attention once more, since fused kernels do not return it."""

    def own(before: int, after: int) -> Sequence[Op]:
        row = _class_attention(task, before, task.heads)
        return row, _ranking(task.images, before), _averaging(task, before, after)

    return _in_blocks(task, evit_schedule(task.tokens, task.blocks, count=task.kept), own)


def _ats(task: ReductionTask) -> Sequence[Block]:
    """The class token's attention, and the norms of the values that it weighs."""

    def own(before: int, after: int) -> Sequence[Op]:
        row = _class_attention(task, before, task.heads)
        norms = Op(
            "value_norms",
            "reduction",
            "vector",
            reads={"value": task.images * (before * task.width)},
            writes={"norms": task.images * (before * task.heads)},
            vector_flops=task.images * (_NORM_FLOPS * before * task.width),
        )
        return row, norms, _ranking(task.images, before)

    return _in_blocks(task, ats_schedule(task.tokens, task.blocks, count=task.kept), own)


def _head_mean(task: ReductionTask, tokens: int) -> Op:
    """Keys averaged over heads and normalised, [T, C] → [T, e]: what alikeness is measured by."""
    keys = task.images * (tokens * task.width)
    return Op(
        "head_mean",
        "reduction",
        "vector",
        reads={"key": keys},
        writes={"metric": task.images * (tokens * task.head_size)},
        vector_flops=keys + task.images * (_COSINE_FLOPS * tokens * task.head_size),
    )


def _averaging(task: ReductionTask, before: int, after: int) -> Op:
    """Weighted sums: every token is read once, every one that is left written once."""
    read, written = task.images * (before * task.width), task.images * (after * task.width)
    return Op(
        "merge",
        "reduction",
        "vector",
        reads={"tokens": read},
        writes={"merged": written},
        vector_flops=2 * read,
    )


def _divprune(task: ReductionTask) -> Sequence[Block]:
    """Cosine distances of all projected patches; then one patch after the other."""
    n, width = task.patches, task.llm.hidden_size
    norms = task.images * (_COSINE_FLOPS * n * width)
    steps = task.images * (2.0 * n * task.kept)
    selection = Op(
        "select",
        "reduction",
        "vector",
        reads={"distances": steps},
        writes={"indices": task.images * task.kept},
        vector_flops=steps,
    )
    return (
        Block(
            1, (_matmul("similarity", task.images, (n, width, n), vector_flops=norms), selection)
        ),
    )


def _fastv(task: ReductionTask) -> Sequence[Block]:
    """The last token's attention to the prompt, [1, e] @ [e, n] per head."""
    tokens = task.batch * task.prompt
    logits = tokens * task.llm.num_attention_heads
    row = Op(
        "last_token_attention",
        "reduction",
        "attention",
        reads={"query": task.batch * task.llm.attention_width},
        kv_reads=tokens * task.llm.kv_width,
        writes={"attention": logits},
        flops=2 * tokens * task.llm.attention_width,
        vector_flops=SOFTMAX_FLOPS * logits,
        shape=MatmulShape(task.batch, task.llm.attention_width, task.prompt),
    )
    return (Block(1, (row,)),)


def _ats_schedule(tokens: int, blocks: int, kept: int) -> Schedule:
    return ats_schedule(tokens, blocks, count=kept)


def _evit_schedule(tokens: int, blocks: int, kept: int) -> Schedule:
    return evit_schedule(tokens, blocks, count=kept)


def _fraction(divisor: int) -> Callable[[int, int], int]:
    return partial(_divided, divisor)


def _divided(divisor: int, patches: int, blocks: int) -> int:
    return max(2, patches // divisor)


def _paper_share(tokens: int) -> Callable[[int, int], int]:
    """As many of the patches as `tokens` are of LLaVA-1.5's 576."""
    return partial(_proportional, tokens / 576)


def _proportional(share: float, patches: int, blocks: int) -> int:
    return max(2, round(share * patches))


def _after_crossget(patches: int, blocks: int) -> int:
    return crossget_schedule(patches + 1, blocks)[-1][1] - 1


_PRUMERGE = "Shang et al., LLaVA-PruMerge, arXiv:2403.15388"
_TABLE_7 = f"{_PRUMERGE}, table 7"

REDUCERS = {
    reducer.name: reducer
    for reducer in (
        Reducer(
            "prumerge",
            "features",
            default_kept=_paper_share(40),
            default_source=f"{_PRUMERGE}, section 4.4.1, TextVQA",
            extra_ops=_prumerge,
            least=2,
        ),
        Reducer(
            "prumerge+",
            "features",
            default_kept=_fraction(4),
            default_source=f"{_PRUMERGE}, section 3.4, a fourth",
            extra_ops=_prumerge,
            least=2,
        ),
        Reducer(
            "sequential",
            "features",
            default_kept=_paper_share(40),
            default_source=f"{_PRUMERGE}, table 4",
        ),
        Reducer(
            "spatial",
            "features",
            default_kept=_paper_share(40),
            default_source=f"{_PRUMERGE}, table 4",
            on_a_grid=True,
        ),
        Reducer(
            "tome",
            "vision",
            default_kept=_fraction(4),
            default_source=_TABLE_7,
            extra_ops=_tome,
            schedule=tome_schedule,
        ),
        Reducer(
            "ats",
            "vision",
            default_kept=_fraction(4),
            default_source=_TABLE_7,
            extra_ops=_ats,
            schedule=_ats_schedule,
            samples_queries=True,
        ),
        Reducer(
            "evit",
            "vision",
            default_kept=_fraction(4),
            default_source=_TABLE_7,
            extra_ops=_evit,
            schedule=_evit_schedule,
        ),
        Reducer(
            "crossget",
            "vision",
            default_kept=_after_crossget,
            default_source=f"{_TABLE_7}; 13 tokens a block",
            extra_ops=_crossget,
            materialises=True,
            schedule=crossget_schedule,
        ),
        Reducer(
            "fastervlm",
            "features",
            default_kept=_fraction(10),
            default_source="Zhang et al., FasterVLM, arXiv:2412.01818, 10 %",
            extra_ops=_fastervlm,
        ),
        Reducer(
            "visionzip",
            "features",
            default_kept=_fraction(9),
            default_source="Yang et al., VisionZip, arXiv:2412.04467, 64 of 576",
            extra_ops=_visionzip,
        ),
        Reducer(
            "divprune",
            "features",
            default_kept=_fraction(10),
            default_source="Alvar et al., DivPrune, arXiv:2503.02175, 10 %",
            extra_ops=_divprune,
            connects_all=True,
        ),
        Reducer(
            "fastv",
            "llm",
            default_kept=_fraction(2),
            default_source="Chen et al., FastV, arXiv:2403.06764, half after layer 2",
            extra_ops=_fastv,
            full_llm_layers=2,
        ),
    )
}
