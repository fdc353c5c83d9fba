"""Where the time goes: bars add up, by component and kind of op; the alt text names the most."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from artists import charted, labels
from made_up import bare, lawful, toy_laws
from made_up_prompts import deployed, op, prompt, studied, totals

import roofline
from roofline.device.laws.host import HostLaw
from roofline.explore.study import Deployment, Study, study
from roofline.report.charts.chart import StackedBar
from roofline.units import percent

MODEL = "llava-1.5-7b"


def test_bars_add_up_to_the_bound_and_to_what_is_attainable(attainable: Study) -> None:
    (panel,) = charted("time", attainable).panels
    device = attainable.prompts[0].device
    expected = []
    for name, given in (("576", {}), ("40 prumerge", {"visual_tokens": 40, "reducer": "prumerge"})):
        whole = roofline.analyze(MODEL, device, **given).end_to_end
        expected += [
            (name, "bound", whole.roofline_time_s),
            (name, "attainable", whole.attainable_time_s),
        ]

    assert [(bar.label, bar.role) for bar in panel.bars] == [(n, role) for n, role, _ in expected]
    for bar, (_, _, seconds) in zip(panel.bars, expected, strict=True):
        assert bar.total == pytest.approx(float(seconds))


def test_parts_are_those_of_the_ops(one: Study) -> None:
    bar = charted("time", one).panels[0].bars[0]
    ops = roofline.analyze(MODEL, one.prompts[0].device).ops_frame()
    for part in bar.parts:
        kinds = {"linear": ["linear"], "attention": ["attention", "softmax"]}.get(
            part.group, sorted(set(ops.kind) - {"linear", "attention", "softmax"})
        )
        mine = ops[(ops.component == part.of) & ops.kind.isin(kinds)]
        assert part.size == pytest.approx(mine.roofline_time_s.sum()), part
    assert [part.group for part in bar.parts if part.of == "llm"] == [
        *("linear", "attention", "other ops")
    ]
    assert list(dict.fromkeys(part.of for part in bar.parts)) == ["vision", "connector", "llm"]


def test_an_attainable_time_says_what_it_may_be_off_and_a_bound_does_not(
    attainable: Study,
) -> None:
    for bound, likely in zip(*[iter(charted("time", attainable).panels[0].bars)] * 2, strict=True):
        assert (bound.low, bound.high) == (None, None)
        assert likely.low is not None
        assert likely.high is not None
        # nine in ten kernels are 20 % off at most, and none is faster than the bound
        assert likely.high == pytest.approx(1.2 * likely.total)
        assert likely.low == pytest.approx(max(0.8 * likely.total, bound.total))


def test_what_the_host_takes_is_the_rest() -> None:
    slow = {stage: HostLaw(fixed_us=500.0, layer_us=200.0) for stage in ("vision", "llm")}
    laws = toy_laws("fp16", tile=64, vector_gb_per_s=100.0, host=slow)
    chart = charted(
        "time", study(model=[MODEL], hardware=[lawful("xeon-8480", laws)], visual_tokens=[40])
    )
    bound, likely = chart.panels[0].bars[:2]
    (host,) = (part for part in likely.parts if part.of == "host")

    # 24 blocks of the tower, of which 23 run, and 32 of the LLM; 2 × 500 µs besides
    assert host.size == pytest.approx(2 * 500e-6 + (23 + 32) * 200e-6)
    assert likely.parts[-1] is host
    assert "host" not in {part.of for part in bound.parts}
    assert labels(chart)[:4] == ["vision", "reducer", "connector", "LLM"]
    assert "host" in labels(chart)


def test_the_legend_explains_what_there_is(one: Study, attainable: Study) -> None:
    parts = ["vision", "reducer", "connector", "LLM", "linear", "attention", "other ops"]
    assert labels(charted("time", one)) == [*parts, "roofline bound"]
    both = [*parts, "roofline bound", "predicted, with its error"]
    assert labels(charted("time", attainable)) == both


@pytest.mark.parametrize(
    ("models", "name", "words"),
    [
        (["llava-1.5-7b"], "llm", "LLM linear"),
        (["clip-vit-l-336"], "vision", "vision linear"),
    ],
)
def test_the_alt_text_names_the_largest_part_and_its_share(
    models: list[str], name: str, words: str
) -> None:
    ops: Any = roofline.analyze(models[0], bare("t4")).ops_frame()
    sums = ops[ops.kind == "linear"].groupby("component").roofline_time_s.sum()
    share = sums[name] / ops.roofline_time_s.sum()

    assert sums.idxmax() == name
    assert charted("time", study(model=models, hardware=[bare("t4")])).alt == (
        "Stacked bars of prefill time by component and kind of op. The largest part with most "
        f"visual tokens: {models[0]}, t4, fp16: {words}, {100 * share:.1f} %."
    )


def test_the_alt_text_is_about_the_first_prompt_and_attainable_times(attainable: Study) -> None:
    ops: Any = roofline.analyze(MODEL, attainable.prompts[0].device).ops_frame()
    chosen = ops[(ops.component == "llm") & (ops.kind == "linear")]
    share = chosen.attainable_time_s.sum() / ops.attainable_time_s.sum()

    assert charted("time", attainable).alt.endswith(f": LLM linear, {percent(share)}.")


def test_what_a_page_has_no_room_for_is_said(studies: dict[str, Study]) -> None:
    chart = charted("time", studies["two hundred prompts"])
    names = [bar.label for bar in chart.panels[0].bars]
    assert len(names) == 16
    assert names[:3] == ["576", "2 prumerge", "4 prumerge"]  # the pair, and others behind it
    assert names[-1] == "400 prumerge"
    assert chart.left_out == ("185 prompts between these not shown",)

    devices = ("v100", "t4", "a100", "l40s", "h200", "b200", "rtx-4090")
    many = study(
        model=["vicuna-7b", "vicuna-13b"],
        hardware=[bare(name) for name in devices],
        visual_tokens=[40],
    )
    chart = charted("time", many)
    assert len(chart.panels) == 12
    assert chart.left_out == ("2 more deployments not shown",)
    assert chart.alt.endswith("; and 6 more. 2 more deployments not shown.")


def made_up(laws: bool, rest_s: float = 0.0, **given: Any) -> Deployment:
    """Of a tower 1 s, of an LLM 2 s in attention, 4 otherwise, and 1 and 3 s in linear layers."""
    cases = (
        ("llm", "norm", 4.0),
        ("llm", "softmax", 1.5),
        ("llm", "linear", 1.0),
        ("llm", "attention", 0.5),
        ("vision", "embed", 1.0),
        ("llm", "linear", 3.0),
    )
    ops = [
        op(of, f"{kind}-{i}", kind, s / 2, attainable_time_s=np.asarray(s) if laws else None)
        for i, (of, kind, s) in enumerate(cases)
    ]
    attained_s = (11.0 + rest_s, 1.0) if laws else (None, None)
    whole = totals(5.5, attained_s[0], error_s=attained_s[1])
    return deployed(prompt(100, whole, ops=ops, **given), prompt(20, whole, ops=ops[-2:], **given))


def parts_of(bar: StackedBar) -> list[tuple[str, str, float]]:
    return [(part.of, part.group, part.size) for part in bar.parts]


def test_a_bar_has_its_components_as_they_run_and_their_groups_in_order() -> None:
    """Components in the order of the ops; what is no linear layer nor attention stands behind."""
    (panel,) = charted("time", studied(made_up(True))).panels
    halves = [
        ("llm", "linear", 2.0),
        ("llm", "attention", 1.0),
        ("llm", "other ops", 2.0),
        ("vision", "other ops", 0.5),
    ]
    bound, likely, *_ = panel.bars
    assert [(bar.label, bar.role, bar.low, bar.high) for bar in panel.bars] == [
        ("100", "bound", None, None),
        ("100", "attainable", 10.0, 12.0),
        ("20", "bound", None, None),
        ("20", "attainable", 10.0, 12.0),
    ]
    assert parts_of(bound) == halves
    assert parts_of(likely) == [(of, group, 2 * size) for of, group, size in halves]
    assert (panel.title, panel.x.unit, panel.x.limits) == ("m, d, fp16", "s", (0, 12.0))


@pytest.mark.parametrize(("longest", "shared"), [(88.0, True), (88.1, False)])
def test_panels_share_a_scale_unless_one_would_be_too_short(longest: float, shared: bool) -> None:
    """Up to eight times 11 s."""
    cases = (("d", 11.0), ("e", longest))
    chart = charted(
        "time",
        studied(
            *(
                deployed(
                    prompt(9, totals(s), ops=[op("llm", "q", "linear", s)], hardware=name),
                    prompt(3, totals(1.0), ops=[op("llm", "q", "linear", 1.0)], hardware=name),
                )
                for name, s in cases
            )
        ),
    )
    ends = [longest, longest] if shared else [11.0, longest]
    assert [panel.x.limits for panel in chart.panels] == [(0, end) for end in ends]
    assert chart.subtitle == ("" if shared else "each panel to a scale of its own")


def test_an_attainable_time_of_unknown_error_has_no_ends() -> None:
    one = prompt(9, totals(1.0, 2.0), ops=[op("llm", "q", "linear", 1.0, attainable_time_s=2.0)])
    (panel,) = charted("time", studied(deployed(one))).panels
    assert [(bar.role, bar.low, bar.high) for bar in panel.bars] == [
        ("bound", None, None),
        ("attainable", None, None),
    ]


@pytest.mark.parametrize(
    ("spent", "whole", "shown"),
    [
        (9.0, 11.0, True),
        (999_998.5, 1e6, True),
        (999_999.0, 1e6, False),
        (999_999.2, 1e6, False),
        (11.0, 10.0, False),
    ],
)
def test_a_rest_beyond_rounding_is_the_hosts(spent: float, whole: float, shown: bool) -> None:
    """More than a millionth of the whole."""
    ops = [op("llm", "q", "linear", 1.0, attainable_time_s=np.asarray(spent))]
    one = prompt(9, totals(1.0, whole), ops=ops)
    chart = charted("time", studied(deployed(one)))
    bound, likely = chart.panels[0].bars
    rest = [("host", "", whole - spent)] if shown else []
    assert parts_of(likely) == [("llm", "linear", spent), *rest]
    assert parts_of(bound) == [("llm", "linear", 1.0)]
    assert ("host" in labels(chart)) is shown


def test_the_legend_has_components_as_they_run_and_others_behind() -> None:
    ops = [op(name, "q", "linear", 1.0) for name in ("audio", "llm", "vision", "whole")]
    chart = charted("time", studied(deployed(prompt(9, totals(4.0), ops=ops))))
    assert [(entry.role, entry.label, entry.of) for entry in chart.legend] == [
        ("component", "vision", "vision"),
        ("component", "LLM", "llm"),
        ("component", "end to end", "whole"),
        ("component", "audio", "audio"),
        *(("group", name, name) for name in ("linear", "attention", "other ops")),
        ("bound", "roofline bound", ""),
    ]


def test_the_words_are_about_the_largest_part_of_the_first_prompt() -> None:
    """4 of 11 s, exact where nobody tells an error; the second prompt spends 3 of 4 in those."""
    wordy = charted(
        "time", studied(made_up(True), made_up(False, hardware="e"), made_up(True, 9.0))
    )
    assert wordy.alt.endswith(
        ": m, d, fp16: LLM linear, 36 %; m, e, fp16: LLM linear, 36.4 %; m, d, fp16: host, 45 %."
    )
