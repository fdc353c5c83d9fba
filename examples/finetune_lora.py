"""Fine-tune an LMM with LoRA while PruMerge reduces its visual tokens.

    pip install '.[profile]' peft
    python examples/finetune_lora.py
    python examples/finetune_lora.py --reducer prumerge+ --steps 100

The model is llava-tiny with random weights and the task is synthetic: name the colour of a noisy
picture. For a real run load a checkpoint in its place and take its processor's batches for
`batch_of`; `attach`, LoRA and the loop stay as they are:

    model = roofline.load_model("llava-1.5-7b", "llava-hf/llava-1.5-7b-hf", dtype="bf16")

Labels are given for the prompt as the processor writes it. They shrink along with the placeholders.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

import roofline

COLOURS = torch.tensor([[2.0, -1, -1], [-1, 2, -1], [-1, -1, 2], [2, 2, -1]])
QUESTION, ANSWERS = [11, 12, 13], [101, 102, 103, 104]
BATCH, LEARNING_RATE = 8, 1e-2
IGNORED = -100


def batch_of(model: Any, generator: torch.Generator) -> dict[str, Tensor]:
    """What a processor gives: a placeholder per patch, pixels, and labels for the answer."""
    config = model.config
    colours = torch.randint(len(COLOURS), (BATCH,), generator=generator)
    size = config.vision_config.image_size
    noise = torch.randn(BATCH, 3, size, size, generator=generator)
    image = [config.image_token_id] * (size // config.vision_config.patch_size) ** 2
    answers = torch.tensor(ANSWERS)[colours]
    prompt = torch.tensor([*image, *QUESTION]).expand(BATCH, -1)
    ids = torch.cat([prompt, answers[:, None]], dim=1)
    labels = torch.full_like(ids, IGNORED)
    labels[:, -1] = answers
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": noise + COLOURS[colours][:, :, None, None],
        "labels": labels,
    }


def with_lora(model: Any) -> Any:
    """LoRA on the LLM's attention; the connector, which sees the merged tokens, trains in full.

    So does the head, because here it is random. Leave it out for a checkpoint.
    """
    return get_peft_model(
        model,
        LoraConfig(
            r=8,
            lora_alpha=16,
            target_modules=r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj)",
            modules_to_save=["multi_modal_projector", "lm_head"],
            task_type="CAUSAL_LM",
        ),
    )


def train(reducer: str = "prumerge", steps: int = 60) -> list[float]:
    """The loss at each step."""
    torch.manual_seed(0)
    model = roofline.load_model("llava-tiny")
    model = with_lora(roofline.attach(model, reducer)).train()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for step in range(steps):
        loss = model(**batch_of(model, generator)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if step % 10 == 0 or step == steps - 1:
            print(f"step {step:3d}  loss {losses[-1]:.3f}")
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reducer", default="prumerge", help="one that needs no options")
    parser.add_argument("--steps", type=int, default=60)
    train(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
