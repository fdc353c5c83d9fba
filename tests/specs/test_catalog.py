"""Names → specs: the order of precedence, and what is said when nothing is found."""

import copy
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from roofline.errors import InputError, SpecError, UnknownNameError
from roofline.specs.catalog import (
    all_hardware,
    all_models,
    json_schema,
    load_component,
    load_hardware,
    load_model,
    load_quantization,
    where,
)
from roofline.specs.models import MODEL_KINDS, LanguageModel, MlpConnector, register_kind
from roofline.specs.sourced import PositiveInt, Spec

Data = dict[str, Any]
SpecWriter = Callable[..., Path]


@pytest.fixture
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the search path; `write_spec` writes into it."""
    monkeypatch.setenv("ROOFLINE_PATH", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", ["v100", "V100", "v100-pcie", "V100-PCIE", "v100-pcie-16gb"])
def test_a_device_goes_by_name_and_alias_in_any_case(name: str) -> None:
    assert load_hardware(name).name == "v100"


@pytest.mark.parametrize("name", ["vicuna-7b", "Vicuna-7B", "vicuna-7b-v1.5", "VICUNA-7B-v1.5"])
def test_a_model_goes_by_name_and_alias_in_any_case(name: str) -> None:
    assert load_model(name).name == "vicuna-7b"


@pytest.mark.parametrize("model", all_models(), ids=lambda model: model.name)
def test_every_alias_of_every_model_finds_it(model: Any) -> None:
    assert {load_model(alias).name for alias in model.aliases} <= {model.name}


@pytest.mark.parametrize("device", all_hardware(), ids=lambda device: device.name)
def test_every_alias_of_every_device_finds_it(device: Any) -> None:
    assert {load_hardware(alias).name for alias in device.aliases} <= {device.name}


def test_a_path_is_read_whatever_the_name_inside(write_spec: SpecWriter, device: Data) -> None:
    file = write_spec(device, "another.yaml")

    assert load_hardware(str(file)).title == "Toy"


def test_a_relative_path_is_one_by_its_ending(
    write_spec: SpecWriter, language_model: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write_spec(language_model, "mine.yml").parent)

    assert load_model("mine.yml").name == "toy-lm"


def test_a_spec_is_its_own_name() -> None:
    device, model, mode = load_hardware("v100"), load_model("vicuna-7b"), load_quantization("int4")

    assert load_hardware(device) is device
    assert load_model(model) is model
    assert load_quantization(mode) is mode


def test_an_edited_file_is_read_again(write_spec: SpecWriter, device: Data) -> None:
    file = write_spec(device)
    before = load_hardware(str(file)).title
    write_spec({**device, "title": "Edited"})
    os.utime(file, ns=(10**18, 10**18))  # the clock of some file systems is coarse

    assert (before, load_hardware(str(file)).title) == ("Toy", "Edited")


@pytest.mark.parametrize("path", ["toy.yaml", "hardware/toy.yaml"], ids=["flat", "subfolder"])
def test_a_device_of_the_users_own(
    path: str, user_folder: Path, write_spec: SpecWriter, device: Data
) -> None:
    write_spec({**device, "aliases": ["Plaything"]}, path)

    assert load_hardware("TOY").title == "Toy"
    assert load_hardware("plaything").title == "Toy"
    assert "toy" in {found.name for found in all_hardware()}
    assert "toy" not in {found.name for found in all_models()}


def test_an_alias_of_the_users_own_goes_with_the_search_path(
    user_folder: Path, write_spec: SpecWriter, device: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_spec({**device, "aliases": ["a100"]}, "toy.yaml")
    assert load_hardware("a100").name == "toy"

    monkeypatch.delenv("ROOFLINE_PATH")
    assert load_hardware("a100").name == "a100-80gb"


@pytest.mark.parametrize("path", ["toy-lm.yaml", "models/toy-lm.yaml"], ids=["flat", "subfolder"])
def test_a_model_of_the_users_own(
    path: str, user_folder: Path, write_spec: SpecWriter, language_model: Data
) -> None:
    write_spec(language_model, path)

    assert load_model("toy-lm").title == "Toy LM"
    assert "toy-lm" in {found.name for found in all_models()}
    assert "toy-lm" not in {found.name for found in all_hardware()}


def test_devices_and_models_share_a_flat_folder(
    user_folder: Path, write_spec: SpecWriter, device: Data, language_model: Data
) -> None:
    write_spec({**device, "name": "same"}, "a.yaml")
    write_spec({**language_model, "name": "same"}, "b.yaml")

    assert load_hardware("same").title == "Toy"
    assert load_model("same").title == "Toy LM"


@pytest.mark.parametrize("file", ["v100.yaml", "mine.yaml"], ids=["by file", "by the name inside"])
def test_a_users_file_shadows_the_shipped_one(
    file: str, user_folder: Path, write_spec: SpecWriter, device: Data
) -> None:
    write_spec({**device, "name": "v100"}, file)

    assert load_hardware("v100").title == "Toy"
    assert [d.title for d in all_hardware() if d.name == "v100"] == ["Toy"]


def test_the_first_folder_on_the_path_wins(
    tmp_path: Path, write_spec: SpecWriter, device: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_spec({**device, "title": "First"}, "first/toy.yaml")
    write_spec({**device, "title": "Second"}, "second/toy.yaml")
    folders = [str(tmp_path / "first"), "", str(tmp_path / "second")]
    monkeypatch.setenv("ROOFLINE_PATH", os.pathsep.join(folders))

    assert load_hardware("toy").title == "First"
    assert [d.title for d in all_hardware() if d.name == "toy"] == ["First"]


def test_a_folder_that_does_not_exist_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / "missing"
    monkeypatch.setenv("ROOFLINE_PATH", str(missing))

    with pytest.raises(SpecError, match="ROOFLINE_PATH") as caught:
        load_hardware("v100")
    assert str(missing) in str(caught.value)


BROKEN = {
    "syntax": "name: [1",
    "not a mapping": "- 1\n- 2\n",
    "not UTF-8": b"title: caf\xe9\n",
    "empty": "",
    "aliases null": "kind: gpu\nname: broken\naliases:\n",
    "aliases a number": "kind: gpu\nname: broken\naliases: 5\n",
    "kind a list": "kind: [gpu]\nname: broken\n",
    "key a list": "? [a, b]\n: c\n",
    "no such date": "kind: gpu\nname: 2020-13-45\n",
}


@pytest.mark.parametrize("name", ["v100", "v100-pcie"], ids=["name", "alias"])
@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_does_not_stand_in_the_way_of_built_ins(
    content: str | bytes, name: str, user_folder: Path, write_spec: SpecWriter
) -> None:
    write_spec(content, "broken.yaml")

    assert load_hardware(name).name == "v100"


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_reported_when_it_is_asked_for(
    content: str | bytes, user_folder: Path, write_spec: SpecWriter
) -> None:
    file = write_spec(content, "broken.yaml")

    with pytest.raises(SpecError) as caught:
        load_hardware("broken")
    assert caught.value.file == str(file)


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_an_unknown_name_beside_a_broken_file_is_an_error_not_a_crash(
    content: str | bytes, user_folder: Path, write_spec: SpecWriter
) -> None:
    write_spec(content, "broken.yaml")

    with pytest.raises(InputError):
        load_hardware("v101")
    with pytest.raises(InputError):
        load_model("vicuna-8b")


@pytest.mark.parametrize(
    ("name", "nearest"), [("v10", "v100"), ("h100-smx", "h100-sxm"), ("a100-80", "a100-80gb")]
)
def test_an_unknown_device_offers_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(UnknownNameError, match="did you mean") as caught:
        load_hardware(name)
    assert nearest in caught.value.nearest
    assert repr(name) in str(caught.value)
    assert nearest in str(caught.value)


def test_an_unknown_model_offers_the_nearest_and_says_how_to_add_one() -> None:
    with pytest.raises(UnknownNameError, match="vicuna-7b") as caught:
        load_model("vicuna-8b")
    assert "ROOFLINE_PATH" in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_name_like_no_other_lists_the_first_and_how_many_more() -> None:
    with pytest.raises(UnknownNameError, match="known: ") as caught:
        load_model("zzz")
    names = sorted(model.name for model in all_models())
    first = UnknownNameError.MOST_NAMES
    assert f"known: {', '.join(names[:first])} and {len(names) - first} more" in str(caught.value)


def test_other_names_are_offered_where_they_are_near_and_else_not_listed() -> None:
    with pytest.raises(UnknownNameError, match="did you mean sapphire-rapids") as near:
        load_hardware("sapphire-rapid")
    assert near.value.nearest == ["sapphire-rapids"]
    with pytest.raises(UnknownNameError, match="known: ") as far:
        load_hardware("zzz")
    assert "sapphire-rapids" not in str(far.value)
    assert "a100-80gb" in str(far.value)


@pytest.mark.parametrize("load", [load_hardware, load_model, load_quantization])
def test_a_name_too_long_for_a_file_is_an_unknown_name(load: Callable[[str], Any]) -> None:
    with pytest.raises(UnknownNameError, match="n…'") as caught:
        load("n" * 5000)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("name", "known", "message"),
    [
        ("n" * 60, ["a"], f"unknown kind {'n' * 60!r}: known: a"),
        ("n" * 5000, ["a"], f"unknown kind '{'n' * 59}…': known: a"),
        ("zzz", ["a" * 5000], f"unknown kind 'zzz': known: {'a' * 59}…"),
        (
            "zzz",
            [f"a{i:02}" for i in range(20)],
            f"known: {', '.join(f'a{i:02}' for i in range(20))}",
        ),
        ("zzz", [f"a{i:02}" for i in range(23)], "a18, a19 and 3 more"),
    ],
    ids=["as long as may be", "a long name", "a long known one", "twenty", "more"],
)
def test_messages_stay_short(name: str, known: list[str], message: str) -> None:
    error = UnknownNameError("kind", name, known)

    assert str(error).endswith(message)
    assert error.name == name


def test_an_unknown_mode_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="int4"):
        load_quantization("int5")


def test_a_component_of_the_wrong_kind_is_an_error() -> None:
    assert load_component("vicuna-7b", LanguageModel).name == "vicuna-7b"
    with pytest.raises(SpecError, match="expected connector, got language-model"):
        load_component("vicuna-7b", MlpConnector)


def test_loading_does_not_change_what_was_written_down(
    write_spec: SpecWriter, device: Data
) -> None:
    before = copy.deepcopy(device)
    file = write_spec(device)
    text = file.read_text(encoding="utf-8")
    load_hardware(str(file))

    assert (device, file.read_text(encoding="utf-8")) == (before, text)


class Resampler(Spec, frozen=True, tag_field="kind", tag="resampler"):
    """A kind of model that does not ship."""

    name: str
    queries: PositiveInt


def test_a_kind_of_one_s_own_is_read_like_those_that_ship(
    write_spec: SpecWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_spec({"kind": "resampler", "name": "mine", "queries": 64}, "mine.yaml")
    with pytest.raises(SpecError, match="kind: expected one of connector, language-model, lmm"):
        load_model(str(file))
    MODEL_KINDS.names()
    monkeypatch.setattr(MODEL_KINDS, "_things", dict(MODEL_KINDS._things))

    register_kind(Resampler)

    assert load_model(str(file)) == Resampler(name="mine", queries=64)
    assert "Resampler" in json_schema("models")["$defs"]
    monkeypatch.setenv("ROOFLINE_PATH", str(file.parent))
    assert load_model("mine").name == "mine"
    wrong = write_spec({"kind": "resampler", "name": "mine", "queries": 0}, "wrong.yaml")
    with pytest.raises(SpecError, match="queries: expected int >= 1"):
        load_model(str(wrong))


def odd_file(kind: str, file: Path) -> None:
    """Something that is named like a spec and is none."""
    if kind == "dangling link":
        file.symlink_to("nowhere")
    elif kind == "pipe":
        os.mkfifo(file)
    else:
        file.mkdir()


@pytest.mark.parametrize("kind", ["dangling link", "folder", "pipe"])
def test_what_is_no_file_is_in_nobodys_way(kind: str, user_folder: Path) -> None:
    odd_file(kind, user_folder / "odd.yaml")

    assert load_hardware("v100-pcie").name == "v100"
    assert load_quantization("int4").name == "int4"
    with pytest.warns(UserWarning, match=r"left out: .*odd.yaml"):
        assert "v100" in {device.name for device in all_hardware()}
    with pytest.raises(SpecError, match="cannot be read"):
        load_hardware("odd")


def test_a_broken_file_is_reported_once(user_folder: Path, write_spec: SpecWriter) -> None:
    write_spec("name: [1", "reported.yaml")

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(3):
            all_hardware()
            all_models()
    assert ["left out" in str(each.message) for each in told] == [True]


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "../v100", "a/b", "\u202e", "v100\n"])
def test_a_name_that_no_file_can_have(name: str) -> None:
    for load in (load_hardware, load_model, load_quantization):
        with pytest.raises(UnknownNameError) as caught:
            load(name)
        assert len(str(caught.value)) < 1000


def test_an_error_about_a_spec_names_its_file(
    write_spec: SpecWriter, language_model: dict[str, object], user_folder: Path
) -> None:
    file = write_spec(language_model, "mine.yaml")
    mine = load_model("toy-lm")

    assert where(mine) == str(file)
    assert where(replace(mine, hidden_size=16)) == "model toy-lm"


def test_a_path_that_is_no_spec_says_so(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(InputError, match=r"is no spec: name a regular file that ends in .yaml"):
            load_model(str(place))


def test_token_ids_start_at_nought_and_epsilons_are_small() -> None:
    lmm, llm = load_model("llava-1.5-7b"), load_model("vicuna-7b")
    builtins = msgspec.to_builtins(lmm) | {"pad_token_id": 0}
    assert msgspec.convert(builtins, type(lmm)).pad_token_id == 0  # type: ignore[union-attr]
    with pytest.raises(msgspec.ValidationError, match="rms_norm_eps"):
        msgspec.convert(msgspec.to_builtins(llm) | {"rms_norm_eps": 2.0}, type(llm))
