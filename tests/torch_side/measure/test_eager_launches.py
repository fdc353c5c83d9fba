"""Kernels that eager runs issue: the counts of the data against real models, call by call.

What counts as a launch is told in `launches`. Layers are told from what is fixed by two depths.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from launches import LaunchCounter, launches_by_component
from msgspec.structs import replace
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from roofline.specs.catalog import load_model
from roofline.specs.models import LanguageModel, Lmm, VisionEncoder
from roofline.specs.runtimes import Launches, find_runtime
from roofline.torch_side.measure.pipeline import build_pipeline

COUNTED = find_runtime("eager").launches
TINY = load_model("llava-tiny")
assert isinstance(TINY, Lmm)
assert isinstance(TINY.vision, VisionEncoder)
assert isinstance(TINY.llm, LanguageModel)


@cache
def run(layers: int, attention: str) -> dict[str, int]:
    """Kernels of a prefill by component, and of a decode step, in 16 bit."""
    assert isinstance(TINY, Lmm)
    assert isinstance(TINY.vision, VisionEncoder)
    assert isinstance(TINY.llm, LanguageModel)
    # where heads share keys, torch 2.7 has no fused attention on a CPU, and what stands in for it
    # leaves its output in another layout; eager attention is counted with its copies of the keys
    own = TINY.llm.num_attention_heads
    heads = own if attention == "flash" else TINY.llm.num_key_value_heads
    spec = replace(
        TINY,
        vision=replace(TINY.vision, num_hidden_layers=layers),
        llm=replace(TINY.llm, num_hidden_layers=layers, num_key_value_heads=heads),
        vision_feature_layer=-1,
    )
    implementation: Any = {"flash": "sdpa", "eager": "eager"}[attention]
    pipeline = build_pipeline(spec, quant="bf16", attention=implementation)
    found = dict(launches_by_component(pipeline).totals)
    pipeline.decode_step()
    with torch.inference_mode(), LaunchCounter() as counter:
        pipeline.decode_step(counter.mark)
    return found | counter.totals


def copies_of_a_dropout() -> int:
    """Of one that drops nothing, in eager attention: torch copies its input, from 2.14 on not."""
    probabilities = torch.zeros(2)
    with torch.inference_mode(), LaunchCounter() as counter:
        torch.nn.functional.dropout(probabilities, p=0.0, training=False)
        counter.mark("dropout")
    return counter.totals["dropout"]


@pytest.mark.parametrize(
    "counted", COUNTED, ids=lambda one: f"{one.architecture}-{one.phase}-{one.attention}"
)
def test_as_many_as_the_data_tells(counted: Launches) -> None:
    component = {"vision-encoder": "vision", "connector": "connector", "language-model": "llm"}
    name = "decode" if counted.phase == "decode" else component[counted.architecture]
    shallow, deep = (run(layers, counted.attention)[name] for layers in (2, 4))

    layer = counted.layer
    if counted.attention == "eager" and counted.architecture != "connector":
        layer += copies_of_a_dropout() - 1
    assert (deep - shallow) / 2 == layer
    assert shallow - 2 * layer == counted.fixed


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize(
    ("config", "model"), [(LlamaConfig, LlamaForCausalLM), (Qwen2Config, Qwen2ForCausalLM)]
)
def test_decode_steps_of_other_families_issue_as_many(
    config: Any, model: Any, kv_heads: int
) -> None:
    """Biases, and heads that share keys, cost no kernel."""
    (step,) = (c for c in COUNTED if (c.phase, c.attention) == ("decode", "flash"))
    sizes = {"hidden_size": 32, "intermediate_size": 64, "vocab_size": 128}
    heads = {"num_attention_heads": 4, "num_key_value_heads": kv_heads}
    torch.manual_seed(0)
    built = model(config(**sizes, **heads, num_hidden_layers=2)).eval().to(torch.bfloat16)
    ids = torch.tensor([[1, 2, 3]])
    with torch.inference_mode():
        cache = built(input_ids=ids, use_cache=True).past_key_values
        given = {"input_ids": ids[:, :1], "past_key_values": cache, "use_cache": True}
        built(**given)
        with LaunchCounter() as counter:
            built(**given)
            counter.mark("decode")
    assert counter.totals["decode"] == step.fixed + 2 * step.layer
