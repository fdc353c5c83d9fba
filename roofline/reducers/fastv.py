"""FastV: drop visual tokens inside the LLM, after its first layers (Chen et al. 2024).

After layer K the visual tokens are ranked by the attention that the last token of the prompt paid
them in layer K, mean over heads; the weakest leave. Beyond the model itself one row of attention is
computed: [1, e] @ [e, n] per head, 2·n·d FLOPs a sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from roofline.model.block import Block
from roofline.model.op import MatmulShape, Op
from roofline.model.ops import SOFTMAX_FLOPS
from roofline.reducers import REDUCERS
from roofline.reducers.base import Reducer, ReductionTask
from roofline.reducers.ops import ranking

_PAPER = "Chen et al. 2024, An Image is Worth 1/2 Tokens After Layer 2 (FastV), arXiv:2403.06764"
_HALF = 0.5


class FastV(Reducer, frozen=True):
    """Visual tokens leave after the LLM's first layers."""

    name = "fastv"
    title = "FastV: visual tokens leave after the LLM's first layers"
    source = _PAPER
    site = "llm"
    default_source = f"{_PAPER}, half"
    count_options = frozenset({"ratio"})

    k: Annotated[int, Meta(ge=1)] = 2
    """The paper's K: layers that see all visual tokens, the last of which ranks them."""
    ratio: Annotated[float, Meta(ge=0, lt=1)] | None = None
    """Share of the visual tokens to drop; left out, a half, unless a count is given. One stays."""

    @property
    def needs_count(self) -> bool:
        """Its ratio decides."""
        return False

    def default_kept(self, candidates: int, blocks: int) -> int:
        """What the ratio leaves of a sequence."""
        return candidates - int((_HALF if self.ratio is None else self.ratio) * candidates)

    @property
    def full_llm_layers(self) -> int:
        """The first K."""
        return self.k

    def extra_ops(self, task: ReductionTask) -> Sequence[Block]:
        """The last token's attention to the prompt, and what it chooses."""
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
            launches=20,
        )
        return (Block(1, (row, ranking(task.batch, task.prompt, launches=9))),)


REDUCERS.register(FastV.name, FastV())
