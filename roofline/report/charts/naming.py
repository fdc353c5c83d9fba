"""What deployments, prompts and components are called in charts and their descriptions."""

from __future__ import annotations

from roofline.explore.study import Deployment, PricedPrompt

_COMPONENTS = {"llm": "LLM", "decode": "decode step", "whole": "end to end"}


def deployment_name(deployment: Deployment) -> str:
    """Model, device and precision."""
    return f"{deployment.model}, {deployment.hardware}, {deployment.quant}"


def prompt_name(prompt: PricedPrompt) -> str:
    """Its visual tokens, and who left so many."""
    if not prompt.visual_tokens:
        return "text alone"
    count = str(prompt.visual_tokens)
    return f"{count} {prompt.reducer}" if prompt.reducer else count


def component_name(component: str) -> str:
    """Of a part of the model, as people write it."""
    return _COMPONENTS.get(component, component)
