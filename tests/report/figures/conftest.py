"""Studies to draw: devices with laws of attained time and without, records, accuracies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from roofline.record import Record
from roofline.specs.attained import Attained, AttentionLaw, MatmulLaw, Tile, VectorLaw
from roofline.specs.catalog import load_hardware
from roofline.specs.figures import Figure
from roofline.specs.hardware import Hardware
from roofline.study import Measured, Study, study

FIT: dict[str, Any] = {"rows": 1, "median_error_percent": 5.0, "p90_error_percent": 20.0}
LAWS = Attained(
    origin="measured",
    source="test",
    date="2026-01-01",
    conditions="made up",
    matmul={
        "bf16": MatmulLaw(
            **FIT,
            launch_us=2.0,
            tiles=(Tile(rows=64, columns=64, efficiency=0.5),),
            bandwidth_fraction=0.5,
        )
    },
    attention={
        "bf16": AttentionLaw(
            **FIT,
            launch_us=3.0,
            block_us=1.0,
            efficiency=0.4,
            head_dim_power=0.5,
            longest_share=0.0,
            fill_keys=0.0,
            bandwidth_fraction=0.5,
        )
    },
    vector={"default": VectorLaw(**FIT, launch_us=1.0, bandwidth_gb_per_s=900.0)},
)
MODEL = "llava-1.5-7b"
SIX = ("v100", "t4", "a100", "l40s", "h200", "b200")


def bare(name: str) -> Hardware:
    """A device whose only time is the bound."""
    return replace(load_hardware(name), attained=None, attained_like=None)


def lawful(name: str = "a100-80gb") -> Hardware:
    """A device that attains half of its peaks or less, with an L2 roof."""
    spec = load_hardware(name)
    return replace(
        spec,
        attained=LAWS,
        attained_like=None,
        l2_bandwidth_gb_per_s=Figure(value=5500.0, source="test"),
        sources={**spec.sources, "test": "made up"},
    )


@pytest.fixture(scope="session")
def one() -> Study:
    """One device, without laws."""
    return study([MODEL], [bare("v100")], visual_tokens=[40])


@pytest.fixture(scope="session")
def attainable() -> Study:
    """With laws."""
    return study([MODEL], [lawful()], visual_tokens=[40])


@pytest.fixture(scope="session")
def priced() -> Study:
    """With published accuracies."""
    models = [MODEL, "llava-1.5-13b", "video-llava-7b"]
    return study(models, [bare("h200")], with_accuracy=True)


@pytest.fixture(scope="session")
def scored() -> Study:
    """With those of a video model alone."""
    return study(["video-llava-7b"], [bare("h200")], with_accuracy=True)


@pytest.fixture(scope="session")
def studies(one: Study, attainable: Study, priced: Study) -> dict[str, Study]:
    """What pages have to hold."""
    devices = [bare(name) if i % 2 else lawful(name) for i, name in enumerate(SIX)]
    return {
        "one": one,
        "attainable": attainable,
        "accuracy": priced,
        "six": study([MODEL, "llava-1.5-13b"], devices, visual_tokens=[40, 144, 576]),
        "two hundred ops": study([MODEL], [lawful()], visual_tokens=[144], reducers=["tome"]),
        "two hundred prompts": study([MODEL], [bare("h200")], visual_tokens=range(2, 402, 2)),
        "text": study(["llama-3-8b"], [bare("h200")]),
        "vision": study(["clip-vit-l-336"], [bare("t4")]),
    }


@pytest.fixture
def recorded(record: Callable[..., Record]) -> Study:
    """With a record of this very configuration."""
    return study(
        [MODEL], [bare("h200")], visual_tokens=[40], records=[Measured("r.json", record())]
    )
