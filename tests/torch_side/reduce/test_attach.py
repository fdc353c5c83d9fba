"""A reducer on and off a model: what was there before is there after; clear words for bad calls."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from attaching import (
    PATCHES,
    REDUCES,
    Prompts,
    hooks_on,
)
from transformers import (
    LlamaForCausalLM,
)

import roofline
from roofline import reducers
from roofline.errors import InputError


class TestHooks:
    @pytest.mark.parametrize("name", REDUCES)
    @torch.no_grad()
    def test_prompts_leave_none_behind(self, llava: Any, prompts: Prompts, name: str) -> None:
        given, before = prompts(llava, ["ttitt"]), hooks_on(llava)
        roofline.attach(llava, name, **REDUCES[name])
        attached = hooks_on(llava)

        for _ in range(2):
            llava(**given)
            assert hooks_on(llava) == attached
        llava.generate(**given, max_new_tokens=3)
        assert hooks_on(llava) == attached
        roofline.detach(llava)
        assert hooks_on(llava) == before

    @pytest.mark.parametrize("name", [n for n in REDUCES if reducers.find(n).site == "llm"])
    @torch.no_grad()
    def test_prompts_that_fail_leave_none_behind(
        self, llava: Any, prompts: Prompts, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given, before = prompts(llava, ["ttitt"]), hooks_on(llava)
        roofline.attach(llava, name, **REDUCES[name])

        def fail(*given: Any, **more: Any) -> None:
            raise RuntimeError("out of memory")

        monkeypatch.setattr(llava.model.language_model.layers[1].mlp, "forward", fail)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="out of memory"):
                llava(**given)
        roofline.detach(llava)
        assert hooks_on(llava) == before


class TestLifeCycle:
    @pytest.mark.parametrize("name", REDUCES)
    def test_detached_it_is_as_before(self, llava: Any, prompts: Prompts, name: str) -> None:
        given = prompts(llava, ["ttitt", "titt"])
        expected = llava(**given).logits
        generated = llava.generate(**given, max_new_tokens=4)
        before, hooks = dict(llava.__dict__), hooks_on(llava)

        roofline.attach(llava, name, **REDUCES[name])
        llava(**given)
        llava.generate(**given, max_new_tokens=2)
        roofline.detach(llava)

        assert llava.__dict__ == before
        assert hooks_on(llava) == hooks
        assert torch.equal(llava(**given).logits, expected)
        assert torch.equal(llava.generate(**given, max_new_tokens=4), generated)

    def test_attach_and_detach_return_the_model(self, llava: Any) -> None:
        kind = type(llava)

        assert roofline.attach(llava) is llava
        assert type(llava) is kind
        assert roofline.detach(llava) is llava
        assert roofline.detach(llava) is llava

    @pytest.mark.parametrize("name", ["prumerge", "tome", "fastv"])
    def test_after_an_exception_it_still_works(
        self, llava: Any, prompts: Prompts, name: str
    ) -> None:
        given, text = prompts(llava, ["ttitt"]), prompts(llava, ["ttttt"])
        expected = llava(**text).logits
        before, hooks = dict(llava.__dict__), hooks_on(llava)
        roofline.attach(llava, name, **REDUCES[name])
        reduced = llava(**given).logits
        for broken in (
            llava.model.vision_tower.embeddings,
            llava.model.language_model.layers[0],
            llava.model.language_model.layers[3],
            llava.model.multi_modal_projector,
        ):
            handle = broken.register_forward_hook(_fail)
            with pytest.raises(ZeroDivisionError):
                llava(**given)
            with pytest.raises(ZeroDivisionError):
                llava.generate(**given, max_new_tokens=2)
            handle.remove()
            assert torch.equal(llava(**text).logits, expected)
            assert torch.equal(llava(**given).logits, reduced)

        roofline.detach(llava)

        assert llava.__dict__ == before
        assert hooks_on(llava) == hooks

    def test_the_second_reducer_takes_the_place_of_the_first(
        self, llava: Any, prompts: Prompts
    ) -> None:
        given = prompts(llava, ["ttitt"])
        llava(**given)
        before, hooks = dict(llava.__dict__), hooks_on(llava)
        expected = roofline.attach(llava, "sequential", count=4)(**given).logits

        roofline.attach(llava, "fastv")
        roofline.attach(llava, "fastv", ratio=0.9)
        roofline.attach(llava, "sequential", count=4)

        assert torch.equal(llava(**given).logits, expected)
        roofline.detach(llava)
        assert llava.__dict__ == before
        assert hooks_on(llava) == hooks

    @pytest.mark.parametrize(
        ("name", "options", "message"),
        [
            ("prumrge", {}, "did you mean prumerge"),
            ("prumerge", {"ratoi": 0.2}, "did you mean ratio"),
            ("prumerge", {"heads": 4}, "heads"),
            ("prumerge", {"ratio": -0.5}, "ratio"),
            ("prumerge", {"count": PATCHES + 1}, "count"),
            ("prumerge", {"variant": "mine"}, "variant"),
            ("sequential", {"count": 0}, "count"),
            ("spatial", {"grid": (7, 7)}, "grid"),
            ("visionzip", {"count": 99}, "count"),
            ("tome", {"count": PATCHES + 1}, "count"),
            ("tome", {"count": 3, "r": 3}, "count"),
            ("evit", {"rate": 2.0}, "rate"),
            ("evit", {"stages": [9]}, "stages"),
            ("ats", {"count": 0}, "count"),
            ("crossget", {"r": -1}, "r"),
            ("fastv", {"k": 4}, "`k`"),
            ("fastv", {"ratio": 1.5}, "ratio"),
            ("fastv", {"count": 0}, "count"),
        ],
    )
    @pytest.mark.parametrize("attached", [None, "fastv"])
    def test_what_cannot_work_is_refused_and_leaves_the_model_as_it_was(
        self,
        llava: Any,
        prompts: Prompts,
        name: str,
        options: dict[str, Any],
        message: str,
        attached: str | None,
    ) -> None:
        given = prompts(llava, ["ti"])
        if attached:
            roofline.attach(llava, attached)
        expected = llava(**given).logits
        before, hooks = dict(llava.__dict__), hooks_on(llava)

        with pytest.raises(InputError, match=message) as raised:
            roofline.attach(llava, name, **options)

        assert "\n" not in str(raised.value)
        assert llava.__dict__ == before
        assert hooks_on(llava) == hooks
        assert torch.equal(llava(**given).logits, expected)

    @pytest.mark.parametrize("name", ["prumerge", "fastv"])
    def test_a_deep_copy_has_a_reducer_of_its_own(
        self, llava: Any, prompts: Prompts, name: str
    ) -> None:
        given = prompts(llava, ["ttitt"])
        expected = roofline.detach(llava)(**given).logits
        roofline.attach(llava, name)
        reduced = llava(**given).logits

        twin = copy.deepcopy(llava)
        torch.nn.init.zeros_(llava.lm_head.weight)

        assert torch.equal(twin(**given).logits, reduced)
        roofline.detach(twin)
        assert torch.equal(twin(**given).logits, expected)
        assert llava(**given).logits.shape == reduced.shape

    def test_what_others_wrap_around_it_stays(self, llava: Any, prompts: Prompts) -> None:
        given = prompts(llava, ["ttitt"])
        expected, calls = llava(**given).logits, []
        roofline.attach(llava, "prumerge")
        inner = llava.forward

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            calls.append(1)
            return inner(*args, **kwargs)

        llava.forward = wrapped
        roofline.detach(llava)

        assert torch.equal(llava(**given).logits, expected)
        assert calls == [1]

    @pytest.mark.parametrize("name", REDUCES)
    def test_the_last_vit_block_never_runs(self, llava: Any, prompts: Prompts, name: str) -> None:
        runs = dict.fromkeys(range(4), 0)
        for index, layer in enumerate(llava.model.vision_tower.encoder.layers):
            layer.mlp.register_forward_hook(
                lambda module, args, output, index=index: runs.update({index: runs[index] + 1})
            )
        given = prompts(llava, ["ttitt"])
        roofline.attach(llava, name, **REDUCES[name])

        llava(**given)
        llava.generate(**given, max_new_tokens=3, eos_token_id=None)

        assert runs == {0: 2, 1: 2, 2: 2, 3: 0}

    def test_saved_weights_are_the_unreduced_model_s(self, llava: Any, tmp_path: Any) -> None:
        expected = llava.state_dict()
        roofline.attach(llava, "fastv").save_pretrained(tmp_path)

        loaded = roofline.load_model("llava-tiny", tmp_path).state_dict()

        assert loaded.keys() == expected.keys()
        assert all(torch.equal(loaded[name], weight) for name, weight in expected.items())


def _fail(module: Any, args: Any, output: Any) -> None:
    raise ZeroDivisionError


class TestBadCalls:
    @pytest.fixture
    def reduced(self, llava: Any) -> Any:
        return roofline.attach(llava, "prumerge")

    def test_images_without_their_placeholders(self, reduced: Any, prompts: Prompts) -> None:
        given = prompts(reduced, ["ttitt"])

        with pytest.raises(InputError, match=r"36 placeholders .* 2 images of 36"):
            reduced(given["input_ids"], pixel_values=given["pixel_values"].repeat(2, 1, 1, 1))
        with pytest.raises(InputError, match="0 placeholders"):
            reduced.generate(torch.tensor([[1, 2]]), pixel_values=given["pixel_values"])

    def test_embeddings_instead_of_ids(self, reduced: Any, prompts: Prompts) -> None:
        pixels = prompts(reduced, ["ti"])["pixel_values"]

        with pytest.raises(InputError, match="input_ids"):
            reduced(inputs_embeds=torch.zeros(1, 37, 64), pixel_values=pixels)

    def test_masks_and_labels_of_other_shapes(self, reduced: Any, prompts: Prompts) -> None:
        given = prompts(reduced, ["ti"])

        with pytest.raises(InputError, match="attention_mask"):
            reduced(**given | {"attention_mask": torch.ones(1, 50)})
        with pytest.raises(InputError, match="labels"):
            reduced(**given, labels=torch.ones(1, 50, dtype=torch.long))

    def test_another_feature_layer_in_a_call(self, reduced: Any, prompts: Prompts) -> None:
        given = prompts(reduced, ["ti"])
        assert reduced(**given, vision_feature_layer=-2).logits is not None

        with pytest.raises(InputError, match="vision_feature_layer"):
            reduced(**given, vision_feature_layer=-1)

    def test_typos_in_generate_are_still_found(self, reduced: Any, prompts: Prompts) -> None:
        with pytest.raises(ValueError, match="max_new_tokenz"):
            reduced.generate(**prompts(reduced, ["ti"]), max_new_tokenz=3)

    def test_models_of_other_kinds(self, llava: Any) -> None:
        llm = LlamaForCausalLM(llava.config.text_config)
        for model in (llm, llava.model, llava.model.vision_tower, torch.nn.Linear(1, 1)):
            before = dict(model.__dict__)
            with pytest.raises(InputError, match=type(model).__name__):
                roofline.attach(model, "prumerge")
            assert model.__dict__ == before

    def test_features_of_several_layers(self, llava: Any) -> None:
        llava.config.vision_feature_layer = [-2, -3]

        with pytest.raises(InputError, match="one layer"):
            roofline.attach(llava, "prumerge")
