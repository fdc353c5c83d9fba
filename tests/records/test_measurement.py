"""Records: what is written comes back, and what is no record is refused in a line."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from roofline.records.measurement import (
    FORMAT,
    Record,
    RecordError,
    TimedSpan,
    load_record,
    spec_hashes,
)
from roofline.report.text.record import render_record
from roofline.report.text.record_comparison import render_comparison
from roofline.specs.catalog import load_hardware, load_model

Made = Callable[..., Record]


def written(document: Any, folder: Path) -> Path:
    file = folder / "record.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    return file


def test_what_is_written_comes_back(record: Made, tmp_path: Path) -> None:
    whole = record(warnings=["noisy"], notes=["no NVML"], estimate={"llm": {"flops": 1.5}})
    file = tmp_path / "record.json"
    file.write_bytes(whole.to_json())

    assert load_record(file) == whole
    assert load_record(file).to_json() == file.read_bytes()


def test_a_partial_record_comes_back(record: Made, tmp_path: Path) -> None:
    part = record(complete=False, host=None, ops=[], peak_memory_bytes=None, estimate=None)
    file = tmp_path / "record.json"
    file.write_bytes(part.to_json())

    assert load_record(file) == part


def test_the_file_holds_statistics_for_other_readers(record: Made) -> None:
    document = json.loads(record().to_json())

    for given in document["spans"].values():
        samples, found = given["samples_s"], given["statistics"]
        assert found["count"] == len(samples) == 10
        assert found["p50_s"] == statistics.median(samples)
        assert found["p10_s"] == pytest.approx(np.quantile(samples, 0.1))
        assert found["p90_s"] == pytest.approx(np.quantile(samples, 0.9))
    llm = document["spans"]["llm"]
    assert llm["flops_per_s"] == pytest.approx(1.04e12 / 4e-3)
    assert llm["bytes_per_s"] == pytest.approx(1.42e10 / 4e-3)
    assert llm["roofline_share"] == pytest.approx(0.75)
    assert llm["attainable_error"] == pytest.approx(0.025)
    assert document["host"]["kernels"] == 1234


def test_what_is_derived_is_not_read(record: Made, tmp_path: Path) -> None:
    document = json.loads(record().to_json())
    document["spans"]["llm"]["statistics"]["p50_s"] = 9.0

    assert load_record(written(document, tmp_path)).spans["llm"].summary.p50_s == 4e-3


def test_nothing_is_derived_from_what_nobody_knows() -> None:
    span = TimedSpan(samples_s=[1.0])

    assert (span.flops_per_s, span.roofline_share, span.attainable_error) == (None, None, None)


def test_a_time_of_zero_has_no_rate() -> None:
    span = TimedSpan(samples_s=[0.0], flops=1.0, roofline_time_s=1.0, attainable_time_s=1.0)

    assert (span.flops_per_s, span.roofline_share, span.attainable_error) == (None, None, None)


def test_components_are_all_but_the_whole(record: Made) -> None:
    assert list(record().components) == ["vision", "reducer", "llm"]
    assert record().whole is not record().spans["llm"]
    with pytest.raises(RecordError, match="lacks `whole`"):
        record(spans=record().components)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no valid JSON"),
        (b"\xff\xfe", "no valid JSON"),
        (b"[" * 100_000, "no valid JSON"),
        (b"[]", "is no record"),
        (b'"text"', "is no record"),
        (b"{}", "is no record"),
        (b'{"roofline_record": "1"}', "is no record"),
        (b'{"roofline_record": true}', "is no record"),
        (b'{"roofline_record": 0}', "is no record"),
        (b'{"roofline_record": 2}', "damaged record"),
    ],
)
def test_what_is_no_record(content: bytes, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    file.write_bytes(content)
    with pytest.raises(RecordError, match=reason) as raised:
        load_record(file)

    assert "other.json" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_newer_record_asks_for_a_newer_roofline(record: Made, tmp_path: Path) -> None:
    document = json.loads(record().to_json()) | {"roofline_record": FORMAT + 1, "spans": "else"}
    with pytest.raises(RecordError, match=f"record format {FORMAT + 1}.*upgrade roofline"):
        load_record(written(document, tmp_path))


def test_an_older_record_is_to_be_measured_again(record: Made, tmp_path: Path) -> None:
    """Its op times had another name: it is not taken for a damaged one."""
    document = json.loads(record().to_json()) | {"roofline_record": FORMAT - 1, "ops": [{}]}
    with pytest.raises(RecordError, match=f"record format {FORMAT - 1}.*measure again"):
        load_record(written(document, tmp_path))


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_record_that_was_cut_off(share: float, record: Made, tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    content = record().to_json()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(RecordError, match="was it cut off"):
        load_record(file)


@pytest.mark.parametrize("file", ["missing.json", "."])
def test_a_file_that_cannot_be_read(file: str, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="cannot read"):
        load_record(tmp_path / file)


@pytest.mark.parametrize("samples", [[], [-1.0], ["1"], None])
def test_samples_are_times(samples: Any, record: Made, tmp_path: Path) -> None:
    document = json.loads(record().to_json())
    document["spans"]["llm"]["samples_s"] = samples
    with pytest.raises(RecordError, match=r"damaged record.*samples_s"):
        load_record(written(document, tmp_path))


@pytest.mark.parametrize(
    "name", ["model", "visual_tokens", "batch", "stage", "reducer", "hardware", "mode", "seed"]
)
def test_inputs_that_lack_something(name: str, record: Made, tmp_path: Path) -> None:
    document = json.loads(record().to_json())
    del document["inputs"][name]
    with pytest.raises(RecordError, match=f"damaged record.*`inputs` lacks {name}"):
        load_record(written(document, tmp_path))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("model", None, "is a name, not None"),
        ("visual_tokens", "40", "is a whole number, not '40'"),
        ("batch", 1.5, "is a whole number, not 1.5"),
        ("seed", True, "is a whole number, not True"),
        ("reducer", 7, "is a name or null, not 7"),
        ("image", ["a"], "is a name or null, not"),
    ],
)
def test_inputs_of_the_wrong_kind(
    name: str, value: Any, words: str, record: Made, tmp_path: Path
) -> None:
    document = json.loads(record().to_json())
    document["inputs"][name] = value
    with pytest.raises(RecordError, match=rf"damaged record.*`inputs\.{name}` {words}"):
        load_record(written(document, tmp_path))


def damages(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values, but of one in a list."""
    items: Any = ()
    if isinstance(document, dict):
        items = document.items()
    elif isinstance(document, list):
        items = list(enumerate(document))[:1]
    for key, value in items:
        yield (*path, key)
        yield from damages(value, (*path, key))


@pytest.mark.parametrize("damage", [lambda owner, key: owner.pop(key), dict.__setitem__])
def test_any_damage_is_noticed_or_harmless(damage: Any, record: Made, tmp_path: Path) -> None:
    """Whatever is taken out or replaced: a line says so, or the rest is still shown."""
    content = record().to_json()
    refused = 0
    for path in damages(json.loads(content)):
        document = json.loads(content)
        owner = document
        for key in path[:-1]:
            owner = owner[key]
        if damage is dict.__setitem__:
            owner[path[-1]] = {"what": "ever"}
        else:
            owner.pop(path[-1])
        try:
            loaded = load_record(written(document, tmp_path))
        except RecordError:
            refused += 1
            continue
        render_record(loaded, "table")
        render_comparison(["this"], [loaded], "md")
    assert refused > 30


def test_the_hash_is_that_of_the_content() -> None:
    model, hardware = load_model("llava-tiny"), load_hardware("h200")
    hashes = spec_hashes([model, hardware])

    assert list(hashes) == ["llava-tiny", "h200"]
    assert hashes == spec_hashes([load_model("llava-tiny"), load_hardware("h200-sxm")])
    content = msgspec.json.encode(model, order="sorted")
    assert hashes["llava-tiny"] == hashlib.sha256(content).hexdigest()
    assert spec_hashes([msgspec.structs.replace(model, title="else")]) != spec_hashes([model])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spans", "whole", "flops"), -1.0),
        (("spans", "whole", "memory_access_bytes"), 1e308),
        (("spans", "whole", "roofline_time_s"), -1e-3),
        (("spans", "whole", "samples_s"), [1e-300] * 7),
        (("spans", "whole", "samples_s"), [1e308] * 7),
        (("host", "wall_s"), 0.0),
        (("host", "kernels"), -1),
        (("peak_memory_bytes",), -1.0),
        (("telemetry", "energy_j"), 1e308),
        (("environment", "device_memory_bytes"), 1e308),
        (("environment", "threads"), 10**30),
        (("inputs", "batch"), 0),
        (("inputs", "visual_tokens"), -5),
        (("inputs", "text_tokens"), 10**400),
    ],
    ids=str,
)
def test_no_absurd_number_is_believed(
    path: tuple[str, ...], value: Any, record: Made, tmp_path: Path
) -> None:
    document = json.loads(record().to_json())
    *outer, last = path
    place = document
    for key in outer:
        place = place[key]
    place[last] = value

    with pytest.raises(RecordError, match="damaged record") as raised:
        load_record(written(document, tmp_path))
    assert len(str(raised.value)) < 500
