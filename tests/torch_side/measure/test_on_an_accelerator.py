"""Hot paths on an accelerator that is made up: no tensor elsewhere, and nothing waits for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from torch.utils import backend_registration

from roofline import reducers

pytestmark = pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch makes up no devices",
)
PROBE = Path(__file__).with_name("accelerator_probe.py")
BY_PICTURE = [name for name in reducers.names() if reducers.find(name).by_picture]
"""How many tokens these leave is read back, whatever count they are given."""


@pytest.fixture(scope="module")
def probed() -> dict[str, Any]:
    """Calls and faults of each stage, by the reducer's name."""
    ran = subprocess.run([sys.executable, PROBE], check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


@pytest.mark.parametrize("name", ["None", *reducers.names()])
def test_nothing_leaves_the_device_or_waits_for_it(probed: dict[str, Any], name: str) -> None:
    if name in BY_PICTURE:
        assert probed[name]["prefill"]["faults"] == ["aten::_local_scalar_dense reads back"]
        assert probed[name]["decode_step"]["faults"] == []
        return
    for stage, seen in probed[name].items():
        assert seen["faults"] == [], stage
        assert seen["calls"] > 100


def test_padding_is_not_read_back_at_every_step(probed: dict[str, Any]) -> None:
    """Sequences of different lengths, as an adaptive reducer leaves them: their mask is known."""
    for shapes in ("padded", "static padded"):
        assert probed[shapes]["decode_step"]["faults"] == []
        assert probed[shapes]["prefill"]["faults"] == ["aten::_local_scalar_dense reads back"]


def test_static_shapes_neither(probed: dict[str, Any]) -> None:
    """A graph could not hold what waits, and would hold the address of what lies elsewhere."""
    for stage, seen in probed["static"].items():
        assert seen["faults"] == [], stage
        assert seen["calls"] > 100


def test_kernels_of_a_calibration_neither(probed: dict[str, Any]) -> None:
    kernels = probed["kernels"]

    assert {name.split()[0] for name in kernels} == {
        *("copy", "read", "write", "launch", "arithmetic", "matmul", "attention", "pointwise")
    }
    assert len([name for name in kernels if name.startswith("pointwise")]) == 9
    assert {name: seen["faults"] for name, seen in kernels.items() if seen["faults"]} == {}
    assert all(seen["calls"] for seen in kernels.values())


def test_the_probe_sees_what_it_is_there_for() -> None:
    """A tensor left on the host, one copied over, and a value that is read."""
    program = f"""
import sys
sys.path.insert(0, {str(PROBE.parent)!r})
import torch, accelerator_probe as probe
from torch.utils import backend_registration
backend_registration._setup_privateuseone_for_python_backend(probe.DEVICE)
mode = probe.FakeTensorMode()
with mode, probe.Watch() as watch:
    here = torch.ones(3, device=probe.DEVICE)
    torch.ones(3).to(probe.DEVICE)
    here.cpu()
    try:
        here.sum().item()
    except probe.DataDependentOutputException:
        pass
print(watch.faults)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert "aten::_to_copy on ['cpu', 'madeup']" in ran.stdout
    assert "aten::_local_scalar_dense reads back" in ran.stdout
