"""Estimates as files and as pickles: the same numbers come back, and no others."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace
from toy import device, figures, llm, lmm, parts, tower, toy

import roofline
from roofline import Counts, Estimate, analyze, count, sweep
from roofline.engine.stored import EstimateFileError
from roofline.errors import OutputError
from roofline.model.architectures import LANGUAGE_MODELS
from roofline.specs.catalog import load_hardware, load_quantization
from roofline.specs.kernel_laws import kernel_laws_section
from roofline.specs.models import MODEL_KINDS, LanguageModel, MlpConnector

MADE: dict[str, Callable[[], Counts]] = {
    "reduced": lambda: analyze("llava-1.5-7b", "h200", visual_tokens=40, reducer="prumerge"),
    "options": lambda: analyze("llava-1.5-7b", "v100", reducer="fastv:k=3:ratio=0.3"),
    "generation": lambda: analyze("vicuna-7b", "b200", stage="generate", output_tokens=128),
    "sweep": lambda: sweep("llava-1.5-7b", "l40s", visual_tokens=[1, 7, 576], batch=[1, 8]),
    "decode": lambda: analyze("vicuna-7b", "v100", quant="w4a8kv4", stage="decode"),
    "convention": lambda: analyze("vicuna-7b", "v100", accounting="llm-viewer"),
    "layers": lambda: analyze("vicuna-7b", "a100", llm_layers=[(2, 576), (30, 288)]),
    "encoder": lambda: analyze("clip-vit-l-336", "a100"),
    "cpu": lambda: analyze("llava-1.5-7b", "xeon-8480"),
    "cpu by a runtime": lambda: analyze("llava-1.5-7b", "epyc-9654", "bf16", runtime="eager"),
    "gpu by a server": lambda: analyze("llava-1.5-7b", "mi300x", quant="fp16", runtime="vllm"),
    "counts": lambda: count("llava-1.5-7b", visual_tokens=[40, 576]),
    "specs": lambda: toy(lmm(), device(sources={"test": "made up – ‘so’"})),
}


@pytest.fixture(params=MADE)
def made(request: pytest.FixtureRequest) -> Counts:
    return MADE[request.param]()


def same(one: Counts, other: Counts) -> None:
    """To the last bit, whatever is asked."""
    assert type(one) is type(other)
    assert one.to_dict(per_op=True) == other.to_dict(per_op=True)
    assert repr(one) == repr(other)
    if isinstance(one, Estimate):
        for name, part in parts(one).items():
            left, right = figures(part), figures(parts(other)[name])
            assert left.keys() == right.keys()
            for key, value in left.items():
                assert type(value) is type(right[key])
                assert value is right[key] or np.array_equal(value, right[key]), key


def test_a_file_gives_the_same_numbers(made: Counts, tmp_path: Path) -> None:
    made.save(tmp_path / "e.json")

    same(made, roofline.load(tmp_path / "e.json"))


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A search path with an LMM in parts, a device that borrows its laws, and a mode of two."""
    folder = tmp_path / "catalog"
    folder.mkdir()
    monkeypatch.setenv("ROOFLINE_PATH", str(folder))
    source, borrower = load_hardware("v100-sxm2-16gb"), load_hardware("v100")
    assert source.kernel_laws is not None
    laws = msgspec.to_builtins(kernel_laws_section(source.kernel_laws))
    specs = {
        "models/my-tower": tower(name="my-tower"),
        "models/my-connector": MlpConnector(name="my-connector", title="", source="made up"),
        "models/my-llm": llm(name="my-llm", used_in="my-lmm"),
        "models/my-lmm": lmm(
            name="my-lmm", vision="my-tower", connector="my-connector", llm="my-llm"
        ),
        "hardware/source": {
            **msgspec.to_builtins(replace(source, name="source", aliases=(), kernel_laws=None)),
            "kernel_laws": laws,
        },
        "hardware/mine": replace(borrower, name="mine", aliases=(), laws_from="source"),
        "quantization/outside": replace(load_quantization("int8"), name="outside"),
        "quantization/inside": replace(
            load_quantization("int8"), name="inside", outside_llm="outside"
        ),
    }
    for name, spec in specs.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.yaml").write_bytes(msgspec.yaml.encode(spec))
    return folder


OF_THE_CATALOG: dict[str, Callable[[], Counts]] = {
    "lmm": lambda: analyze("my-lmm", "mine", "inside", visual_tokens=2),
    "llm": lambda: analyze("my-llm", "mine", "inside", visual_tokens=2),
    "counts": lambda: count("my-lmm", "inside", visual_tokens=2),
}


@pytest.mark.parametrize("asked", OF_THE_CATALOG)
@pytest.mark.parametrize("change", ["gone", "other"])
def test_the_same_numbers_whatever_became_of_the_catalog(
    asked: str, change: str, catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = OF_THE_CATALOG[asked]()
    document = made.to_dict(per_op=True), repr(made), explained(made)
    later = answered(made)
    made.save(tmp_path / "e.json")
    for file in sorted(catalog.rglob("*.yaml")):
        if change == "gone":
            file.unlink()
            continue
        spec = msgspec.yaml.decode(file.read_bytes())
        changes = {"hidden_size": 16, "weight_bits": 4, "images": 2, "num_linear_layers": 3}
        for name in changes.keys() & spec.keys():
            spec[name] = changes[name]
        if spec["name"] == "source":
            spec |= {"kernel_laws": None, "laws_from": "h200"}
        file.write_bytes(msgspec.yaml.encode(spec))
    loaded = roofline.load(tmp_path / "e.json")

    assert (loaded.to_dict(per_op=True), repr(loaded), explained(loaded)) == document
    assert answered(loaded) == later


def explained(counts: Counts) -> list[str]:
    subjects = ["flops", "memory", *(["time"] if isinstance(counts, Estimate) else [])]
    return [str(counts.explain(subject)) for subject in subjects]


def answered(counts: Counts) -> Any:
    """What it says of an answer after the same prompt, which is priced from the specs anew."""
    return counts.answered(8).to_dict() if isinstance(counts, Estimate) else None


def test_a_file_names_no_other_spec(tmp_path: Path) -> None:
    analyze("llava-1.5-7b", "v100", quant="int4").save(tmp_path / "e.json")
    scenario = json.loads((tmp_path / "e.json").read_text(encoding="utf-8"))["scenario"]

    parts = {name: scenario["model"][name]["kind"] for name in ("vision", "connector", "llm")}
    assert parts == {"vision": "vision-encoder", "connector": "connector", "llm": "language-model"}
    assert scenario["quant"]["outside_llm"]["name"] == "fp16"
    assert scenario["hardware"]["laws_from"] is None
    laws = scenario["hardware"]["kernel_laws"]
    lender = load_hardware("v100-sxm2-16gb")
    assert lender.kernel_laws is not None
    cited = lender.sources[lender.kernel_laws.source]
    assert scenario["hardware"]["sources"][laws["source"]] == cited
    assert {law["origin"] for law in laws["matmul"].values()} == {"typical"}


def test_parts_of_a_kind_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Strange(LanguageModel, frozen=True, tag_field="kind", tag="strange"):
        pass

    for registry, thing in (
        (MODEL_KINDS, Strange),
        (LANGUAGE_MODELS, LANGUAGE_MODELS.find("language-model")),
    ):
        registry.names()
        monkeypatch.setattr(registry, "_things", {**registry._things, "strange": thing})
    fields = msgspec.structs.asdict(llm())
    made = toy(lmm(llm=Strange(**fields)))
    made.save(tmp_path / "e.json")

    same(made, roofline.load(tmp_path / "e.json"))


@pytest.mark.parametrize("kind", ["lmm", "connector"])
def test_a_part_that_is_none_is_refused(kind: str, tmp_path: Path) -> None:
    toy(lmm()).save(tmp_path / "e.json")
    data = json.loads((tmp_path / "e.json").read_text(encoding="utf-8"))
    model = data["scenario"]["model"]
    model["llm"] = {**model, "llm": "vicuna-7b"} if kind == "lmm" else model["connector"]
    (tmp_path / "e.json").write_text(json.dumps(data), encoding="utf-8")

    with pytest.raises(EstimateFileError, match=r"kind: expected language-model|llm"):
        roofline.load(tmp_path / "e.json")


def test_a_pickle_gives_the_same_numbers(made: Counts) -> None:
    same(made, pickle.loads(pickle.dumps(made)))


def of(visual_tokens: int) -> Estimate:
    return analyze("llava-1.5-7b", "h200", visual_tokens=visual_tokens, reducer="prumerge")


def test_estimates_travel_between_processes() -> None:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        there = list(pool.map(of, [40, 144]))
        back = pool.submit(Estimate.to_dict, of(40), per_op=True).result()

    for estimate, tokens in zip(there, (40, 144), strict=True):
        same(estimate, of(tokens))
    assert back == of(40).to_dict(per_op=True)


def test_a_file_is_plain_json_that_others_read(tmp_path: Path) -> None:
    estimate = of(40)
    estimate.save(str(tmp_path / "e.json"))
    data = json.loads((tmp_path / "e.json").read_text(encoding="utf-8"))

    assert data["roofline_estimate"] == 1
    assert data["version"] == roofline.__version__
    assert data["inputs"] == estimate.to_dict()["inputs"]
    assert data["end_to_end"]["flops"] == estimate.end_to_end.flops
    assert data["scenario"]["hardware"]["memory_capacity_gib"]["value"] == 141


def test_a_loaded_estimate_needs_no_file_of_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = replace(load_hardware("v100"), name="mine", kernel_laws=None, laws_from=None)
    estimate = analyze("vicuna-7b", mine, visual_tokens=40)
    estimate.save(tmp_path / "e.json")

    same(estimate, roofline.load(tmp_path / "e.json"))


def test_figures_are_those_of_the_file_not_computed_anew(tmp_path: Path) -> None:
    file = tmp_path / "e.json"
    toy().save(file)
    data = json.loads(file.read_text())
    data["end_to_end"]["flops"] = 12345.5
    file.write_text(json.dumps(data))

    assert roofline.load(file).end_to_end.flops == 12345.5


def test_a_file_is_replaced_only_on_request(tmp_path: Path) -> None:
    file = tmp_path / "e.json"
    of(40).save(file)
    before = file.read_bytes()

    with pytest.raises(OutputError, match=r"e\.json exists: .*force=True to replace it"):
        of(144).save(file)
    assert file.read_bytes() == before
    of(144).save(file, force=True)
    assert roofline.load(file).inputs["visual_tokens"] == 144
    assert list(tmp_path.iterdir()) == [file]


def test_a_link_stays_one_and_a_mode_is_kept(tmp_path: Path) -> None:
    file, link = tmp_path / "e.json", tmp_path / "link.json"
    file.touch(mode=0o600)
    link.symlink_to(file)
    of(40).save(link)

    assert link.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o600
    assert roofline.load(file).inputs["visual_tokens"] == 40


@pytest.mark.parametrize(
    ("target", "told"),
    [(".", "is a folder: name a file in it"), ("no/e.json", "cannot write .*: No such file")],
)
def test_what_cannot_be_written_is_said(tmp_path: Path, target: str, told: str) -> None:
    with pytest.raises(OutputError, match=told):
        toy().save(tmp_path / target)


def test_no_configuration_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="of no configuration"):
        toy(visual_tokens=[]).save(tmp_path / "e.json")


def test_figures_that_json_has_no_word_for_are_not_saved(tmp_path: Path) -> None:
    estimate = toy()
    endless = replace(estimate.end_to_end, flops=np.float64(np.inf))

    with pytest.raises(OutputError, match="figures that are not finite is not saved"):
        replace(estimate, end_to_end=endless).save(tmp_path / "e.json")
    assert not list(tmp_path.iterdir())


def edited(*path: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def edit(data: dict[str, Any]) -> None:
        for key in path[:-1]:
            data = data[key]
        if to is KeyError:
            del data[path[-1]]
        else:
            data[path[-1]] = to

    return edit


def invented(name: str) -> Callable[[dict[str, Any]], None]:
    def edit(data: dict[str, Any]) -> None:
        data["components"][name] = data["components"]["llm"]

    return edit


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (edited("roofline_estimate", to=KeyError), "is no estimate: give a file that `estimate.sa"),
        (edited("roofline_estimate", to="1"), "is no estimate"),
        (edited("roofline_estimate", to=True), "is no estimate"),
        (edited("roofline_estimate", to=2), "newer roofline .*reads up to 1.: upgrade roofline"),
        (edited("main", to=KeyError), "damaged estimate: .*missing required field `main`"),
        (edited("main", to="tower"), "`main` names 'tower', which is no component"),
        (edited("more", to=1), "damaged estimate: .*unknown field `more`"),
        (edited("end_to_end", "flops", to=KeyError), "`end_to_end.flops` is missing"),
        (edited("end_to_end", "flips", to=1), "`end_to_end.flips` is unknown"),
        (edited("end_to_end", "flops", to="1"), "`end_to_end.flops` must be a number or nested"),
        (edited("end_to_end", "flops", to=True), "`end_to_end.flops` must be a number or nested"),
        (edited("end_to_end", "flops", to=None), "`end_to_end.flops` must be a number or nested"),
        (edited("end_to_end", "flops", to=[[1], 2]), "`end_to_end.flops` must be a number or nes"),
        (edited("end_to_end", "flops", to=[1.0, 2.0]), r"has the shape \(2,\), not \(\)"),
        (
            edited("end_to_end", "device_memory_bytes", to=[1.0]),
            "device_memory_bytes` has the shape",
        ),
        (edited("inputs", "quant", to="fp32"), "`inputs` and `scenario` do not say the same"),
        (edited("inputs", "stage", to=[]), "`inputs` and `scenario` do not say the same"),
        (
            edited("components", "llm", "bound_times_s", "compute", to=[1.0]),
            "`components.llm.bound_times_s.compute` has the shape",
        ),
        (
            edited("components", "llm", "bound_times_s", to=3),
            "`components.llm.bound_times_s` must be seconds by compute and link",
        ),
        (edited("end_to_end", "bound_times_s", to={}), "must be seconds by compute and link"),
        (edited("end_to_end", "bound_times_s", "memory", to=0), "must be seconds by compute and"),
        (
            edited("end_to_end", "bound_times_s", "compute", to=-1.0),
            "`end_to_end.bound_times_s.compute` is below 0",
        ),
        (edited("end_to_end", "flops", to=-1), "`end_to_end.flops` is below 0"),
        (edited("end_to_end", "device_memory_bytes", to=-1), "device_memory_bytes` is below 0"),
        (
            edited("components", "llm", "attainable_time_s", to=None),
            "`components.llm.attainable_time_s` is null, which does not go with the rest",
        ),
        (edited("end_to_end", "attainable_error_s", to=None), "attainable_error_s` is null, which"),
        (edited("end_to_end", "host_time_s", to=None), "host_time_s` is"),
        (edited("unreduced_visual_tokens", to=-1), "damaged estimate: .*unreduced_visual_tokens"),
        (invented("tower"), "`components.tower` is none of vision, reducer, connector, llm"),
        (edited("device", to=None), "`device` and `scenario.hardware` go together"),
        (edited("device", "name", to=3), r"damaged estimate: .*\$.device.name"),
        (edited("scenario", "stage", to="prefil"), "unknown stage 'prefil'"),
        (edited("scenario", "counts", "batch", to=0.5), "batch must be a whole number"),
        (edited("scenario", "counts", "btch", to=1), "`scenario.counts.btch` is no count"),
        (edited("scenario", "reducer", to="prumerg"), "unknown reducer 'prumerg'"),
        (edited("scenario", "model", "kind", to="x"), "unknown .*'x'"),
        (edited("scenario", "model", "hidden_size", to=-8), "scenario.model: hidden_size: "),
        (edited("scenario", "hardware", "vendor", to=1), "scenario.hardware: vendor: "),
        (edited("scenario", "quant", "kv_bits", to=99), "scenario.quant: kv_bits: "),
    ],
)
def test_a_file_that_is_not_right_is_refused_on_a_line(
    tmp_path: Path, edit: Callable[[dict[str, Any]], None], told: str
) -> None:
    file = tmp_path / "e.json"
    toy(llm()).save(file)
    data = json.loads(file.read_text())
    edit(data)
    file.write_text(json.dumps(data))

    with pytest.raises(EstimateFileError, match=told) as caught:
        roofline.load(file)
    assert str(caught.value).startswith((str(file), f"cannot read {file}"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no valid JSON .*: was it cut off?"),
        (b'{"roofline_estimate": 1', "no valid JSON .*: was it cut off?"),
        (b"\xff\xfe", "no valid JSON"),
        (b"[" * 100_000, "no valid JSON"),
        (b"[1]", "is no estimate"),
        (b'{"roofline_record": 1}', "is no estimate"),
    ],
    ids=["empty", "cut", "bytes", "deep", "list", "record"],
)
def test_another_file_is_refused_on_a_line(tmp_path: Path, content: bytes, told: str) -> None:
    file = tmp_path / "e.json"
    file.write_bytes(content)

    with pytest.raises(EstimateFileError, match=told):
        roofline.load(file)
    with pytest.raises(EstimateFileError, match=r"cannot read .*: Is a directory"):
        roofline.load(tmp_path)
    with pytest.raises(EstimateFileError, match=r"cannot read .*: No such file"):
        roofline.load(tmp_path / "none")
