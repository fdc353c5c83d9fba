"""What a prompt of a length that the process has not met takes longer than the next one like it.

Kernels may be planned for each new shape: PyTorch's cuDNN attention takes tens of milliseconds for
it. Who times one prompt again and again never sees that; who serves prompts of all lengths does.
"""

from __future__ import annotations

from collections.abc import Callable

from roofline.records.measurement import NewLength
from roofline.torch_side.measure.timing import Clock

PREFILLS = 4
"""That it takes to tell."""


def new_length(
    prefill_of: Callable[[int], Callable[[], object]],
    tokens: int,
    *,
    synchronize: Callable[[], None],
    clock: Clock,
) -> NewLength:
    """Time the first prefill of a prompt that is two tokens longer than `tokens`, and the next.

    prefill_of: tokens → what runs the LLM's prefill of a prompt so long, eagerly. A prompt that is
    one token longer runs before: it makes the allocator's room, which is not meant.
    """

    def timed(run: Callable[[], object]) -> float:
        synchronize()
        begun_s = clock()
        run()
        synchronize()
        return clock() - begun_s

    for run in [prefill_of(tokens + 1)] * 2:
        timed(run)
    run = prefill_of(tokens + 2)
    return NewLength(tokens=tokens + 2, first_s=timed(run), again_s=timed(run))
