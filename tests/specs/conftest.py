"""What the spec tests share: a catalog without the user's folders, and files to break."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

SpecWriter = Callable[..., Path]


@pytest.fixture(autouse=True)
def no_user_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROOFLINE_PATH", raising=False)


@pytest.fixture
def device() -> dict[str, object]:
    """The fewest fields that make a device."""
    return {
        "name": "toy",
        "title": "Toy",
        "vendor": "Nobody",
        "architecture": "none",
        "kind": "gpu",
        "memory_capacity_gib": {"value": 1, "source": "here"},
        "memory_bandwidth_gb_per_s": {"value": 10, "source": "here"},
        "matmul_peaks": {"fp16_tflops": {"value": 2, "source": "here"}},
        "vector_peak_fp32_tflops": {"value": 1, "source": "here"},
        "sources": {"here": "made up for a test"},
    }


@pytest.fixture
def language_model() -> dict[str, object]:
    """The fewest fields that make a language model."""
    return {
        "kind": "language-model",
        "name": "toy-lm",
        "title": "Toy LM",
        "source": "made up for a test",
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "vocab_size": 10,
    }


@pytest.fixture
def write_spec(tmp_path: Path) -> SpecWriter:
    """Write data as YAML, or text and bytes as they are; return the file."""

    def write(content: dict[str, object] | str | bytes, name: str = "toy.yaml") -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            text = content if isinstance(content, str) else yaml.safe_dump(content)
            file.write_text(text, encoding="utf-8")
        return file

    return write
