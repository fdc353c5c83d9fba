"""`roofline profile`: a record and what it says, or one line that says why not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roofline.cli import measuring
from roofline.errors import InputError
from roofline.records.journal import Journal
from roofline.records.measurement import Record, load_record
from roofline.torch_side import load
from roofline.torch_side.measure import modes, request
from roofline.torch_side.measure import profile as runtime

Cli = Callable[..., Any]
Made = Callable[..., Record]

TINY = ["profile", "--model", "llava-tiny", "--device", "cpu"]
SHORT = [*TINY, "--seconds", "0.2"]


def test_a_record_and_what_it_says(run: Cli, tmp_path: Path) -> None:
    """In a process of its own: no library may say anything of itself."""
    code, out, err = run(
        *[*TINY, "--seconds", "10", "--reducer", "prumerge", "--visual-tokens", "9"],
        *["--per-op", "-o", "record.json"],
    )

    assert (code, unexpected(err)) == (0, [])
    found = load_record(tmp_path / "record.json")
    assert found.complete
    assert list(found.spans) == ["vision", "reducer", "connector", "llm", "whole"]
    assert found.inputs["visual_tokens"] == 9
    # a machine that is busy enough leaves no time for it, and the record says so
    assert found.host is not None or any("no look at the host" in note for note in found.notes)
    assert out.startswith("llava-tiny with prumerge, prefill, on ")
    assert "llm, op by op" in out
    assert max(map(len, out.splitlines())) <= 80
    assert [file.name for file in tmp_path.iterdir()] == ["record.json"]


def test_without_a_file_the_record_is_only_shown(
    call: Cli, record: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[request.Request] = []
    monkeypatch.setattr(
        runtime, "profile", lambda given, **_: (requests.append(given), record())[1]
    )
    code, out, err = call(
        *[*TINY, "--stage", "generate", "--output-tokens", "3", "--batch", "2", "--hw", "h200"],
        *["--quant", "bf16", "--seconds", "2.5", "--attention", "eager", "--per-op"],
    )

    assert (code, err) == (0, "")
    assert out.startswith("llava-1.5-7b with prumerge, prefill, on NVIDIA H200\n")
    assert not list(tmp_path.iterdir())
    assert requests == [
        request.Request(
            scenario=requests[0].scenario,
            device="cpu",
            cap_s=2.5,
            attention="eager",
            per_op=True,
        )
    ]
    assert requests[0].scenario.inputs == {
        "model": "llava-tiny",
        "hardware": "h200",
        "quant": "bf16",
        "reducer": None,
        "visual_tokens": None,
        "pictures": None,
        "text_tokens": 40,
        "batch": 2,
        "output_tokens": 3,
        "stage": "generate",
        "attention": "eager",
        "runtime": None,
        "kernels": None,
        "library": None,
        "accounting": "exact",
    }


def test_no_reducer_is_a_run_without_one(
    call: Cli, record: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[request.Request] = []
    monkeypatch.setattr(
        runtime, "profile", lambda given, **_: (requests.append(given), record())[1]
    )

    assert call(*TINY, "--reducer", "none").code == 0
    assert [given.scenario.reducer for given in requests] == [None]


def test_an_interrupted_run_is_kept_and_ends_as_one(
    call: Cli, record: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = record(complete=False)
    monkeypatch.setattr(runtime, "profile", lambda *_, **__: part)
    code, out, err = call(*TINY, "-o", "record.json")

    assert (code, err) == (130, "roofline: error: interrupted\n")
    assert "Interrupted: this is what had been measured by then." in out
    assert load_record(tmp_path / "record.json") == part


def test_interrupted_before_anything_there_is_nothing_to_keep(
    call: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runtime, "profile", interrupted)
    code, out, err = call(*TINY, "-o", "record.json")

    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == "roofline: error: interrupted"
    assert not list(tmp_path.iterdir())


CTRL_C_AT_THE_THIRD_SAMPLE = """
import os, signal
from roofline.cli.main import main
from roofline.records.statistics import StoppingRule
from roofline.torch_side.measure.disturbance import CpuDisturbance

CpuDisturbance.__call__ = lambda self: ""  # whatever else runs here
signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background ignore it
reached, samples = StoppingRule.reached, []

def interrupted(self, given):
    samples.append(given)
    if len(samples) == 3:
        os.kill(os.getpid(), signal.SIGINT)
    return reached(self, given)

StoppingRule.reached = interrupted
main()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_a_real_ctrl_c_leaves_a_record(environment: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CTRL_C_AT_THE_THIRD_SAMPLE, *TINY, "-o", "record.json"],
        env=environment,
        capture_output=True,
        encoding="utf-8",
    )

    assert unexpected(done.stderr) == [
        "roofline: record.json.partial keeps what was measured: --resume goes on",
        "roofline: error: interrupted",
    ]
    assert done.returncode == 130
    found = load_record(tmp_path / "record.json")
    assert not found.complete
    assert (len(found.spans["llm"].samples_s), len(found.whole.samples_s)) == (2, 1)


BAD: dict[str, tuple[list[str], str]] = {
    "no model": (["profile"], "Missing option '--model'"),
    "unknown model": (["profile", "--model", "llava-tinny"], "llava-tiny"),
    "not an LMM": (["profile", "--model", "vicuna-7b"], "profile one, such as llava-1.5-7b"),
    "two models": ([*SHORT, "--model", "vicuna-7b"], "'--model': takes one value here, and got 2"),
    "unknown hardware": ([*SHORT, "--hw", "v101"], "v100"),
    "unknown reducer": ([*SHORT, "--reducer", "prumerg"], "prumerge"),
    "unknown device": ([*SHORT, "--device", "gpu"], "unknown device 'gpu'"),
    "unknown stage": ([*SHORT, "--stage", "train"], "'prefill', 'decode', 'generate'"),
    "unknown mode": ([*SHORT, "--mode", "fast"], "'eager', 'compile', 'cuda-graph'"),
    "unknown attention": ([*SHORT, "--attention", "x"], "'sdpa', 'flash', 'eager'"),
    "unknown quant": ([*SHORT, "--quant", "int5"], "int4"),
    "quant without kernels": ([*SHORT, "--quant", "int4"], "no kernels for int4 on cpu"),
    "graphs on a CPU": ([*SHORT, "--mode", "cuda-graph"], "use mode eager"),
    "no answer": ([*SHORT, "--stage", "generate"], "needs output tokens: give --output-tokens"),
    "an empty answer": (
        [*SHORT, "--stage", "generate", "--output-tokens", "0"],
        "needs output tokens, 1 or more",
    ),
    "no time": ([*TINY, "--seconds", "0"], "0 is not above 0 and finite"),
    "half a token": ([*SHORT, "--visual-tokens", "1.5"], "'1.5' is not a whole number"),
    "no visual tokens": ([*SHORT, "--visual-tokens", "0"], "give visual tokens, 1 or more"),
    "no visual tokens with a reducer": (
        [*SHORT, "--visual-tokens", "0", "--reducer", "fastv"],
        "give visual tokens, 1 or more",
    ),
    "no such image": ([*SHORT, "--image", "missing.jpg"], "No such file"),
    "no image": ([*SHORT, "--image", "notes.png"], "no picture of a known format"),
    "no such checkpoint": ([*SHORT, "--checkpoint", "./nowhere"], "nowhere"),
}


@pytest.mark.parametrize(("arguments", "hint"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_leaves_no_file(
    arguments: list[str], hint: str, call: Cli, tmp_path: Path
) -> None:
    notes = tmp_path / "notes.png"
    notes.write_text("no picture", encoding="utf-8")
    code, out, err = call(*arguments, "-o", "record.json")

    assert_one_line(code, out, err, hint)
    assert list(tmp_path.iterdir()) == [notes]


def test_too_little_memory_is_one_line(call: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime.machine, "free_bytes", lambda device: 1e6)

    assert_one_line(*call(*SHORT, "--batch", "64"), "llava-tiny in fp32 at batch 64 needs ")


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ("record.json", "record.json exists: give another name, or --force"),
        ("missing/record.json", "No such file or directory"),
        (".", "is a folder"),
    ],
)
def test_a_place_that_cannot_be_written_is_found_out_first(
    target: str, hint: str, call: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "record.json").write_text("old", encoding="utf-8")
    monkeypatch.setattr(runtime, "profile", pytest.fail)

    assert_one_line(*call(*TINY, "-o", target), hint)
    assert (tmp_path / "record.json").read_text(encoding="utf-8") == "old"


def test_a_file_is_replaced_when_forced(
    call: Cli, record: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "record.json").write_text("old", encoding="utf-8")
    monkeypatch.setattr(runtime, "profile", lambda *_, **__: record())

    assert call(*TINY, "-o", "record.json", "--force").code == 0
    assert load_record(tmp_path / "record.json") == record()


@pytest.mark.parametrize("module", ["torch", "transformers"])
def test_what_is_missing_is_named_with_its_remedy(
    module: str, call: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = measuring.find_spec
    monkeypatch.setattr(
        measuring, "find_spec", lambda name: None if name == module else found(name)
    )

    assert_one_line(*call(*TINY), f"needs {module}: pip install '.[profile]'")


def test_choices_are_those_of_the_runtime() -> None:
    assert tuple(modes.RUN_MODES) == measuring.RUN_MODES
    assert tuple(load.ATTENTION_KERNELS) == measuring.ATTENTION_KERNELS


def test_help_imports_click_alone(environment: dict[str, str]) -> None:
    probe = """
import sys
from roofline.cli.main import main
try:
    main()
finally:
    print(*sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", probe, "profile", "--help"],
        env=environment,
        capture_output=True,
        encoding="utf-8",
    )

    assert done.returncode == 0
    assert "--visual-tokens" in done.stdout
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "roofline.cli.profile" in loaded
    assert not loaded & {"torch", "transformers", "numpy", "msgspec", "yaml", "pandas"}


SIGKILL_AT_THE_SECOND_FINDING = """
import os, signal
from roofline.cli.main import main
from roofline.records.journal import Journal

add = Journal.add

def killed(self, kind, data):
    add(self, kind, data)
    if len(self.findings) == 2:  # samples, and more of them or the end of it
        os.kill(os.getpid(), signal.SIGKILL)

Journal.add = killed
main()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_a_killed_run_goes_on(
    call: Cli, run: Cli, environment: dict[str, str], tmp_path: Path
) -> None:
    asked = [*TINY, "--seconds", "2", "-o", "record.json"]
    killed = subprocess.run(
        [sys.executable, "-c", SIGKILL_AT_THE_SECOND_FINDING, *asked],
        env=environment,
        capture_output=True,
        encoding="utf-8",
    )
    assert killed.returncode == -signal.SIGKILL
    assert [file.name for file in tmp_path.iterdir()] == ["record.json.partial"]
    findings = (tmp_path / "record.json.partial").read_text(encoding="utf-8").splitlines()[1:]
    assert len(findings) == 2

    code, out, err = call(*asked)
    hint = "record.json.partial holds an interrupted measurement: --resume goes on with it"
    assert_one_line(code, out, err, hint)
    code, out, err = run(*asked, "--resume")
    assert code == 0
    found = load_record(tmp_path / "record.json")
    assert found.complete
    assert any("an interrupted run went on here" in note for note in found.notes)
    assert [file.name for file in tmp_path.iterdir()] == ["record.json"]


def test_ctrl_c_leaves_a_record_that_goes_on_in_its_place(
    call: Cli, record: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(given: object, *, journal: Journal, **_: object) -> Record:
        again = list(journal.of("samples"))
        journal.add("samples", {"samples": {}, "disturbance": ""})
        return record(complete=bool(again))

    monkeypatch.setattr(runtime, "profile", measured)
    code, _, err = call(*TINY, "-o", "record.json")
    kept = "roofline: record.json.partial keeps what was measured: --resume goes on\n"
    assert (code, err) == (130, f"{kept}roofline: error: interrupted\n")
    assert not load_record(tmp_path / "record.json").complete

    assert_one_line(*call(*TINY, "-o", "record.json"), "--resume goes on with it")
    assert_one_line(*call(*TINY, "-o", "record.json", "--resume", "--batch", "2"), "batch is 1")
    assert call(*TINY, "-o", "record.json", "--resume").code == 0
    assert load_record(tmp_path / "record.json").complete
    assert not (tmp_path / "record.json.partial").exists()
    # nothing is interrupted now: what is whole is not replaced unasked
    assert_one_line(*call(*TINY, "-o", "record.json", "--resume"), "record.json exists")


def test_a_record_that_cannot_be_written_in_the_end_is_not_measured_again(
    call: Cli, record: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(given: object, *, journal: Journal, **_: object) -> Record:
        journal.add("timing", {})
        (tmp_path / "record.json").write_text("somebody else's", encoding="utf-8")
        return record()

    monkeypatch.setattr(runtime, "profile", measured)
    code, out, err = call(*TINY, "-o", "record.json")

    assert code == 2
    assert "record.json.partial keeps what was measured: --resume goes on" in err
    assert "p50_s" in out
    assert (tmp_path / "record.json.partial").exists()


def test_beginning_anew_is_asked_for(
    call: Cli, record: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "profile", lambda *_, **__: record())
    (tmp_path / "record.json.partial").write_text("{}\n", encoding="utf-8")

    assert call(*TINY, "-o", "record.json", "--force").code == 0
    assert [file.name for file in tmp_path.iterdir()] == ["record.json"]
    assert_one_line(*call(*TINY, "--resume"), "--resume needs -o")


def test_a_timeline_beside_the_record(call: Cli, tmp_path: Path) -> None:
    code, _, _ = call(
        *[*SHORT, "--hw", "xeon-8480", "--quant", "bf16", "-o", "record.json"],
        *["--trace", "trace.json"],
    )

    assert code == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["record.json", "trace.json"]
    events = json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    titles = [event["args"]["name"] for event in events if event["name"] == "process_name"]
    assert titles[-2:] == ["measured (components)", "predicted (roofline)"]
    assert load_record(tmp_path / "record.json").complete


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ("record.json", "is to hold two results"),
        ("there.json", "there.json exists: give another name, or --force"),
        ("missing/trace.json", "No such file or directory"),
    ],
)
def test_a_timeline_that_cannot_be_written_is_found_out_first(
    target: str, hint: str, call: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there.json").write_text("old", encoding="utf-8")
    monkeypatch.setattr(runtime, "profile", pytest.fail)

    assert_one_line(*call(*TINY, "-o", "record.json", "--trace", target), hint)


def test_a_timeline_replaces_another_when_forced(
    call: Cli, record: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(*_: object, trace: Callable[[bytes], None], **__: object) -> Record:
        trace(b"{}")
        return record()

    (tmp_path / "trace.json").write_text("old", encoding="utf-8")
    monkeypatch.setattr(runtime, "profile", measured)
    assert call(*TINY, "--trace", "trace.json", "--force").code == 0
    assert (tmp_path / "trace.json").read_text(encoding="utf-8") == "{}"


class TestProgress:
    def test_standard_error_is_closed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stderr", None)
        with measuring.progress_bar("profile") as progress:
            assert progress is None

    def test_a_log_gets_a_line_now_and_then(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A night of 28 800 samples, one a second."""
        seconds = iter(range(30_000))
        with measuring.progress_bar("validate", clock=lambda: float(next(seconds))) as progress:
            assert progress is not None
            for sample in range(1, 28_801):
                progress(sample / 28_800, f"sample {sample}")
        out, err = capsys.readouterr()
        lines = err.splitlines()

        assert out == ""
        assert lines[0] == "validate: 0% after 30 s: sample 30"
        assert "validate: 10% after 2880 s: sample 2880" in lines
        assert lines[-1] == "validate: 100% after 28800 s: sample 28800"
        assert 60 < len(lines) < 120

    def test_each_tenth_is_a_line_but_not_of_a_quick_one(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        now = [0.0]
        with measuring.progress_bar("profile", clock=lambda: now[0]) as progress:
            assert progress is not None
            for percent in range(101):
                now[0] = percent / 100  # a second all in all
                progress(percent / 100, "whole")
            assert capsys.readouterr().err == ""
        with measuring.progress_bar("profile", clock=lambda: now[0]) as progress:
            assert progress is not None
            for percent in range(101):
                now[0] = percent  # a minute and a half
                progress(percent / 100, "whole")
        shares = [line.split()[1] for line in capsys.readouterr().err.splitlines()]
        assert shares == [f"{tenth}0%" for tenth in range(1, 11)]

    def test_a_terminal_sees_how_far_it_is(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        with measuring.progress_bar("profile llava-tiny") as progress:
            assert progress is not None
            progress(0.5, "with marks: sample 10")
            progress(1.0, "whole: sample 20")
        out, err = capsys.readouterr()

        assert out == ""
        assert "profile llava-tiny" in err
        assert "100%" in err


def test_pillow_is_called_by_its_name_in_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs pillow, torch: pip install '.\[profile\]'"):
        measuring.require("PIL", "torch")


def test_the_record_is_json_that_others_read(
    call: Cli, record: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "profile", lambda *_, **__: record())
    call(*TINY, "-o", "record.json")
    document = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))

    assert document["spans"]["llm"]["statistics"]["p50_s"] == 4e-3


def unexpected(err: str) -> list[str]:
    """Of other work on this machine the command may well speak, and of how far it is."""
    known = ("roofline: warning: untrusted: ", "profile llava-tiny: ")
    return [line for line in err.splitlines() if not line.startswith(known)]


def assert_one_line(code: int, out: str, err: str, hint: str) -> None:
    assert (code, out) == (2, "")
    assert err.startswith("roofline: error: ")
    assert err.count("\n") == 1
    assert hint in err
