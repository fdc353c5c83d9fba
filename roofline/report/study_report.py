"""A study as a folder: `report.md`, `report.html` and their figures, the same bytes every time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from roofline.explore.study import Study
from roofline.records import published as accuracy
from roofline.report.charts import ReportChart, ReportSection, report_charts
from roofline.report.document import (
    Bullets,
    Code,
    Document,
    DocumentBlock,
    Heading,
    Paragraph,
    Picture,
    Table,
    markdown,
)
from roofline.report.html import NARROW_IN, html
from roofline.report.plots import DOUBLE_IN, draw, render
from roofline.report.text import study_tables as tables
from roofline.report.text.record import facts
from roofline.report.text.study_answers import answer, fronts_by_target
from roofline.report.text.study_glance import glance
from roofline.report.text.study_sources import sources

_FORMATS = ("png", "svg")
TERMS = (
    ("Roofline.", "Sum over ops of the larger of compute time and memory time, at the device's "
     "peaks: no kernel is faster."),
    ("Attainable.", "Sum over kernels of what the device's laws of kernel time give: measured on "
     "this machine, fitted to public measurements of the device, or typical: those of a relative."),
    ("Reduction.", "What the reducer itself takes, part of every time end to end."),
    ("Energy.", "Of the prefill, by the device's law of energy: fitted to served models, or "
     "typical, that of a relative. ≤: prefill time × thermal design power, where no law is known: "
     "the device draws no more, as far as the time is right."),
)  # fmt: skip


def render_study(
    study: Study,
    command: str,
    version: str,
    charts: Mapping[str, ReportChart] | None = None,
    width_in: float = DOUBLE_IN,
) -> dict[str, bytes]:
    """Name → content of each file: the reports, and a PNG and an SVG file of each figure.

    command: what to type to have it all again; it stands in the report.
    version: of roofline.
    charts: those to show where they apply; left out, all that are registered.
    width_in: of the figures: their type has the size of a paper's.
    """
    known = report_charts() if charts is None else charts
    drawn: dict[str, bytes] = {}
    narrow: dict[str, bytes] = {}
    pictures: dict[ReportSection, list[Picture]] = {}
    for name, kind in known.items():
        if not kind.applies(study):
            continue
        chart = kind.of(study)
        page = draw(chart, width_in)
        drawn |= {f"{name}.{form}": render(page, form) for form in _FORMATS}
        if width_in > NARROW_IN:
            narrow[name] = render(draw(chart, NARROW_IN), "svg")
        pictures.setdefault(kind.section, []).append(Picture(name, chart.title, chart.alt))
    document = to_document(study, command, version, pictures)
    vectors = {file.removesuffix(".svg"): drawn[file] for file in drawn if file.endswith(".svg")}
    return {
        "report.md": markdown(document).encode(),
        "report.html": html(document, vectors, width_in, narrow).encode(),
        **drawn,
    }


def drawn_files() -> set[str]:
    """Names of all figures' files, whether or not a study has what they show."""
    return {f"{name}.{form}" for name in report_charts() for form in _FORMATS}


def to_document(
    study: Study,
    command: str,
    version: str,
    pictures: Mapping[ReportSection, Sequence[Picture]],
) -> Document:
    """The report's text: the answer, tables and figures, inputs and sources."""
    before: dict[ReportSection, Iterable[DocumentBlock]] = {
        ReportSection.ANSWER: (*glance(study), *answer(study)),
        ReportSection.COSTS: (*tables.costs(study), *tables.parts(study)),
        ReportSection.BOUNDS: tables.limits(study),
        ReportSection.MEMORY: tables.memory(study),
        ReportSection.ANSWERS: tables.answers(study),
        ReportSection.MEASURED: tables.measurements(study.records),
        ReportSection.ACCURACY: _choices(study),
        ReportSection.INPUTS: _inputs(study, command, version),
    }
    behind: dict[ReportSection, Iterable[DocumentBlock]] = {
        ReportSection.MEASURED: _details(study),
        ReportSection.ACCURACY: _scores(study),
    }
    blocks: list[DocumentBlock] = []
    for section in ReportSection:
        content = [
            *before.get(section, ()),
            *pictures.get(section, ()),
            *behind.get(section, ()),
        ]
        if content:
            blocks += [Heading(section.value), *content]
    return Document(_title(study), tuple(blocks))


def _title(study: Study) -> str:
    quants = dict.fromkeys(deployment.quant for deployment in study.deployments)
    return f"{', '.join(study.models)} on {', '.join(study.hardware)}: {', '.join(quants)}"


def _details(study: Study) -> Iterator[DocumentBlock]:
    """What else each record says."""
    for one in study.records:
        yield Heading(one.name, level=3)
        yield Bullets(tuple((f"{label}.", text) for label, text in facts(one.record)))


def _choices(study: Study) -> Iterator[DocumentBlock]:
    """What to take on each device."""
    if not study.fronts:
        return
    yield Paragraph(
        f"Accuracies as published: {accuracy.published().source}. Costs are computed here, each "
        "method at its own number of visual tokens, with "
        f"{_listed(study.inputs['text_tokens'])} text tokens. Methods were trained and tested "
        "under different conditions; the tables tell where the paper does. One point is a "
        "hundredth of a benchmark's scale: 1 %, 20 of MME's 2000, 0.05 of a score of 5."
    )
    modes = {p.quant: p.estimate.scenario.quant for p in study.prompts}
    quantized = [name for name, mode in modes.items() if mode.weight_bits < 16]
    if quantized:
        yield Paragraph(
            "Scores are of models in 16 bit: what they become in "
            f"{', '.join(quantized)} nobody published."
        )
    agreed: dict[tuple[Table, ...], list[str]] = {}
    for target, group in fronts_by_target(study).items():
        agreed.setdefault(tables.choices(group), []).append(target)
    for choices, targets in agreed.items():
        yield Heading("; ".join(targets), level=3)
        yield from choices


def _scores(study: Study) -> Iterator[DocumentBlock]:
    """All scores once, with the costs of the first device; what there is to say of them."""
    if not study.fronts:
        return
    yield Heading("All scores", level=3)
    for front in next(iter(fronts_by_target(study).values())):
        yield from tables.candidates(front)
    notes = {
        f"{c.score.method}, {c.score.llm}": note
        for front in study.fronts
        for c in front.candidates
        for note in c.score.notes
    }
    if notes:
        yield Bullets(tuple((f"{who}.", f"{note}.") for who, note in notes.items()))
    yield from tables.left_out()


def _inputs(study: Study, command: str, version: str) -> Iterator[DocumentBlock]:
    """All that it takes to have the same again."""
    yield Code(command)
    given = {key: _listed(value) for key, value in study.inputs.items()}
    items = [(f"{key.replace('_', ' ').capitalize()}.", text) for key, text in given.items()]
    items += [("Left out.", reason) for reason in study.skipped]
    yield Bullets((*items, ("Accounting.", "exact; docs/accounting.md defines each quantity.")))
    yield Heading("Terms", level=3)
    yield Bullets(TERMS)
    yield from sources(study)
    yield Heading("Versions", level=3)
    hashes = [(f"{name}.", f"SHA-256 {digest}") for name, digest in study.specs.items()]
    yield Bullets((("roofline.", version), *hashes))


def _listed(value: object) -> str:
    items = value if isinstance(value, list) else [value]
    return ", ".join(str(item) for item in items) or "by default"
