"""Who says what a study rests on: of devices, models and reducers, a line for each."""

from __future__ import annotations

from collections.abc import Iterator

from roofline.engine.estimate import Estimate
from roofline.explore.study import PricedPrompt, Study
from roofline.reducers import Reducer
from roofline.report.document import Bullets, DocumentBlock, Heading
from roofline.report.text.estimate_words import OWN_WORK
from roofline.specs.catalog import load_model
from roofline.specs.models import Lmm, Model


def sources(study: Study) -> Iterator[DocumentBlock]:
    """A list for each kind of thing that there is."""
    prompts = _every_prompt(study)
    yield Heading("Sources of the devices' figures", level=3)
    devices = {c.hardware: c.estimate for c in prompts}
    yield Bullets(tuple((_device(one), _of_device(one)) for one in devices.values()))
    yield Heading("Sources of the models' sizes", level=3)
    models = {m.name: m for c in prompts for m in _with_parts(c.estimate.scenario.model)}
    yield Bullets(tuple((f"{m.name} ({m.title}).", m.source) for m in models.values()))
    reducers = {r.label: r for c in prompts if (r := c.estimate.scenario.reducer)}
    if reducers:
        yield Heading("Sources of the reducers", level=3)
        yield Bullets(tuple((f"{label}.", _of_reducer(r)) for label, r in reducers.items()))


def _every_prompt(study: Study) -> list[PricedPrompt]:
    """Those of published scores, too."""
    scored = [one.prompt for front in study.fronts for one in front.candidates]
    return [*study.prompts, *scored]


def _device(estimate: Estimate) -> str:
    return f"{estimate.device['name']} ({estimate.device['title']})."


def _of_device(estimate: Estimate) -> str:
    """Of its figures, and whose measurements expected times rest on."""
    hardware = estimate.scenario.hardware
    figure_sources = (
        [f"{key}: {text}" for key, text in hardware.sources.items()] if hardware else []
    )
    if (laws := estimate.device["kernel_laws"]) is not None:
        figure_sources.append(
            f"attainable times, {laws['origin']}: {laws['source']} ({laws['conditions']}, "
            f"{laws['date']})"
        )
    return "; ".join(figure_sources)


def _with_parts(model: Model) -> list[Model]:
    """A model and, of an LMM, what it is made of."""
    parts = [model.vision, model.connector, model.llm] if isinstance(model, Lmm) else []
    return [model, *map(load_model, parts)]


def _of_reducer(reducer: Reducer) -> str:
    """Its paper, who says how many tokens it leaves, and who says what it costs itself."""
    own = reducer.default_source.removeprefix(reducer.source).lstrip(" ,;") or "the same"
    return f"{reducer.source}; default count: {own}; own work: {OWN_WORK[reducer.cost]}"
