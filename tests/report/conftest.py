"""Studies to draw: devices with laws of attainable time and without, records, accuracies."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from made_up import bare, figure, lawful, toy_laws

from roofline.explore.study import MeasuredRun, Study, study
from roofline.records.measurement import Record
from roofline.specs.hardware import Hardware

MODEL = "llava-1.5-7b"
MORE = ("rtx-4090", "a40", "l4")
SIX = ("v100", "t4", "a100", "l40s", "h200", "b200")


def halved(name: str = "a100-80gb") -> Hardware:
    """A device that attains half of its peaks or less, with an L2 roof."""
    laws = toy_laws("bf16", tile=64, vector_gb_per_s=900.0, errors_percent=(5.0, 20.0))
    return lawful(name, laws, l2_bandwidth_gb_per_s=figure(5500.0))


@pytest.fixture(scope="session")
def one() -> Study:
    """One device, without laws."""
    return study(model=[MODEL], hardware=[bare("v100")], visual_tokens=[40])


@pytest.fixture(scope="session")
def attainable() -> Study:
    """With laws."""
    return study(model=[MODEL], hardware=[halved()], visual_tokens=[40])


@pytest.fixture(scope="session")
def priced() -> Study:
    """With published accuracies."""
    models = [MODEL, "llava-1.5-13b", "video-llava-7b"]
    return study(model=models, hardware=[bare("h200")], with_accuracy=True)


@pytest.fixture(scope="session")
def scored() -> Study:
    """With those of a video model alone."""
    return study(model=["video-llava-7b"], hardware=[bare("h200")], with_accuracy=True)


@pytest.fixture(scope="session")
def studies(one: Study, attainable: Study, priced: Study) -> dict[str, Study]:
    """What pages have to hold."""
    devices = [bare(name) if i % 2 else halved(name) for i, name in enumerate(SIX)]
    return {
        "one": one,
        "attainable": attainable,
        "accuracy": priced,
        "crowded": study(
            model=[MODEL, "llava-1.5-13b"],
            hardware=[bare("rtx-4090"), bare("h200")],
            with_accuracy=True,
        ),
        "nine": study(
            model=[MODEL], hardware=[bare(name) for name in (*SIX, *MORE)], visual_tokens=[40]
        ),
        "six": study(
            model=[MODEL, "llava-1.5-13b"], hardware=devices, visual_tokens=[40, 144, 576]
        ),
        "two hundred ops": study(
            model=[MODEL], hardware=[halved()], visual_tokens=[144], reducer=["tome"]
        ),
        "two hundred prompts": study(
            model=[MODEL], hardware=[bare("h200")], visual_tokens=range(2, 402, 2)
        ),
        "text": study(model=["llama-3-8b"], hardware=[bare("h200")]),
        "with text": study(model=[MODEL, "llama-3-8b"], hardware=[bare("h200")]),
        "vision": study(model=["clip-vit-l-336"], hardware=[bare("t4")]),
    }


@pytest.fixture
def recorded(record: Callable[..., Record]) -> Study:
    """With a record of this very prompt."""
    return study(
        model=[MODEL],
        hardware=[bare("h200")],
        visual_tokens=[40],
        records=[MeasuredRun("r.json", record())],
    )
