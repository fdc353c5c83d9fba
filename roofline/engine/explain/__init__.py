"""The numbers behind a number: a figure's formula, filled in, with who vouches for each figure.

>>> print(roofline.analyze("llava-1.5-7b", "a100-80gb").explain("q_proj"))
"""

from __future__ import annotations

from collections.abc import Callable

from roofline.engine.explain.explanation import Explanation
from roofline.engine.explain.ops import explain_op
from roofline.engine.explain.totals import (
    explain_component,
    explain_energy,
    explain_flops,
    explain_kv,
    explain_memory,
    explain_time,
)
from roofline.engine.explain.workings import Figures, Workings
from roofline.errors import ScenarioError, UnknownNameError

__all__ = ["SUBJECTS", "Explanation", "explain"]

SUBJECTS: dict[str, Callable[[Workings], Explanation]] = {
    "time": explain_time,
    "energy": explain_energy,
    "memory": explain_memory,
    "flops": explain_flops,
    "kv": explain_kv,
}
"""What is explained of all components together."""


def explain(estimate: Figures, subject: str) -> Explanation:
    """Work a figure of one configuration out again, on paper.

    subject: one of `SUBJECTS`, a component, or an op by its name: that of the main component, or
        behind a component and a dot, `vision.q_proj`.

    Raises UnknownNameError, and ScenarioError for several configurations.
    """
    if estimate.scenario.shape:
        raise ScenarioError(
            "a figure is explained of one configuration: give one value on every axis"
        )
    workings = Workings(estimate)
    if subject in SUBJECTS:
        return SUBJECTS[subject](workings)
    if subject in estimate.components:
        return explain_component(workings, subject)
    named = workings.named(subject)
    if not named:
        known = [*SUBJECTS, *estimate.components, *dict.fromkeys(op.name for op in estimate.ops)]
        raise UnknownNameError("figure", subject, known)
    return explain_op(workings, named)
