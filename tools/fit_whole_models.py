"""Correct laws by whole models: `python tools/fit_whole_models.py FOLDER [DEVICE …]`.

FOLDER holds `vit_throughput.csv`, times of timm's vision transformers. The correction of each of
its devices goes to the device's file, `hardware/NAME.yaml`: fitted numbers, no rows.
"""

from __future__ import annotations

import argparse
import re
import textwrap
import time
from pathlib import Path

import numpy as np
from whole_models import vit_table

from roofline.fitting.whole_models import KEY, fit_whole_models
from roofline.fitting.whole_rows import whole_model_times
from roofline.specs.catalog import load_hardware
from roofline.specs.correction import Correction
from roofline.specs.writing import as_plain
from roofline.specs.yaml_text import dump

ROOT = Path(__file__).resolve().parents[1]
SOURCE = (
    "timm results/ (huggingface/pytorch-image-models, Apache-2.0), inference of vision "
    "transformers under autocast, PyTorch 2.4, CUDA 12.4; fitted numbers"
)


def with_correction(text: str, correction: Correction) -> str:
    """A device's file with that correction in it, all else as it stands."""
    section = dump({"correction": as_plain(correction)})
    text = re.sub(r"^correction:\n(?:[ ]+.*\n)+\n?", "", text, flags=re.MULTILINE)
    text = re.sub(rf"^  {KEY}:.*\n(?:    .*\n)*", "", text, flags=re.MULTILINE)
    before, _, sources = text.partition("\nsources:\n")
    cited = textwrap.fill(SOURCE, 100, initial_indent=" " * 4, subsequent_indent=" " * 4)
    return f"{before.rstrip()}\n\n{section}\nsources:\n  {KEY}: >-\n{cited}\n{sources}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("devices", nargs="*")
    given = parser.parse_args()
    table = vit_table(given.folder)
    names = list(dict.fromkeys(table["hardware"]))
    if unknown := [name for name in given.devices if name not in names]:
        parser.error(f"no whole models of {unknown[0]}; there are {', '.join(names)}")
    for name in given.devices or names:
        started = time.process_time()
        rows = whole_model_times(table[table["hardware"] == name].drop(columns="gmacs"))
        found = fit_whole_models(load_hardware(name), rows, source=SOURCE)
        correction = found.hardware.correction
        assert correction is not None
        file = ROOT / "hardware" / f"{name}.yaml"
        text = with_correction(file.read_text(encoding="utf-8"), correction)
        file.write_text(text, encoding="utf-8")
        measured = np.array([row.seconds for row in rows])
        off = 100 * np.abs(found.left_out_s / measured - 1)
        print(
            f"{name}: mean error of models left out {off.mean():.1f} %, "
            f"{time.process_time() - started:.0f} s; {correction}"
        )


if __name__ == "__main__":
    main()
