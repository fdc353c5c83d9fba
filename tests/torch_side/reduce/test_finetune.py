"""Training with a reducer attached: gradients reach what was kept and merged, and losses fall."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import roofline
from roofline import reducers

Prompts = Callable[..., dict[str, Tensor]]

PATCHES, IMAGE = 36, 500
EXAMPLE = Path(__file__).parents[3] / "examples" / "finetune_lora.py"
OPTIONS: dict[str, dict[str, Any]] = {
    name: {} if reducers.find(name).site == "llm" else {"count": 12} for name in reducers.names()
} | {"prumerge": {}, "prumerge+": {}}


def labelled(given: dict[str, Tensor]) -> dict[str, Tensor]:
    ids, mask = given["input_ids"], given["attention_mask"]
    return {**given, "labels": torch.where((ids == IMAGE) | (mask == 0), -100, ids)}


@pytest.mark.parametrize("name", OPTIONS)
def test_steps_lower_the_loss(llava: Any, prompts: Prompts, name: str) -> None:
    given = labelled(prompts(llava, ["ttittt", "tittt"], "right"))
    roofline.attach(llava, name, **OPTIONS[name]).train()
    optimizer = torch.optim.SGD(llava.parameters(), lr=0.02)

    losses = []
    for _ in range(4):
        loss = llava(**given).loss
        loss.backward()
        losses.append(float(loss.detach()))
        for weight in (
            llava.model.vision_tower.embeddings.patch_embedding.weight,
            llava.model.vision_tower.encoder.layers[2].mlp.fc2.weight,
            llava.model.multi_modal_projector.linear_1.weight,
            llava.model.language_model.layers[0].self_attn.q_proj.weight,
        ):
            assert weight.grad.isfinite().all()
            assert weight.grad.any()
        optimizer.step()
        optimizer.zero_grad()

    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize(
    ("name", "options", "reached"),
    [
        ("prumerge", {"count": 4}, PATCHES),  # the extra token is made of all that are not kept
        ("sequential", {"count": 4}, 4),
        ("divprune", {"count": 4}, 4),
    ],
)
def test_gradients_reach_kept_and_merged_patches_and_no_others(
    llava: Any, prompts: Prompts, name: str, options: dict[str, Any], reached: int
) -> None:
    features: list[Tensor] = []

    def keep(module: Any, args: Any, output: Tensor) -> None:
        output.retain_grad()
        features.append(output)

    llava.model.vision_tower.encoder.layers[2].register_forward_hook(keep)
    roofline.attach(llava, name, **options).train()

    llava(**labelled(prompts(llava, ["tittt"]))).loss.backward()

    assert features[0].grad[0, 1:].any(dim=-1).sum() == reached


def test_the_gradient_is_the_slope_of_the_loss(llava: Any, prompts: Prompts) -> None:
    """Along a random direction of the connector's bias, by central differences."""
    llava.double()
    given = labelled(prompts(llava, ["ttittt"]))
    given["pixel_values"] = given["pixel_values"].double()
    roofline.attach(llava, "prumerge")
    bias = llava.model.multi_modal_projector.linear_1.bias
    direction = torch.randn(bias.shape, generator=torch.Generator().manual_seed(0)).double()

    llava(**given).loss.backward()
    losses = []
    for step in (1e-2, -1e-2):
        with torch.no_grad():
            bias += step * direction
            losses.append(llava(**given).loss)
            bias -= step * direction

    slope = (losses[0] - losses[1]) / 2e-2
    # transformers computes losses in fp32
    assert float(bias.grad @ direction) == pytest.approx(float(slope), rel=1e-2)
    assert abs(slope) > 1e-3


@pytest.mark.parametrize("name", ["prumerge", "tome"])
def test_gradients_are_the_same_with_checkpointing(llava: Any, prompts: Prompts, name: str) -> None:
    given = labelled(prompts(llava, ["ttitt", "ittt"]))
    roofline.attach(llava, name).train()

    def gradient() -> Tensor:
        llava.zero_grad()
        llava(**given, use_cache=False).loss.backward()
        return llava.model.vision_tower.encoder.layers[0].mlp.fc1.weight.grad.clone()

    expected = gradient()
    llava.gradient_checkpointing_enable({"use_reentrant": False})

    torch.testing.assert_close(gradient(), expected)


class TestPeft:
    @pytest.fixture
    def peft(self) -> Any:
        return pytest.importorskip("peft")

    @pytest.fixture
    def example(self, peft: Any) -> Any:
        spec = importlib.util.spec_from_file_location("finetune_lora", EXAMPLE)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    @pytest.mark.parametrize("reducer", ["prumerge", "fastv"])
    def test_the_example_learns(self, example: Any, reducer: str) -> None:
        losses = example.train(reducer, steps=25)

        assert losses[-1] < 0.2 * losses[0]

    @pytest.mark.parametrize("name", ["prumerge", "fastv"])
    def test_before_or_after_the_wrapper_is_the_same(
        self, llava: Any, prompts: Prompts, example: Any, name: str
    ) -> None:
        given = prompts(llava, ["ttitt", "titt"])
        wrapped = example.with_lora(roofline.attach(llava, name))
        for part, weight in wrapped.named_parameters():
            if "lora_B" in part:
                torch.nn.init.normal_(weight, std=0.3)
        wrapped.eval()

        before = wrapped(**given).logits
        written = wrapped.generate(**given, max_new_tokens=4)
        assert roofline.detach(wrapped) is wrapped
        whole = wrapped(**given).logits
        assert roofline.attach(wrapped, name) is wrapped

        assert torch.equal(wrapped(**given).logits, before)
        assert torch.equal(wrapped.generate(**given, max_new_tokens=4), written)
        assert torch.equal(written[:, : given["input_ids"].shape[1]], given["input_ids"])
        assert whole.shape[1] == given["input_ids"].shape[1]

    def test_only_the_adapter_is_saved(self, llava: Any, example: Any, tmp_path: Path) -> None:
        wrapped = example.with_lora(roofline.attach(llava, "prumerge"))

        wrapped.save_pretrained(tmp_path)

        assert (tmp_path / "adapter_model.safetensors").exists()
        assert not (tmp_path / "model.safetensors").exists()
