"""`load_model`: a spec as a running Hugging Face model, with its checkpoint or random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from roofline.errors import InputError, SpecError, UnsupportedModeError
from roofline.specs.catalog import load_model as load_spec
from roofline.specs.catalog import load_quantization, where
from roofline.specs.models import Lmm
from roofline.torch_side.families import Family, families
from roofline.torch_side.low_bit import low_bit_kernel, low_bit_modes

SEED = 0
_INITIAL_STD = 0.02

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
AttentionImplementation = Literal["sdpa", "flash_attention_2", "eager"]
ATTENTION_KERNELS: dict[str, AttentionImplementation] = {
    "sdpa": "sdpa",
    "flash": "flash_attention_2",
    "eager": "eager",
}
"""Names on the command line → in transformers."""


class LoadError(InputError):
    """A checkpoint that is missing, damaged, or not of the model that was named."""


def load_model(
    model: str | Lmm,
    checkpoint: str | Path | None = None,
    *,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device = "cpu",
    quant: str | None = None,
    attention: AttentionImplementation = "sdpa",
    seed: int = SEED,
) -> Any:
    """Build an LMM for inference on a device.

    checkpoint: a Hugging Face id or folder whose weights are loaded; without one the weights are
        random, of the shapes in the spec, and for one seed and kind of device the same in any
        dtype, but for its rounding.
    dtype: `fp32`, `fp16`, `bf16` or a torch dtype; left out, that of `quant`, else fp16 on an
        accelerator and fp32 on a CPU.
    quant: a mode of `roofline.load_quantization`. fp32, fp16 and bf16 set the dtype; w8a16,
        w8a8kv16 and w4a16 quantize the LLM's linear layers, where PyTorch has kernels for them.
    attention: `sdpa`, `eager` or `flash_attention_2`, as in transformers.

    Raises UnknownNameError, SpecError, LoadError, UnsupportedModeError.
    """
    spec = load_spec(model)
    if not isinstance(spec, Lmm):
        raise SpecError(where(spec), [("kind", "only an lmm can be loaded and run")])
    if attention not in ATTENTION_KERNELS.values():
        known = ", ".join(ATTENTION_KERNELS.values())
        raise UnsupportedModeError(f"unknown attention {attention!r}: choose one of {known}")
    family = families.find(spec.architecture)
    torch_device = checked_device(device)
    quantize = quantizer(quant, torch_device)
    number = _dtype(dtype, quant, torch_device)
    try:
        if checkpoint is None:
            built = _random(family, spec, number, torch_device, attention, seed)
        else:
            built = _pretrained(family, spec, checkpoint, number, attention).to(torch_device)
    except ImportError as error:  # of an attention kernel
        raise UnsupportedModeError(f"{_first_line(error)} Use sdpa or eager attention.") from None
    if quantize is not None:
        quantize(family.decoder(built).module)
    return built.eval()


def _random(
    family: Family,
    spec: Lmm,
    dtype: torch.dtype,
    device: torch.device,
    attention: str,
    seed: int,
) -> Any:
    """Seeded normal weights made on the device itself: 7B parameters take seconds, not minutes."""
    model_class = family.model_class()  # torch 2.7 cannot import it under another device
    with torch.device("meta"):
        model = model_class(family.config_of(spec, attention))
    types = {name: buffer.dtype for name, buffer in model.named_buffers()}
    model = model.to(dtype).to_empty(device=device)
    for name, kept in types.items():  # angles stay in fp32, whatever the weights are in
        owner, _, own = name.rpartition(".")
        module = model.get_submodule(owner)
        setattr(module, own, getattr(module, own).to(kept))
    generator = torch.Generator(device).manual_seed(seed)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        _restore_buffers(model)
        for name, weight in model.named_parameters():
            if weight.ndim > 1 or "embedding" in name:
                drawn = torch.empty(weight.shape, device=device)
                weight.copy_(drawn.normal_(0.0, _INITIAL_STD, generator=generator))
            else:  # norms start at one, biases at zero
                weight.fill_(1.0 if name.endswith("weight") else 0.0)
    model.tie_weights()
    return model


def _restore_buffers(module: nn.Module, init: Callable[[nn.Module], None] | None = None) -> None:
    """Rotary frequencies, scales and position ids, which `to_empty` leaves undefined.

    Each class of transformers sets those that no checkpoint holds as it initialises its weights.
    """
    init = getattr(module, "_init_weights", init)
    if module._non_persistent_buffers_set and init is not None:
        init(module)
    for child in module.children():
        _restore_buffers(child, init)


def _pretrained(
    family: Family, spec: Lmm, checkpoint: str | Path, dtype: torch.dtype, attention: str
) -> Any:
    """Real weights. Raises LoadError for what is missing or does not match the spec."""
    import transformers

    if not Path(checkpoint).is_dir() and _is_path(checkpoint):
        raise LoadError(f"there is no folder {checkpoint}")
    name = str(checkpoint)
    try:
        config = transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
        differences = _differences(family, spec, config)
        if differences:
            more = f"; {len(differences) - 2} more differences" if len(differences) > 2 else ""
            raise LoadError(f"{name} is not a {spec.name}: {'; '.join(differences[:2])}{more}")
        model, report = family.model_class().from_pretrained(
            name,
            dtype=dtype,
            attn_implementation=family.attention_of(config.text_config, attention),
            ignore_mismatched_sizes=True,  # so that the report says which
            output_loading_info=True,
            trust_remote_code=False,  # else its own code is run, if whoever is asked says yes
        )
    except (LoadError, torch.OutOfMemoryError):
        raise
    except ImportError as error:
        if attention != "sdpa":
            raise
        raise LoadError(f"cannot load {name}: {_first_line(error)}") from None
    except Exception as error:  # whatever a file of others makes transformers trip over
        raise LoadError(f"cannot load {name}: {_first_line(error)}") from None
    if report["mismatched_keys"]:
        key, got, wanted = min(report["mismatched_keys"])
        raise LoadError(
            f"the weights of {name} do not match its config: {key} is {list(got)}, "
            f"the config has {list(wanted)}"
        )
    if report["missing_keys"]:
        some = ", ".join(sorted(report["missing_keys"])[:3])
        raise LoadError(f"{name} lacks {len(report['missing_keys'])} weights, such as {some}")
    return model


def _is_path(checkpoint: str | Path) -> bool:
    """Whether it cannot be an id on the hub: those are NAME or OWNER/NAME."""
    text = str(checkpoint)
    return isinstance(checkpoint, Path) or text.startswith((".", "/", "~")) or text.count("/") > 1


def _differences(family: Family, spec: Lmm, actual: Any) -> list[str]:
    """In what a checkpoint's config departs from the spec's: class, or sizes."""
    expected = family.config_of(spec)
    if actual.model_type != expected.model_type:
        return [f"it holds a {actual.model_type} model, the spec describes {expected.model_type}"]
    found = []
    for part, names in family.sizes.items():
        for name in names:
            wanted = getattr(getattr(expected, part), name)
            got = getattr(getattr(actual, part), name, None)
            if wanted != got:
                found.append(f"{part}.{name} is {got}, the spec has {wanted}")
    return found


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def checked_device(device: str | torch.device | None) -> torch.device:
    """A device that is there; None for an accelerator if there is one, else the CPU.

    Raises UnsupportedModeError.
    """
    if device is None:
        return torch.device(default_device())
    try:
        torch_device = torch.device(device)
    except RuntimeError:
        raise UnsupportedModeError(
            f"unknown device {device!r}: cpu, cuda, cuda:N, mps or xpu"
        ) from None
    if (torch_device.index or 0) >= _devices(torch_device.type):
        raise UnsupportedModeError(
            f"there is no {torch_device} here: use device {default_device()}"
        )
    return torch_device


def _devices(kind: str) -> int:
    """How many of a kind torch can compute on."""
    if kind == "cpu":
        return 1
    if kind == "cuda":
        return torch.cuda.device_count()
    return torch.accelerator.device_count() if kind == default_device() else 0


def default_device() -> str:
    """An accelerator that torch can use, else the CPU."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return "cpu" if accelerator is None else accelerator.type


def _dtype(dtype: str | torch.dtype | None, quant: str | None, device: torch.device) -> torch.dtype:
    """What weights are stored in. Raises UnsupportedModeError for one unknown or contradicted."""
    if isinstance(dtype, str) and dtype not in DTYPES:
        raise UnsupportedModeError(f"unknown dtype {dtype!r}: choose one of {', '.join(DTYPES)}")
    requested = DTYPES[dtype] if isinstance(dtype, str) else dtype
    if quant is None:
        return requested or (torch.float32 if device.type == "cpu" else torch.float16)
    implied = DTYPES.get(load_quantization(quant).name)
    if requested and implied and requested != implied:
        raise UnsupportedModeError(f"quant {quant} and dtype {dtype} contradict each other")
    return requested or implied or torch.bfloat16


def quantizer(quant: str | None, device: torch.device) -> Callable[[nn.Module], None] | None:
    """What quantizes the LLM's linear layers. Raises UnsupportedModeError if nothing here can."""
    name = None if quant is None else load_quantization(quant).name
    if name is None or name in DTYPES:
        return None
    try:
        return low_bit_kernel(name, device).quantize
    except UnsupportedModeError as error:
        served = ", ".join([*DTYPES, *low_bit_modes(device)])
        raise UnsupportedModeError(f"{error}; real weights run in {served}") from None
