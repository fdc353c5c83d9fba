"""Vector ops that nobody measured, from what the A100 shows."""

from __future__ import annotations

from msgspec.structs import replace

from roofline.device.typical_vector import ELEMENTWISE, typical_vector_laws
from roofline.specs.catalog import load_hardware


def test_shares_are_of_the_devices_own_figures() -> None:
    a100, h100 = (typical_vector_laws(load_hardware(name), 4.0) for name in ("a100", "h100"))

    assert set(a100) == {"default", *ELEMENTWISE}
    for name, law in a100.items():
        assert law.origin == "typical"
        assert h100[name].bandwidth_gb_per_s / law.bandwidth_gb_per_s == 3350 / 2039
        assert h100[name].launch_us == law.launch_us < 4.0
    # an addition runs near DRAM's bandwidth, ops that compute at less than half
    assert a100["residual"].bandwidth_gb_per_s > 2 * a100["default"].bandwidth_gb_per_s


def test_a_device_without_a_cache_has_none() -> None:
    bare = replace(load_hardware("a100"), l2_cache_mib=None)
    assert all(law.cache_mib is None for law in typical_vector_laws(bare, 4.0).values())
