"""The first hour on a GPU: everything that is measured, in stages, into a folder under `reports/`.

    python tools/gpu.py                     # all stages, on the first CUDA device
    python tools/gpu.py --stage calibrate   # one of them
    python tools/gpu.py --device cpu        # the loop itself, small, on a machine without a GPU

Each stage ends inside eight minutes. What a command has written stays when the next one fails, is
not measured again by the next call, and what was cut off goes on where it was. At the end, and
after every single stage, the folder's README.md says what was found and what fell short.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from gpu_runs import Command, RunStage, run_stage
from gpu_summary import summarize_folder

from roofline import reducers
from roofline.errors import InputError
from roofline.specs.kernel_laws import UNTRUSTED
from roofline.torch_side.load import checked_device
from roofline.torch_side.low_bit import written_for
from roofline.torch_side.measure.modes import GRAPHS, RUN_MODES

ROOT = Path(__file__).resolve().parents[1]
MODEL = "llava-1.5-7b"
STAGE_S = 480.0
"""No stage takes longer."""
ANSWER = 128
KEPT = 144
"""Visual tokens that each reducer is to leave where its own time is measured."""


class GpuPlan:
    """What is measured on one device: a GPU, or for a trial of the loop any other."""

    def __init__(self, device: str, model: str | None, checkpoint: str | None) -> None:
        self.device, self.on_gpu = device, device.startswith("cuda")
        self.model = model or (MODEL if self.on_gpu else "llava-tiny")
        self.checkpoint = checkpoint
        self.seconds = 1.0 if self.on_gpu else 0.25
        low_bit = written_for("cuda") if self.on_gpu else []
        self.quants = ("fp16", "bf16", *low_bit) if self.on_gpu else ("fp32", "bf16")
        self.counts = (None, 40) if self.on_gpu else (None, 9)
        """Visual tokens: all, and as few as PruMerge leaves."""
        self.kept = KEPT if self.on_gpu else 12
        self.answer = ANSWER if self.on_gpu else 4

    def modes(self, *names: str) -> list[str]:
        """Those of them that the device has: graphs are for a GPU."""
        return [name for name in names if self.on_gpu or name not in GRAPHS]

    @property
    def facts(self) -> dict[str, str | None]:
        """What a folder's results are of."""
        return {"device": self.device, "model": self.model, "checkpoint": self.checkpoint}

    def folder(self) -> Path:
        """Where results go: by the name that the driver gives the device, and what is not usual."""
        import torch

        from roofline.torch_side.measure.machine import device_name

        names = [device_name(torch.device(self.device))]
        names += [self.model] if self.model != MODEL and self.on_gpu else []
        names += [Path(self.checkpoint).name] if self.checkpoint else []
        slug = re.sub(r"[^a-z0-9.]+", "-", "-".join(names).lower()).strip("-")
        return ROOT / "reports" / f"validation-{slug}"

    def stages(self) -> list[RunStage]:
        """In the order in which one learns most, should the hour end early."""
        runs = [
            RunStage(
                f"profile-{quant}-{'all' if count is None else count}",
                self._runs(quant, count),
            )
            for quant in self.quants
            for count in self.counts
        ]
        return [
            RunStage("probe", self._probe()),
            RunStage("calibrate", self._calibration()),
            *runs,
            RunStage("reducers", self._reducers()),
            RunStage("validate", self._validation()),
        ]

    def _probe(self) -> list[Command]:
        probe = [sys.executable, "tools/gpu_probe.py"]
        tests = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests/gpu"]
        # the next stage is a whole calibration
        tests += ["-p", "no:cacheprovider", "-k", "not whole_calibration"]
        return [
            Command("probe", [*probe, self.device, "{folder}/probe.json"], "probe.json"),
            Command("tests", tests, "tests.txt", keeps_output=True),
        ]

    def _calibration(self) -> list[Command]:
        seconds = 330 * self.seconds
        return [
            self._roofline(
                "calibrate", "hardware.yaml", seconds, "--measurements", "{folder}/kernels.csv"
            )
        ]

    def _runs(self, quant: str, count: int | None) -> list[Command]:
        """Prefill in every mode, a decode step and an answer, of one prompt."""
        size = "all" if count is None else str(count)
        prompt = [] if count is None else ["--reducer", "prumerge", "--visual-tokens", str(count)]
        trace = ["--trace", f"{{folder}}/trace-{size}.json"]
        answer = ["--stage", "generate", "--output-tokens", str(self.answer)]
        looks: list[tuple[str, float, list[str], list[str]]] = [
            ("prefill", 15, self.modes(*RUN_MODES), []),
            ("decode", 10, self.modes("eager", "cuda-graph"), ["--stage", "decode"]),
            ("answer", 25, self.modes("eager", "static-graph"), answer),
        ]
        found = []
        for stage, seconds, modes, given in looks:
            for mode in modes:
                closer = ["--per-op"] if (stage, mode) == ("prefill", "eager") else []
                if closer and quant == self.quants[0]:
                    closer += trace
                name = f"{quant}-{size}-{stage}-{mode}"
                found.append(self._profile(name, quant, mode, seconds, *prompt, *given, *closer))
        return found

    def _reducers(self) -> list[Command]:
        quant = self.quants[0]
        return [
            self._profile(
                f"reducer-{name}", quant, "eager", 12,
                "--reducer", name, "--visual-tokens", str(self.kept), "--per-op",
            )
            for name in reducers.names()
        ]  # fmt: skip

    def _validation(self) -> list[Command]:
        given = ["--hw", "{folder}/hardware.yaml", "--model", self.model]
        return [
            self._roofline(
                "validate", "validation/validation.json", 240 * self.seconds, *given,
                output="{folder}/validation",
            )
        ]  # fmt: skip

    def _profile(self, name: str, quant: str, mode: str, seconds: float, *given: str) -> Command:
        run = ["--model", self.model, "--quant", quant, "--mode", mode, *given]
        if self.checkpoint:
            run += ["--checkpoint", self.checkpoint]
        return self._roofline(
            "profile", f"records/{name}.json", seconds * self.seconds, *run, name=name
        )

    def _roofline(
        self,
        command: str,
        result: str,
        seconds: float,
        *given: str,
        name: str = "",
        output: str = "",
    ) -> Command:
        argv = [sys.executable, "-m", "roofline", command, "--device", self.device]
        argv += ["--seconds", f"{seconds:g}", "-o", output or f"{{folder}}/{result}", *given]
        return Command(name or command, argv, result, resumes=True)


def claim(folder: Path, facts: Mapping[str, str | None]) -> None:
    """Make the folder one of these results, or end where it holds others."""
    file = folder / "plan.json"
    if file.exists() and (there := json.loads(file.read_text())) != facts:
        key = next(key for key in facts if there.get(key) != facts[key])
        sys.exit(f"{folder} is of another {key} ({there.get(key)}): name another folder with -o")
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(facts, indent=1) + "\n")


def set_untrusted_aside(folder: Path) -> None:
    """Records that something disturbed stay, under another name, and are measured anew."""
    for file in (folder / "records").glob("*.json"):
        if UNTRUSTED in file.read_text(encoding="utf-8"):
            file.rename(file.with_suffix(".untrusted"))


def main() -> None:
    """Run what is asked for, and say what came out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", help="Default: llava-1.5-7b; not on a GPU llava-tiny.")
    parser.add_argument("--checkpoint", help="Weights. Default: random ones, which is said.")
    parser.add_argument("--stage", action="append", help="Only these. Default: all.")
    parser.add_argument("-o", "--output", type=Path, help="Default: by the device's name.")
    parser.add_argument("--force", action="store_true", help="Begin anew what was cut off.")
    parser.add_argument("--untrusted", action="store_true", help="Measure anew what is marked so.")
    parser.add_argument("--list", action="store_true", help="Name the stages, and end.")
    options = parser.parse_args()
    plan = GpuPlan(options.device, options.model, options.checkpoint)
    stages = {stage.name: stage for stage in plan.stages()}
    if options.list:
        print("\n".join(stages))
        return
    unknown = [name for name in options.stage or () if name not in stages]
    if unknown:
        sys.exit(f"no stage {unknown[0]!r}: choose from {', '.join(stages)}")
    try:
        checked_device(options.device)
    except InputError as error:
        sys.exit(f"{error}; --device cpu tries the loop on this machine")
    # a driver that is ended ends what it runs, as one that is interrupted does
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = (options.output or plan.folder()).resolve()
    claim(folder, plan.facts)
    if options.untrusted:
        set_untrusted_aside(folder)
    failed = 0
    for name in options.stage or stages:
        failed += run_stage(stages[name], folder, limit_s=STAGE_S, anew=options.force)
        summarize_folder(folder, plan.model, list(stages.values()))
    print(f"{folder}/README.md" + (f"; {failed} commands did not end well" if failed else ""))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
