"""`analyze` and `count`: names and numbers in, a record out. A single case and a sweep are one."""

from __future__ import annotations

from typing import Unpack

from numpy.typing import ArrayLike

from roofline.engine.estimate import Counts, Estimate
from roofline.engine.parts import ShownPictures, shown
from roofline.engine.pictures import pictures_of
from roofline.engine.scenario import Axes, Scenario
from roofline.errors import ScenarioError
from roofline.specs.catalog import load_model
from roofline.specs.hardware import Hardware
from roofline.specs.models import Model
from roofline.specs.quantization import Quantization


def analyze(
    model: str | Model,
    hardware: str | Hardware,
    quant: str | Quantization = "fp16",
    visual_tokens: ArrayLike | None = None,
    **axes: Unpack[Axes],
) -> Estimate:
    """Price a model's prefill, one decode step, or a whole generation on a device.

    model, hardware, quant: names from the catalog, paths of YAML files, or specs.
    visual_tokens: per sequence, as they reach the LLM, all images and frames together; left out,
        as many as the model's images give, or none for an LLM that no LMM is known to use.
    text_tokens, batch, output_tokens: counts, by default 40, 1 and 0. These and `visual_tokens` may
        be arrays that broadcast; every figure of the estimate then has the broadcast shape.
    stage: `prefill`, `decode` (one token more) or `generate` (prefill and `output_tokens` steps).
    pictures: what a sample shows, as `1280x720` or a list of such; left out, a picture of the
        model's own size, or of 1280x720 for a model whose tokens depend on it. `visual_tokens` are
        at most what they give.
    attention: `flash` or `eager`; left out, what the accounting is defined for.
    runtime: what runs it, whose host's time joins the kernels': `eager`, `compile`, `cuda-graph`,
        `vllm` or `trt-llm`; left out, kernels alone.
    kernels: `fused` as servers have them, `autocast` or `compiled` as PyTorch has them under
        autocast, or `unfused`; left out, those of the runtime.
    accounting: `exact`, or a convention of published numbers such as `llm-viewer`.
    library: whose kernels run, such as `vllm`: laws that were fitted to it state their own band;
        left out, that of the runtime, or any, with the wider band.
    reducer: a method by name, with options as in `fastv:k=3`, whose own work is a component of its
        own. It leaves `visual_tokens`, left out, its default; for a method inside
        the LLM these are what its later layers see.
    vision_layers, llm_layers: [(layers, tokens), …] where reducers inside the model make layers
        see different token counts: ViT sequence length, and visual tokens in the LLM. A third
        number is the count in the MLP, where tokens are merged before it.

    Raises UnknownNameError, SpecError, UnsupportedModeError, ScenarioError.
    """
    return Estimate.of(Scenario.of(model, hardware, quant, visual_tokens=visual_tokens, **axes))


def count(
    model: str | Model,
    quant: str | Quantization = "fp16",
    visual_tokens: ArrayLike | None = None,
    **axes: Unpack[Axes],
) -> Counts:
    """Count FLOPs, traffic and memory of the same, on no device. Arguments as of `analyze`.

    Raises UnknownNameError, SpecError, ScenarioError.
    """
    return Counts.of(Scenario.of(model, None, quant, visual_tokens=visual_tokens, **axes))


def image_tokens(model: str | Model, *, width: int, height: int) -> ShownPictures:
    """What a model makes of a picture: tokens that reach its LLM, and what its tower encodes.

    By the rule of the model's own processor; of a model that has none, each picture is scaled to
    the square of its tower. width, height: in pixels.

    Raises UnknownNameError, SpecError; ScenarioError for a model that takes no pictures, for a
    picture that its processor refuses, and where its spec has no rule.
    """
    return shown(load_model(model), pictures_of([f"{width}x{height}"]))


def launch_bound_tokens(
    model: str | Model,
    hardware: str | Hardware,
    quant: str | Quantization = "fp16",
    **axes: Unpack[Axes],
) -> int | None:
    """Up to how many visual tokens a prefill waits for the host: fewer make it no faster.

    End to end, of fewer tokens without anybody's work. `runtime` is `eager` by default; other
    keywords are those of `analyze`. 0 if even a single token keeps the device busy for longer;
    None for a runtime that adds to the kernels or a model that does not tell how many visual
    tokens its images give. Raises as `analyze`, and ScenarioError for arrays of counts.
    """
    axes.setdefault("runtime", "eager")
    scenario = Scenario.of(model, hardware, quant, **axes)
    if scenario.shape:
        raise ScenarioError("launch_bound_tokens takes single counts: call once for each")
    return Estimate.of(scenario).launch_bound_tokens
