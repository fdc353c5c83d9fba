"""What deployments, prompts and components are called in charts and their descriptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roofline.engine.axes import COUNTS
from roofline.explore.study import Deployment, PricedPrompt

_COMPONENTS = {"llm": "LLM", "decode": "decode step", "whole": "end to end"}


def deployment_name(deployment: Deployment) -> str:
    """Model, device, precision, and runtime, batch and text that are not the usual ones."""
    names = [deployment.model, deployment.hardware, deployment.quant]
    if runtime := deployment.inputs.get("runtime"):
        names.append(runtime)
    return ", ".join([*names, *unusual_counts(deployment.inputs)])


def unusual_counts(inputs: Mapping[str, Any]) -> list[str]:
    """`batch 8`, `2000 text tokens`: counts of a prompt that are not their axes' defaults."""
    return [
        axis.in_words(inputs[axis.name])
        for axis in COUNTS
        if axis.name not in ("visual_tokens", "output_tokens")
        and axis.name in inputs
        and inputs[axis.name] != axis.default
    ]


def prompt_name(prompt: PricedPrompt) -> str:
    """Its visual tokens, and who left so many."""
    if not prompt.visual_tokens:
        return "text alone"
    count = str(prompt.visual_tokens)
    return f"{count} {prompt.reducer}" if prompt.reducer else count


def component_name(component: str) -> str:
    """Of a part of the model, as people write it."""
    return _COMPONENTS.get(component, component)
