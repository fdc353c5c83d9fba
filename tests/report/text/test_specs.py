"""Specs, laws and ceilings as text: each figure beside its name, its source and its error."""

from __future__ import annotations

import re
from typing import Any

import made_up
import pytest
import toy
from made_up import lawful, toy_laws
from msgspec.structs import replace

from roofline.device.laws.matmul import MatmulLaw, Tile
from roofline.report.text.calibration import render_ceilings
from roofline.report.text.fit import law_table, render_fit
from roofline.report.text.specs import hardware_list, hardware_sheet, model_list, model_sheet
from roofline.specs.catalog import all_models, load_hardware
from roofline.specs.hardware import Hardware, MatmulPeaks
from roofline.specs.kernel_laws import UNSTATED


def rows(text: str) -> list[list[str]]:
    """Cells of the lines under a rule of dashes, wherever one or more blanks of two stand."""
    lines = text.splitlines()
    rule = next(i for i, line in enumerate(lines) if set(line) == {"-", " "})
    starts = [m.start() for m in re.finditer(r"-+", lines[rule])]
    ends = [*starts[1:], None]
    body = []
    for line in lines[rule + 1 :]:
        if not line.strip():
            break
        body.append([line[a:b].strip() for a, b in zip(starts, ends, strict=True)])
    return body


def device(**changes: Any) -> Hardware:
    peaks = MatmulPeaks(
        fp16_tflops=made_up.peak(100.0, sparse=200.0),
        int8_tops=made_up.peak(400.0, engine="dp4a", note="by the clock"),
    )
    return made_up.device(matmul_peaks=peaks, kernel_laws=None, **changes)


class TestHardware:
    def test_each_device_has_its_memory_and_its_peaks(self) -> None:
        text = hardware_list([device(), made_up.device(name="other")])
        header = text.splitlines()[0].split()
        assert header == [
            *("Hardware", "GiB", "GB/s", "fp32", "fp16", "bf16", "fp8", "int8", "int4")
        ]
        assert [line.split() for line in text.splitlines()[2:4]] == [
            ["toy", "1", "1", "0.001", "100", "-", "-", "400", "-"],
            ["other", "1", "1", "0.001", "0.002", "-", "-", "-", "-"],
        ]

    def test_each_figure_has_its_source_and_its_remarks(self) -> None:
        text = hardware_sheet(device(tdp_w=made_up.figure(250, note="of the board")))
        assert rows(text) == [
            ["memory_capacity_gib", "1", "test", ""],
            ["memory_bandwidth_gb_per_s", "1", "test", ""],
            ["fp16_tflops", "100", "test", "tensor cores; 200 with"],
            ["", "", "", "sparsity"],
            ["int8_tops", "400", "test", "dp4a; by the clock"],
            ["vector_peak_fp32_tflops", "0.001", "test", ""],
            ["tdp_w", "250", "test", "of the board"],
        ]

    def test_remarks_wrap_at_thirty_columns(self) -> None:
        words = "a" * 14 + " " + "b" * 15
        for note, lines in ((words, 1), (words + "b", 2)):
            text = hardware_sheet(device(tdp_w=made_up.figure(250, note=note)))
            assert (words in text) is (lines == 1)

    def test_names_are_those_that_there_are(self) -> None:
        plain = hardware_sheet(device()).partition("\n\n")[0]
        assert plain.splitlines() == ["toy: toy", "architecture: toy toy, gpu"]
        named = device(aliases=("a", "b"), nvml_names=("N", "M"), compute_capability="9.0")
        assert hardware_sheet(named).partition("\n\n")[0].splitlines()[2:] == [
            "aliases: a, b",
            "NVML names: N, M",
            "compute capability: 9.0",
        ]

    def test_sources_end_the_sheet_each_on_a_line(self) -> None:
        sources = {"test": "one\n  document", "other": "another"}
        assert hardware_sheet(device(sources=sources)).endswith(
            "\n\n[test]   one document\n[other]  another\n"
        )

    @pytest.mark.parametrize(
        ("laws", "others", "expected", "unsaid"),
        [
            (False, None, [], "aws"),
            (False, "b200", ["\nKernels as typical for the architecture: those of b200\n"], "Laws"),
            (True, None, ["Laws, measured 2026-01-01 [test] with made up:"], "typical"),
            (True, "b200", ["Laws, measured", "\nOther kernels as typical for the"], "\nKernels"),
        ],
    )
    def test_whose_laws_go_for_it(
        self, laws: bool, others: str | None, expected: list[str], unsaid: str
    ) -> None:
        made = replace(device(), kernel_laws=made_up.LAWS if laws else None, laws_from=others)
        text = hardware_sheet(made)
        assert all(words in text for words in expected)
        assert unsaid not in text
        assert ("Median" in text) is laws

    def test_a_long_description_of_laws_wraps_at_a_terminals_width(self) -> None:
        """38 columns before it, 1 behind."""
        for length, wrapped in ((41, False), (42, True)):
            conditions = "c " * 5 + "d" * (length - 10)
            laws = replace(made_up.LAWS, conditions=conditions)
            text = hardware_sheet(replace(device(), kernel_laws=laws))
            head = next(line for line in text.splitlines() if line.startswith("Laws"))
            assert len(head) <= 80
            assert head.endswith(":") is not wrapped

    @pytest.mark.parametrize("name", ["h100-sxm", "a100-80gb", "rtx-4090", "t4", "mi300x"])
    def test_a_sheet_is_no_wider_than_a_terminal(self, name: str) -> None:
        assert max(map(len, hardware_sheet(load_hardware(name)).splitlines())) <= 80

    def test_conditions_that_nobody_stated_are_not_said(self) -> None:
        laws = replace(made_up.LAWS, conditions=UNSTATED)
        text = hardware_sheet(replace(device(), kernel_laws=laws))
        assert "Laws, measured 2026-01-01 [test]:\n" in text

    def test_a_correction_and_its_source(self) -> None:
        text = hardware_sheet(load_hardware("rtx-4090"))
        assert "Corrected by 148 rows of 74 models: rate: " in text
        assert "[models].\n" in text


class TestModels:
    def test_each_model_has_its_kind_and_its_shape(self) -> None:
        lmm: Any = toy.lmm()
        alone = toy.llm(num_key_value_heads=2)
        found = rows(model_list([toy.llm(), alone, lmm.vision, lmm.connector, lmm]))
        assert [row[2] for row in found] == [
            "2 layers × 8, 2 heads (1 KV)",
            "2 layers × 8, 2 heads",
            "3 layers × 8, 9 patches of 4 px",
            "2 linear layers",
            "3 layers × 8 → 2 layers × 8",
        ]
        assert found[4][0] == "toy-lmm"
        assert len({row[1] for row in found}) == 4

    def test_a_part_that_is_a_name_goes_by_it(self) -> None:
        found = rows(model_list([toy.lmm(vision="clip", llm="vicuna")]))
        assert found[0][2] == "clip → vicuna"

    def test_a_sheet_has_every_field_that_is_set(self) -> None:
        model = toy.lmm()
        text = model_sheet(model)
        found = dict(rows(text))
        assert text.startswith("toy-lmm: Toy (")
        assert text.endswith("\n\nSource: made up\n")
        assert found["vision"] == "toy-vit"
        assert found["vision_feature_layer"] == "-1"
        assert not {"name", "title", "source", "kind"} & set(found)
        values = {n: getattr(model, n) for n in model.__struct_fields__}
        unset = {n for n, value in values.items() if value in (None, (), [])}
        assert set(found) == set(values) - unset - {"name", "title", "source"}

    def test_several_values_are_listed(self) -> None:
        lists = [
            (model, name, value)
            for model in all_models()
            for name in model.__struct_fields__
            if isinstance(value := getattr(model, name), tuple) and value
        ]
        assert lists
        for model, name, value in lists:
            assert dict(rows(model_sheet(model)))[name] == ", ".join(map(str, value))


def test_laws_have_their_rows_and_their_errors() -> None:
    laws = toy_laws("fp16", tile=64, vector_gb_per_s=900.0, errors_percent=(5.0, 20.06))
    fitted = laws.families["matmul"]["fp16"]
    other = replace(
        fitted,
        rows=17,
        library="vllm 0.24.0",
        median_error_percent=1.24,
        p90_error_percent=3.0,
        p90_other_library_error_percent=41.2,
    )
    families = {**laws.families, "matmul": {"fp16": fitted, "int8": other}}
    made = lawful("xeon-8480", replace(laws, families=families))
    found = rows(law_table(made))
    assert found[:2] == [
        ["matmul", "fp16", "-", "1", "5.0", "20.1", "-"],
        ["matmul", "int8", "vllm 0.24.0", "17", "1.2", "3.0", "41.2"],
    ]
    assert [row[:2] for row in found[2:]] == [["attention", "fp16"], ["pointwise", "default"]]


@pytest.mark.parametrize(("left_out", "expected"), [(0, False), (1, True), (9, True)])
def test_a_fit_says_what_it_left_out(left_out: int, expected: bool) -> None:
    made = lawful("xeon-8480", toy_laws("fp16", tile=64, vector_gb_per_s=900.0))
    text = render_fit(made, left_out=left_out)
    assert text.startswith(law_table(made))
    assert (f"{left_out} rows of other hardware were left out." in text) is expected
    assert ("left out." in text) is expected
    assert text.endswith(".\n")


def matmul(median: float) -> MatmulLaw:
    return MatmulLaw(
        rows=1,
        median_error_percent=median,
        p90_error_percent=9.0,
        launch_us=2.0,
        tiles=(Tile(rows=4, columns=8, efficiency=0.5),),
        bandwidth_fraction=0.8,
    )


def ceilings(made: Hardware, notes: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    lines = render_ceilings(made, notes).rstrip("\n").splitlines()
    pairs = (re.split(r"\s{2,}", line, maxsplit=1) for line in lines)
    return [(label, text) for label, text in pairs]


def test_ceilings_are_rates_and_errors() -> None:
    laws = replace(
        made_up.LAWS,
        families={**made_up.LAWS.families, "matmul": {"fp16": matmul(3.4), "int8": matmul(5.6)}},
    )
    launch, cache = made_up.figure(4.0), made_up.figure(5000.0)
    made = device(launch_overhead_us=launch, l2_bandwidth_gb_per_s=cache)
    found = ceilings(replace(made, kernel_laws=laws), ("warm", "dry"))
    end = "(median on sizes left out of the fit)"
    assert found == [
        ("Device", "toy"),
        ("Peak, fp16", "100 TFLOP/s"),
        ("Peak, int8", "400 TOP/s"),
        ("Memory", "1.00 GB/s"),
        ("Cache", "5.00 TB/s"),
        ("Launch", "4.00 µs"),
        ("Matmul error", f"fp16 3 %, int8 6 % {end}"),
        ("Attention error", f"fp16 1 % {end}"),
        ("Vector error", f"default 1 % {end}"),
        ("Note", "warm"),
        ("Note", "dry"),
    ]


def test_ceilings_that_were_not_measured_are_not_named() -> None:
    labels = [label for label, _ in ceilings(replace(device(), kernel_laws=made_up.LAWS))]
    assert not {"Cache", "Launch", "Note"} & set(labels)
