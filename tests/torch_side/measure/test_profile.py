"""`profile` from end to end on a CPU: what is timed, what it is held against, what can go wrong.

The clock is wound by the test, so that statistics are known; the work is a real, tiny model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attaching import hooks_on
from made_up import lawful, toy_laws
from msgspec.structs import replace
from PIL import Image

import roofline
from roofline.errors import InputError
from roofline.records.measurement import (
    Achieved,
    HostOverhead,
    Record,
    TimedSpan,
    load_record,
)
from roofline.records.statistics import StoppingRule, quality_warnings, summarize
from roofline.torch_side.load import SEED
from roofline.torch_side.measure import closer_looks, machine
from roofline.torch_side.measure import profile as module
from roofline.torch_side.measure.memory_check import MemoryShortError
from roofline.torch_side.measure.modes import ignore
from roofline.torch_side.measure.pipeline import Pipeline
from roofline.torch_side.measure.profile import profile
from roofline.torch_side.measure.request import Request
from roofline.torch_side.measure.timing import Progress
from roofline.torch_side.measure.verdicts import not_adding_up

TICK_S = 1 / 1024


def request(**changes: Any) -> Request:
    """Few samples of a tiny model, in a type that the spec which it is compared with has."""
    axes = {"model": "llava-tiny", "device": "cpu", "quant": "bf16", "hardware": "xeon-8480"}
    return Request.of(**axes | changes)


def run(progress: Progress | None = None, **changes: Any) -> Record:
    """On a clock that advances by a tick whenever it is read."""
    ticks = count()
    return profile(request(**changes), clock=lambda: next(ticks) * TICK_S, progress=progress)


BUSY = HostOverhead(busy_s=1.0, wall_s=1.0, kernels=1, verdict="device-bound")


@pytest.fixture(autouse=True)
def _no_host_overhead(monkeypatch: pytest.MonkeyPatch) -> None:
    """It profiles a dozen runs more, and has tests of its own."""
    monkeypatch.setattr(closer_looks, "host_overhead", lambda run, device, looks: BUSY)


WITHOUT = ["vision", "connector", "llm"]
APART = ["vision", "reducer", "connector", "llm"]
SPANS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "prefill": ({}, WITHOUT),
    "prefill, prumerge": ({"reducer": "prumerge", "visual_tokens": 9}, APART),
    "prefill, adaptive prumerge": ({"reducer": "prumerge"}, APART),
    "prefill, tome": ({"reducer": "tome", "visual_tokens": 9}, WITHOUT),  # inside the ViT
    "prefill, fastv": ({"reducer": "fastv", "visual_tokens": 9}, WITHOUT),  # inside the LLM
    "prefill, batch": ({"batch": 3}, WITHOUT),
    "decode": ({"stage": "decode"}, ["decode"]),
    "decode, prumerge": (
        {"stage": "decode", "reducer": "prumerge", "visual_tokens": 9},
        ["decode"],
    ),
    "decode, fastv": ({"stage": "decode", "reducer": "fastv", "visual_tokens": 9}, ["decode"]),
    "generate": ({"stage": "generate", "output_tokens": 2}, [*WITHOUT, "decode"]),
    "generate, prumerge": (
        {"stage": "generate", "output_tokens": 2, "reducer": "prumerge", "visual_tokens": 9},
        [*APART, "decode"],
    ),
    "generate, tome": (
        {"stage": "generate", "output_tokens": 2, "reducer": "tome", "visual_tokens": 9},
        [*WITHOUT, "decode"],
    ),
}


@pytest.fixture(scope="module")
def records() -> Callable[[str], Record]:
    """Records of `SPANS`, each made once."""
    made: dict[str, Record] = {}

    def record(case: str) -> Record:
        if case not in made:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(closer_looks, "host_overhead", lambda run, device, looks: BUSY)
                made[case] = run(**SPANS[case][0])
        return made[case]

    return record


Records = Callable[[str], Record]
cases = pytest.mark.parametrize("case", SPANS)


@cases
def test_spans_are_the_components_and_the_whole(case: str, records: Records) -> None:
    assert list(records(case).spans) == [*SPANS[case][1], "whole"]


@cases
def test_every_mark_is_a_tick(case: str, records: Records) -> None:
    """Spans tile a run; decode steps add up; the whole is timed by itself, without marks."""
    found = records(case)
    steps = max(found.inputs["output_tokens"], 1)

    for name, span in found.components.items():
        assert set(span.samples_s) == {TICK_S * (steps if name == "decode" else 1)}
    assert set(found.whole.samples_s) == {TICK_S}
    assert {len(span.samples_s) for span in found.spans.values()} == {10}  # least of the rule
    assert found.complete


def test_components_that_do_not_add_up_are_a_warning(records: Records) -> None:
    """On this clock a run with marks takes a tick for each, and without any a single one."""
    found = records("prefill, prumerge").warnings
    assert any("the components' sum is +300.0 % off the whole" in text for text in found)
    assert not any("components" in text for text in records("decode").warnings)


@cases
def test_flops_of_spans_are_those_of_the_analysis(case: str, records: Records) -> None:
    found, axes = records(case), SPANS[case][0]
    scenario = {k: v for k, v in axes.items() if k in ("batch", "stage", "output_tokens")}
    estimate = roofline.analyze(
        "llava-tiny",
        "xeon-8480",
        "bf16",
        visual_tokens=found.inputs["visual_tokens"],
        reducer=axes.get("reducer"),
        runtime="eager",
        **scenario,
    )

    assert found.whole.flops == float(estimate.end_to_end.flops)
    assert found.whole.roofline_time_s == float(estimate.end_to_end.roofline_time_s)
    parts = sum(span.flops for span in found.components.values() if span.flops is not None)
    assert parts == pytest.approx(found.whole.flops, rel=1e-12)
    moved = sum(span.memory_access_bytes or 0.0 for span in found.components.values())
    assert moved == pytest.approx(found.whole.memory_access_bytes, rel=1e-12)
    if found.inputs["stage"] == "prefill" and case != "prefill, fastv":
        assert found.spans["llm"].flops == float(estimate.llm.flops)
    assert found.estimate == estimate.to_dict()


def test_decode_steps_of_an_answer_are_what_follows_the_prefill(records: Records) -> None:
    """Step i reads the 76 tokens of the prompt, the i before it and its own."""
    found = records("generate").spans["decode"]
    steps = [
        roofline.analyze("llava-tiny", "xeon-8480", "bf16", text_tokens=40 + before, stage="decode")
        for before in (0, 1)
    ]

    assert found.flops == pytest.approx(sum(float(step.llm.flops) for step in steps), rel=1e-12)


def test_an_adaptive_count_is_found_out(records: Records) -> None:
    found = records("prefill, adaptive prumerge")
    kept = found.inputs["visual_tokens"]

    assert 1 <= kept < 36
    assert found.estimate is not None
    assert found.estimate["inputs"]["visual_tokens"] == kept


def test_what_sampling_inside_the_vit_leaves_is_what_is_priced() -> None:
    found = run(reducer="ats")
    assert found.estimate is not None

    assert found.inputs["visual_tokens"] == found.estimate["inputs"]["visual_tokens"] < 36


def test_a_count_inside_the_llm_is_kept(records: Records) -> None:
    assert records("prefill, fastv").inputs["visual_tokens"] == 9
    assert run(reducer="fastv").inputs["visual_tokens"] == 36 // 2  # half of 36 in later layers


def test_a_record_can_be_priced_again_as_it_ran() -> None:
    found = run(reducer="fastv:k=1:ratio=0.75", hardware="xeon-8480").inputs
    axes = {name: found[name] for name in ("reducer", "visual_tokens", "text_tokens")}

    assert axes["reducer"] == "fastv:k=1:ratio=0.75"
    assert roofline.analyze("llava-tiny", "xeon-8480", **axes).inputs["visual_tokens"] == 36 // 4


def test_what_was_asked_is_written_down_with_defaults_filled_in(records: Records) -> None:
    given = records("prefill, prumerge").inputs

    assert given == {
        "model": "llava-tiny",
        "hardware": "xeon-8480",
        "quant": "bf16",
        "reducer": "prumerge",
        "visual_tokens": 9,
        "text_tokens": 40,
        "batch": 1,
        "output_tokens": 0,
        "stage": "prefill",
        "attention": "sdpa",
        "mode": "eager",
        "checkpoint": None,
        "image": None,
        "device": "cpu",
        "seed": SEED,
    }
    assert run(quant=None, hardware=None).inputs["quant"] == "fp32"


def test_no_reducer_is_a_run_without_one(records: Records) -> None:
    found = run(reducer="none")

    assert found.inputs == records("prefill").inputs
    assert list(found.spans) == [*WITHOUT, "whole"]


def test_the_environment_names_versions_and_no_user(records: Records) -> None:
    around = records("prefill").environment

    assert around["torch"] == str(torch.__version__)
    assert around["threads"] == torch.get_num_threads()
    assert str(Path.home()) not in records("prefill").to_json().decode()


def test_specs_are_hashed(records: Records) -> None:
    assert list(records("prefill").specs) == ["llava-tiny", "xeon-8480"]


def test_without_a_spec_there_is_nothing_to_compare_with() -> None:
    found = run(hardware=None)

    assert found.estimate is None
    assert found.inputs["hardware"] is None
    assert found.whole.roofline_time_s is None
    assert found.whole.attainable_time_s is None
    assert found.whole.flops == float(roofline.count("llava-tiny").end_to_end.flops)
    assert any("roofline calibrate" in note for note in found.notes)


def test_a_precision_that_the_spec_lacks_is_timed_without_a_roof() -> None:
    found = run(quant="bf16", hardware="v100")

    assert found.whole.roofline_time_s is None
    assert any(note.startswith("no estimate: ") for note in found.notes)


def test_laws_that_are_not_trusted_make_no_trusted_record() -> None:
    laws = toy_laws("fp32", tile=16, vector_gb_per_s=100.0)
    doubtful = replace(laws, conditions="torch 2.13; untrusted: 9 of 40 kernels")
    found = run(hardware=lawful("xeon", doubtful))

    doubt = "expected by laws that are not to be trusted: 9 of 40 kernels"
    assert doubt in found.warnings
    assert doubt not in run(hardware=lawful("xeon", laws)).warnings


def test_a_record_comes_back(records: Records, tmp_path: Path) -> None:
    found = records("generate, prumerge")
    file = tmp_path / "record.json"
    file.write_bytes(found.to_json())

    assert load_record(file) == found


def test_ops_on_request() -> None:
    found = run(per_op=True)
    named = {(op.component, op.name): op for op in found.ops}

    assert named["llm", "q_proj"].count == 4  # layers
    assert named["vision", "fc1"].count == 3  # up to the features
    assert named["llm", "q_proj"].flops_per_s
    assert not run().ops


def test_a_picture_and_a_checkpoint_are_named_without_their_folders(tmp_path: Path) -> None:
    checkpoint, picture = tmp_path / "weights", tmp_path / "photo.png"
    roofline.load_model("llava-tiny").save_pretrained(checkpoint)
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(noise).save(picture)
    found = run(checkpoint=str(checkpoint), image=str(picture))

    assert (found.inputs["checkpoint"], found.inputs["image"]) == ("weights", "photo.png")
    assert str(tmp_path) not in found.to_json().decode()


def test_progress_rises_to_the_end() -> None:
    shares: list[float] = []
    run(progress=lambda share, doing: shares.append(share))

    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.fixture
def interrupt_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Ctrl-C in the n-th prefill."""

    def arm(runs: int) -> None:
        prefill, left = Pipeline.prefill, iter(range(runs))

        def interrupted(self: Pipeline, *given: Any) -> Any:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return prefill(self, *given)

        monkeypatch.setattr(Pipeline, "prefill", interrupted)

    return arm


# looked at, and run once, when the pipeline is made; then of each of the two that are timed
WARM_UPS = 1 + 1 + 2 * 10


def test_an_interrupted_run_leaves_a_valid_partial_record(
    interrupt_after: Callable[[int], None], tmp_path: Path
) -> None:
    interrupt_after(WARM_UPS + 2 * 3 + 1)  # three rounds, and with marks once more
    found = run(per_op=True)

    assert not found.complete
    assert len(found.spans["llm"].samples_s) == 4
    assert len(found.whole.samples_s) == 3
    assert (found.host, found.ops) == (None, [])
    file = tmp_path / "record.json"
    file.write_bytes(found.to_json())
    assert load_record(file) == found


def test_nothing_is_left_of_a_run_that_had_no_sample(
    interrupt_after: Callable[[int], None],
) -> None:
    interrupt_after(WARM_UPS + 1)  # the whole has none
    with pytest.raises(KeyboardInterrupt):
        run()


def test_an_interruption_behind_the_timing_keeps_all_samples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(run: object, device: object, looks: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(closer_looks, "host_overhead", interrupted)
    found = run()

    assert not found.complete
    assert len(found.whole.samples_s) == 10


@pytest.mark.parametrize("fails", [False, True])
def test_the_reducer_is_off_the_model_again(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    """FastV hooks the LLM: in every prefill there are hooks, behind the last there are none."""
    models: list[Any] = []
    hooks: list[list[str]] = []
    prefill = Pipeline.prefill

    def watched(self: Pipeline, *marks: Any) -> Any:
        models.append(self.model)
        hooks.append(hooks_on(self.model))
        if fails and len(hooks) == 3:
            raise ZeroDivisionError
        return prefill(self, *marks)

    monkeypatch.setattr(Pipeline, "prefill", watched)
    with pytest.raises(ZeroDivisionError) if fails else nullcontext():
        run(reducer="fastv", visual_tokens=9)

    assert len(hooks) >= 3
    assert all(hooks)
    assert all(model is models[0] for model in models)
    assert hooks_on(models[0]) == []


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], None]]:
    """Room on the device, and nothing loaded into it."""

    def free(size_bytes: float) -> None:
        monkeypatch.setattr(machine, "free_bytes", lambda device: size_bytes)

    monkeypatch.setattr(module, "build_pipeline", lambda *a, **k: pytest.fail("loaded"))
    return free


def needed_bytes(**scenario: Any) -> float:
    return float(roofline.analyze("llava-1.5-7b", "h100", **scenario).end_to_end.peak_memory_bytes)


def test_too_little_memory_names_what_fits(memory: Callable[[float], None]) -> None:
    memory(needed_bytes(quant="bf16", batch=8) * 1.001)
    with pytest.raises(MemoryShortError) as raised:
        run(model="llava-1.5-7b", batch=32)
    message = str(raised.value)

    assert "\n" not in message
    assert message.startswith("llava-1.5-7b in bf16 at batch 32 needs ")
    assert roofline.units.si(needed_bytes(quant="bf16", batch=32), "B") in message
    assert "--batch 8 would fit" in message


def test_too_little_memory_for_one_sequence_asks_for_fewer_bits(
    memory: Callable[[float], None],
) -> None:
    # weights are loaded in 16 bit before they are quantized: those have to fit in any case
    weights = roofline.analyze("llava-1.5-7b", "h100", "bf16").end_to_end.weight_bytes
    memory(float(weights) * 1.001)
    with pytest.raises(MemoryShortError, match="--quant w8a16 would fit"):
        run(model="llava-1.5-7b", text_tokens=2000)
    memory(needed_bytes(quant="w8a16") * 1.001)
    with pytest.raises(MemoryShortError, match="a larger device is needed"):
        run(model="llava-1.5-7b")


def test_too_little_memory_for_anything(memory: Callable[[float], None]) -> None:
    memory(1e6)
    with pytest.raises(MemoryShortError, match="a smaller model or a larger device"):
        run(model="llava-1.5-7b", batch=2)


def test_memory_that_runs_out_on_the_way_is_the_same_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: Any, **named: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate …")

    monkeypatch.setattr(module, "build_pipeline", full)
    with pytest.raises(MemoryShortError, match=r"\Allava-tiny in bf16 at batch 1 needs .*\Z"):
        run()


NO_CUDA = not torch.cuda.is_available()

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown model": ({"model": "llava-tinny"}, "llava-tiny"),
    "not an LMM": ({"model": "vicuna-7b"}, "vicuna-7b is no LMM"),
    "unknown hardware": ({"hardware": "h201"}, "did you mean h20 or h200"),
    "unknown device": ({"device": "gpu"}, "gpu"),
    "unknown reducer": ({"reducer": "prumerg"}, "did you mean prumerge"),
    "unknown quant": ({"quant": "int5"}, "int5"),
    "unknown stage": ({"stage": "train"}, "choose one of prefill, decode, generate"),
    "unknown mode": ({"mode": "fast"}, "choose one of eager, compile, cuda-graph"),
    "unknown attention": ({"attention": "sparse"}, "choose one of sdpa, flash, eager"),
    "graphs without CUDA": ({"mode": "cuda-graph"}, "need a CUDA device"),
    "an answer without tokens": ({"stage": "generate"}, "needs output tokens: give --output"),
    "an empty answer": ({"stage": "generate", "output_tokens": 0}, "output tokens, 1 or more"),
    "negative answer": ({"output_tokens": -1}, "output tokens must be a whole number"),
    "no visual tokens": ({"visual_tokens": 0}, "give visual tokens, 1 or more"),
    "no token at all": ({"visual_tokens": 0, "text_tokens": 0}, "give visual tokens, 1 or more"),
    "half a token": ({"visual_tokens": 1.5}, "visual tokens must be a whole number ≥ 0, not 1.5"),
    "too many visual tokens": ({"visual_tokens": 37, "reducer": "prumerge"}, "37"),
    "no batch": ({"batch": 0}, "batch must be a whole number ≥ 1"),
    "no photo of that name": ({"image": "missing.jpg"}, "missing.jpg"),
    "no picture": ({"image": __file__}, "no picture of a known format"),
    "no time": ({"cap_s": 0.0}, "cap_s"),
}


@pytest.mark.parametrize(("changes", "hint"), BAD.values(), ids=BAD)
def test_what_cannot_be_done_is_one_line(changes: dict[str, Any], hint: str) -> None:
    with pytest.raises(InputError) as raised:
        run(**changes)

    assert hint in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.skipif(not NO_CUDA, reason="there is a CUDA device")
def test_no_cuda_is_one_line() -> None:
    with pytest.raises(InputError, match="cuda") as raised:
        run(device="cuda")

    assert "\n" not in str(raised.value)


def test_a_low_bit_mode_says_what_it_really_runs_as() -> None:
    notes = run(quant="w8a8kv16", cap_s=1.0).notes

    assert notes[0].startswith("w8a8kv16 runs as torch._int_mm, a scale for each row of weights")


@pytest.mark.parametrize("quant", ["int4", "w3a16"])
def test_a_precision_without_kernels_is_one_line(quant: str) -> None:
    with pytest.raises(InputError, match=f"no kernels for {quant} on cpu") as raised:
        run(quant=quant)

    assert "\n" not in str(raised.value)


def slowly(run_s: float, monkeypatch: pytest.MonkeyPatch) -> Callable[[], float]:
    """A clock that a run of the model turns on by so much."""
    now = [0.0]
    prefill = Pipeline.prefill

    def run(self: Pipeline, mark: Any = ignore) -> Any:
        result = prefill(self)
        now[0] += run_s
        mark("vision"), mark("connector"), mark("llm")
        return result

    monkeypatch.setattr(Pipeline, "prefill", run)
    return lambda: now[0]


@pytest.mark.parametrize("run_s", [0.01, 0.2, 0.5])
def test_the_time_given_is_kept(run_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    monkeypatch.setattr(
        closer_looks, "host_overhead", lambda run, device, looks: looked.append(looks) or BUSY
    )
    clock = slowly(run_s, monkeypatch)
    found = profile(request(cap_s=10.0, relative_ci=1e-9), clock=clock)

    assert clock() <= 11.0
    assert len(found.whole.samples_s) >= 4
    assert looked == {0.01: [5], 0.2: [4], 0.5: []}[run_s]
    assert not any("took" in note for note in found.notes)


def test_what_takes_longer_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    found = profile(request(cap_s=1.0), clock=slowly(4.0, monkeypatch))

    assert len(found.whole.samples_s) == 1
    assert any(note.startswith("no look at the host") for note in found.notes)
    assert any("not the 1.00 s given: a run of 4.00 s" in note for note in found.notes)


def test_the_verdict_is_the_roofs_and_the_busy_time_stays_as_it_was_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked = HostOverhead(busy_s=1e-9, wall_s=2e-9, kernels=1, verdict="launch-bound")
    monkeypatch.setattr(closer_looks, "host_overhead", lambda run, device, looks: looked)
    note = "launch-bound by the kernels seen alone, device-bound by the roofline"

    found = run()
    assert found.host == HostOverhead(busy_s=1e-9, wall_s=2e-9, kernels=1, verdict="device-bound")
    assert any(text.startswith(note) for text in found.notes)
    alone = run(hardware=None)
    assert alone.host == looked
    assert not any("kernels seen" in text for text in alone.notes)


def test_ops_that_do_not_add_up_are_said_to() -> None:
    span = TimedSpan(samples_s=[1e-3] * 6)
    ops = [Achieved("llm", name, "linear", 1, 1, 1e-3, None, None) for name in "abc"]

    assert not_adding_up(ops[:1], {"llm": span}) == []
    (said,) = not_adding_up(ops, {"llm": span})
    assert said.startswith("ops of llm do not add up: 3.00 ms one by one, 1.00 ms together")


def test_a_disturbed_run_is_untrusted() -> None:
    samples = [1.0, *[2.0] * 9]
    (first, *_) = quality_warnings(samples, summarize(samples), StoppingRule())

    assert first.startswith("untrusted: the median sample took 100.0 % longer than the fastest")
    assert quality_warnings([1.0] * 9, summarize([1.0] * 9), StoppingRule(least=9)) == []
