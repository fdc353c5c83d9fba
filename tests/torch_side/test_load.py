"""`load_model`: what a spec says, seeded or from a checkpoint; clear words where it cannot be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlamaForCausalLM

import roofline
from roofline.errors import InputError, UnknownNameError
from roofline.specs.catalog import all_models, load_component, load_model
from roofline.specs.models import LanguageModel, Lmm, VisionEncoder
from roofline.torch_side.families import Family, families
from roofline.torch_side.low_bit import EightBitProducts, EightBitWeights, FourBitWeights

LMMS = [
    spec.name
    for spec in all_models()
    if isinstance(spec, Lmm) and spec.architecture in families and spec.image_tokens is None
]
"""Those that a family builds: Pixtral, too, calls itself llava, and has another tower."""
TINY = [name for name in LMMS if name.endswith("-tiny")]


def spec_of(name: str) -> Lmm:
    spec = load_model(name)
    assert isinstance(spec, Lmm)
    return spec


def built_by(name: str) -> Family:
    return families.find(spec_of(name).architecture)


def same(left: Any, right: Any) -> bool:
    a, b = left.state_dict(), right.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class TestRandomWeights:
    @pytest.mark.parametrize("name", TINY)
    def test_it_is_the_model_of_the_spec(self, name: str) -> None:
        model, spec = roofline.load_model(name), spec_of(name)
        vision, llm = (
            load_component(spec.vision, VisionEncoder),
            load_component(spec.llm, LanguageModel),
        )

        family = built_by(name)
        assert type(model) is family.model_class()
        assert not model.training
        assert model.config.image_token_id == spec.image_token_index
        assert model.get_input_embeddings().weight.shape == (llm.vocab_size, llm.hidden_size)
        towers = [visual.tower for visual in family.inputs(model)]
        assert len(towers) == spec.vision_towers
        for tower in towers:
            assert (tower.blocks, tower.tokens) == (vision.num_hidden_layers, vision.tokens)

    @pytest.mark.parametrize("name", LMMS)
    def test_it_has_the_weights_that_the_analysis_counts(self, name: str) -> None:
        family = built_by(name)
        with torch.device("meta"):
            model = family.model_class()(family.config_of(spec_of(name)))

        estimate = roofline.analyze(name, "v100", quant="fp32")

        assert estimate.end_to_end.weight_bytes == 4 * sum(p.numel() for p in model.parameters())

    def test_a_seed_makes_the_same_weights(self) -> None:
        model = roofline.load_model("llava-tiny", seed=3)

        assert same(model, roofline.load_model("llava-tiny", seed=3))
        assert not same(model, roofline.load_model("llava-tiny", seed=4))

    @pytest.mark.parametrize("dtype", ["fp16", "bf16", torch.bfloat16, torch.float64])
    def test_other_dtypes_hold_the_same_weights_rounded(self, dtype: Any) -> None:
        model = roofline.load_model("llava-tiny", dtype=dtype)
        rounded = roofline.load_model("llava-tiny").to(model.dtype)

        assert model.dtype in (torch.float16, torch.bfloat16, torch.float64)
        assert same(model, rounded)

    def test_the_global_generator_is_left_alone(self) -> None:
        torch.manual_seed(0)
        expected = torch.rand(1)
        torch.manual_seed(0)
        roofline.load_model("llava-tiny")

        assert torch.equal(torch.rand(1), expected)

    @pytest.mark.parametrize("name", TINY)
    def test_buffers_are_those_of_a_model_built_by_transformers(self, name: str) -> None:
        family = built_by(name)
        built = dict(family.model_class()(family.config_of(spec_of(name))).named_buffers())
        loaded = dict(roofline.load_model(name).named_buffers())

        assert loaded.keys() == built.keys()
        assert all(torch.equal(loaded[key], buffer) for key, buffer in built.items())

    @pytest.mark.parametrize("name", TINY)
    def test_it_writes(self, name: str) -> None:
        model = roofline.load_model(name)

        assert model.generate(torch.tensor([[5, 6]]), max_new_tokens=3).shape[1] <= 5

    @pytest.mark.parametrize(
        ("options", "dtype"),
        [
            ({}, torch.float32),
            ({"quant": "bf16"}, torch.bfloat16),
            ({"quant": "fp16"}, torch.float16),
            ({"quant": "fp16", "dtype": "fp16"}, torch.float16),
        ],
    )
    def test_default_dtypes(self, options: dict[str, Any], dtype: torch.dtype) -> None:
        assert roofline.load_model("llava-tiny", **options).dtype == dtype

    @pytest.mark.parametrize("attention", ["sdpa", "eager"])
    def test_attention_goes_to_both_parts(self, attention: str) -> None:
        model = roofline.load_model("llava-tiny", attention=attention).model

        for part in (model.vision_tower, model.language_model):
            assert part.config._attn_implementation == attention


class TestCheckpoints:
    @pytest.fixture(params=TINY)
    def name(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def saved(self, tmp_path: Path) -> Path:
        roofline.load_model("llava-tiny", seed=7).save_pretrained(tmp_path / "saved")
        return tmp_path / "saved"

    def test_what_was_saved_is_loaded(self, name: str, tmp_path: Path) -> None:
        model = roofline.load_model(name, seed=7)
        model.save_pretrained(tmp_path)

        loaded = roofline.load_model(name, checkpoint=tmp_path, dtype="fp32")

        assert type(loaded) is built_by(name).model_class()
        assert not loaded.training
        assert same(loaded, model)
        half = roofline.load_model(name, str(tmp_path), dtype="bf16", attention="eager")
        assert same(half, model.bfloat16())
        assert half.model.language_model.config._attn_implementation == "eager"

    @pytest.mark.parametrize("where", ["/no/such/folder", "./nor/this", "~/nor-that"])
    def test_a_folder_that_is_not_there(self, where: str) -> None:
        with pytest.raises(InputError, match=f"no folder {where}"):
            roofline.load_model("llava-tiny", where)

    def test_an_id_that_cannot_be_had(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

        with pytest.raises(InputError, match="cannot load no-one/has-this"):
            roofline.load_model("llava-tiny", "no-one/has-this")

    def test_a_folder_that_holds_no_checkpoint(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="cannot load"):
            roofline.load_model("llava-tiny", tmp_path)

    def test_a_config_without_weights(self, saved: Path) -> None:
        (saved / "model.safetensors").unlink()

        with pytest.raises(InputError, match="cannot load"):
            roofline.load_model("llava-tiny", saved)

    @pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
    def test_a_damaged_file(self, saved: Path, file: str) -> None:
        (saved / file).write_bytes(b"nothing of the kind")

        with pytest.raises(InputError, match="cannot load"):
            roofline.load_model("llava-tiny", saved)

    def test_weights_of_other_shapes_than_the_config(self, saved: Path) -> None:
        config = json.loads((saved / "config.json").read_text())
        config["text_config"]["vocab_size"] = 600
        (saved / "config.json").write_text(json.dumps(config))

        with pytest.raises(InputError, match=r"\[512, 64\], the config has \[600, 64\]"):
            roofline.load_model("llava-tiny", saved)

    def test_a_pickle_is_refused(self, saved: Path) -> None:
        class Trap:
            def __reduce__(self) -> Any:
                return (Path.touch, (saved / "sprung",))

        (saved / "model.safetensors").unlink()
        torch.save({"lm_head.weight": Trap()}, saved / "pytorch_model.bin")

        with pytest.raises(InputError, match="cannot load") as raised:
            roofline.load_model("llava-tiny", saved)
        assert "\n" not in str(raised.value)
        assert not (saved / "sprung").exists()

    def test_a_checkpoint_s_own_code_is_not_run(
        self, saved: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (saved / "own.py").write_text(f"open({str(saved / 'sprung')!r}, 'w')\n")
        config = json.loads((saved / "config.json").read_text())
        config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}
        (saved / "config.json").write_text(json.dumps(config))
        monkeypatch.setattr("builtins.input", lambda *_: "y")

        with pytest.raises(InputError, match="cannot load"):
            roofline.load_model("llava-tiny", saved)
        assert not (saved / "sprung").exists()

    def test_missing_weights(self, saved: Path) -> None:
        weights = load_file(saved / "model.safetensors")
        save_file(
            {name: weight for name, weight in weights.items() if "lm_head" not in name},
            saved / "model.safetensors",
            metadata={"format": "pt"},
        )

        with pytest.raises(InputError, match=r"lacks 1 weights, such as lm_head.weight"):
            roofline.load_model("llava-tiny", saved)

    @pytest.mark.parametrize(
        ("named", "reason"),
        [
            ("llava-1.5-7b", "vision_config.hidden_size is 64, the spec has 1024"),
            ("video-llava-tiny", "it holds a llava model, the spec describes video_llava"),
        ],
    )
    def test_a_checkpoint_of_another_model(self, saved: Path, named: str, reason: str) -> None:
        with pytest.raises(InputError, match=reason) as raised:
            roofline.load_model(named, saved)

        assert "\n" not in str(raised.value)

    def test_a_checkpoint_of_a_language_model(self, llava: Any, tmp_path: Path) -> None:
        LlamaForCausalLM(llava.config.text_config).save_pretrained(tmp_path)

        with pytest.raises(InputError, match="holds a llama model"):
            roofline.load_model("llava-tiny", tmp_path)

    def test_a_copy_elsewhere_is_the_same(self, saved: Path, tmp_path: Path) -> None:
        shutil.copytree(saved, tmp_path / "copy")

        assert same(*(roofline.load_model("llava-tiny", p) for p in (saved, tmp_path / "copy")))


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"dtype": "fp64"}, "unknown dtype 'fp64': choose one of fp32, fp16, bf16"),
            ({"attention": "flash"}, "unknown attention 'flash'"),
            ({"device": "gpu"}, "unknown device 'gpu'"),
            ({"device": ""}, "unknown device ''"),
            ({"device": "meta"}, "there is no meta here: use"),
            ({"device": "cpu:9"}, "there is no cpu:9 here: use"),
            ({"device": "xpu:7"}, "there is no xpu:7 here: use"),
            ({"device": "hpu"}, "there is no hpu here: use"),
            ({"quant": "w3"}, "unknown quantization mode 'w3'"),
            ({"quant": "fp16", "dtype": "bf16"}, "contradict"),
        ],
    )
    def test_unknown_names(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(InputError, match=message) as raised:
            roofline.load_model("llava-tiny", **options)

        assert "\n" not in str(raised.value)

    def test_an_architecture_that_no_family_has(self) -> None:
        spec = replace(spec_of("llava-tiny"), architecture="lava")

        with pytest.raises(UnknownNameError, match="family of models 'lava': did you mean llava"):
            roofline.load_model(spec)

    @pytest.mark.parametrize("name", ["vicuna-7b", "clip-vit-l-336"])
    def test_parts_of_a_model(self, name: str) -> None:
        with pytest.raises(InputError, match="only an lmm"):
            roofline.load_model(name)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
    def test_no_cuda(self) -> None:
        with pytest.raises(InputError, match="there is no cuda here"):
            roofline.load_model("llava-tiny", device="cuda")


class TestQuantization:
    @staticmethod
    def logits(model: Any) -> Tensor:
        pixels = torch.randn(1, 3, 84, 84, generator=torch.Generator().manual_seed(0))
        ids = torch.tensor([[5, *[500] * 36, *range(6, 30)]])
        with torch.no_grad():
            return model(input_ids=ids, pixel_values=pixels).logits.float()

    @pytest.mark.parametrize(
        ("mode", "layer", "least"),
        [
            ("w8a16", EightBitWeights, 0.99),
            ("w8a8kv16", EightBitProducts, 0.99),
            ("w4a16", FourBitWeights, 0.9),
        ],
    )
    def test_the_llm_s_linear_layers_alone_are_quantized(
        self, mode: str, layer: type, least: float
    ) -> None:
        model, plain = (
            roofline.load_model("llava-tiny", dtype="bf16", quant=q) for q in (mode, None)
        )

        kinds = {name: type(module) for name, module in model.named_modules()}
        quantized = {name for name, kind in kinds.items() if kind is layer}
        assert len(quantized) == 4 * 7
        assert all("language_model.layers" in name for name in quantized)
        assert not [
            n
            for n, kind in kinds.items()
            if "layers" in n and "vision" not in n and kind is torch.nn.Linear
        ]
        close = torch.nn.functional.cosine_similarity(
            self.logits(model), self.logits(plain), dim=-1
        )
        assert close.min() > least

    def test_a_reducer_goes_with_it(self) -> None:
        model = roofline.load_model("llava-tiny", quant="w8a16")
        given = {
            "input_ids": torch.tensor([[5, *[500] * 36, 6]]),
            "pixel_values": torch.randn(1, 3, 84, 84),
        }
        for name in ("prumerge", "fastv"):
            roofline.attach(model, name)
            assert model.generate(**given, max_new_tokens=3, eos_token_id=None).shape == (1, 41)

    @pytest.mark.parametrize("mode", ["int4", "int8", "fp8"])
    def test_modes_without_kernels_name_those_with(self, mode: str) -> None:
        with pytest.raises(
            InputError, match=f"no kernels for {mode} on cpu.* run in fp32, fp16, bf16, w8a16"
        ):
            roofline.load_model("llava-tiny", quant=mode)
