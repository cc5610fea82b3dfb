"""The configuration: what is accepted, what is refused, and in which words."""

from __future__ import annotations

import dataclasses
import importlib.util
import pickle
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

import lit_buckets.config as config_package
from lit_buckets.config import (
    BatchesConfig,
    BucketsConfig,
    Config,
    DataConfig,
    LoaderConfig,
    NormalizeConfig,
    SourceConfig,
    TransformConfig,
    describe,
    load_config,
    sources,
    to_plain,
)
from lit_buckets.config.augmentation import make_transforms
from lit_buckets.config.text import show
from lit_buckets.errors import ConfigError
from lit_buckets.geometry import fit
from lit_buckets.plan.shapes import PUBLISHED

ROOT = Path(__file__).resolve().parent.parent
DEFAULT = ROOT / "configs" / "default.yaml"
BUCKETS = [field.name for field in dataclasses.fields(BucketsConfig)]
BATCHES = [field.name for field in dataclasses.fields(BatchesConfig)]
FORM = re.compile(r"[^\n]+=[^\n]+ [^\n]+; [^\n]+\. [^\n]+[.?]")


@pytest.fixture(autouse=True)
def _in_a_folder_with_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test starts in a folder that holds ``photos``, ``paintings`` and ``a_file``."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "paintings").mkdir()
    (tmp_path / "a_file").write_text("")
    monkeypatch.chdir(tmp_path)


def load(*overrides: str, **sections: Any) -> Config:
    return load_config({"data": {"train": "photos"}, **sections}, overrides)


def refusal(config: Any, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(config, overrides)
    message = str(caught.value)
    assert FORM.fullmatch(message), message
    return message


def refused(*overrides: str, **sections: Any) -> str:
    return refusal({"data": {"train": "photos"}, **sections}, *overrides)


def outcome(config: Any, *overrides: str) -> Config | str:
    """The configuration or the text of its refusal; any other exception is a failure."""
    try:
        return load_config(config, overrides)
    except ConfigError as error:
        return str(error)


def yaml_file(text: str | bytes) -> Path:
    path = Path("config.yaml")
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# what is accepted


def test_defaults_are_those_of_the_dataclasses() -> None:
    data = DataConfig(train=(SourceConfig("photos"),))
    assert load() == Config(data=data)
    assert dataclasses.asdict(load()) == {
        "data": {
            "train": (
                {
                    "path": "photos",
                    "repeats": 1,
                    "captions": ".txt",
                    "kind": None,
                    "missing_caption": "empty",
                    "include": None,
                    "exclude": None,
                    "follow_links": False,
                    "image_root": None,
                    "image_column": "auto",
                    "caption_column": "auto",
                    "height_column": "auto",
                    "width_column": "auto",
                    "columns": None,
                    "allow_outside": False,
                    "split": None,
                },
            ),
            "val": None,
            "test": None,
            "predict": None,
            "cache_dir": ".lit_buckets",
            "on_unreadable": "skip",
            "on_error": "replace",
            "max_failures": 100,
            "max_image_pixels": 178956970,
            "min_image_side": 1,
            "max_image_ratio": None,
            "verify": False,
        },
        "buckets": {
            "rule": "fit",
            "max_area": 512 * 512,
            "resolutions": "largest",
            "divisor": 64,
            "min_side": None,
            "max_side": None,
            "sizes": None,
            "max_buckets": None,
            "upscale": True,
            "trim": False,
            "min_images": 1,
            "small_bucket": "move",
            "max_crop": 0.25,
            "plan": None,
        },
        "batches": {
            "batch_size": 8,
            "max_pixels": None,
            "sync": "same_bucket",
            "short_batch": "keep",
            "shuffle": True,
            "seed": 0,
            "largest_first": True,
            "on_change": "error",
        },
        "transform": {
            "fit": "crop",
            "crop": "center",
            "focus": None,
            "focus_unit": "share",
            "quality": "balanced",
            "interpolation": "bicubic",
            "icc": True,
            "background": (255, 255, 255),
            "flip": 0.0,
            "augment": (),
            "paired": {},
            "normalize": "minus_one_one",
            "channels_last": False,
        },
        "loader": {
            "num_workers": 4,
            "prefetch_factor": 2,
            "pin_memory": None,
            "persistent_workers": True,
            "multiprocessing_context": None,
        },
    }


def test_default_yaml_equals_the_defaults_key_for_key() -> None:
    shown = OmegaConf.to_container(OmegaConf.load(DEFAULT))
    data = DataConfig(train=(SourceConfig("photos"),))
    expected = to_plain(Config(data=data))
    expected["data"]["train"] = "/data/photos"
    assert shown == expected
    assert [list(shown[name]) for name in shown] == [list(expected[name]) for name in expected]
    assert load_config(DEFAULT, ["data.train=photos"]) == load()


def test_default_yaml_fails_only_because_its_folder_does_not_exist() -> None:
    assert refusal(DEFAULT) == (
        "data.train=/data/photos must be an existing folder; there is nothing at /data/photos. "
        "Set data.train to a folder of images."
    )


def test_every_key_of_default_yaml_has_a_one_line_comment() -> None:
    lines = DEFAULT.read_text(encoding="utf-8").splitlines()
    for above, line in pairwise(lines):
        if re.match(r"  \w+:", line):
            assert above.startswith("  # ")
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    "form",
    [
        lambda tree: tree,
        lambda tree: OmegaConf.create(tree),
        lambda tree: {name: OmegaConf.create(keys) for name, keys in tree.items()},
        lambda tree: yaml_file(OmegaConf.to_yaml(OmegaConf.create(tree))),
        lambda tree: str(yaml_file(OmegaConf.to_yaml(OmegaConf.create(tree)))),
        lambda tree: yaml_file(b"\xef\xbb\xbf" + OmegaConf.to_yaml(tree).encode()),
        lambda tree: load_config(tree),
        lambda tree: to_plain(load_config(tree)),
    ],
    ids=["dict", "omegaconf", "mixed", "path", "str", "bom", "config", "plain"],
)
def test_every_form_of_a_configuration_gives_the_same(form: Any) -> None:
    tree = {
        "data": {"train": {"path": "photos", "repeats": 3}, "val": 0.1},
        "buckets": {"max_area": 65536},
        "transform": {"background": [0, 1, 2], "normalize": None},
    }
    assert load_config(form(tree)) == Config(
        data=DataConfig(train=(SourceConfig("photos", repeats=3),), val=0.1),
        buckets=BucketsConfig(max_area=65536),
        transform=TransformConfig(background=(0, 1, 2), normalize=None),
    )


def test_no_omegaconf_object_leaks_and_all_is_frozen_and_plain() -> None:
    config = load_config(OmegaConf.create({"data": {"train": ["photos"], "val": "paintings"}}))
    assert type(config.data.train) is tuple
    assert type(config.data.val) is tuple
    assert type(config.transform.background) is tuple
    assert pickle.loads(pickle.dumps(config)) == config
    assert hash(config) == hash(load("data.val=paintings"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.data.cache_dir = "elsewhere"  # type: ignore[misc]


def test_empty_sections_are_defaults() -> None:
    assert load(loader=None, buckets={}) == load()
    path = yaml_file("data: {train: photos}\nloader:\n  # num_workers: 2\n")
    assert load_config(path) == load()


def test_an_integer_is_a_number_and_comes_out_as_one() -> None:
    flip = load("transform.flip=1").transform.flip
    assert (flip, type(flip)) == (1.0, float)


def test_subclasses_of_plain_types_come_out_plain() -> None:
    class Text(str):
        pass

    class Count(int):
        pass

    class Share(float):
        pass

    config = load(
        data={"train": Text("photos"), "val": Share(0.5), "max_failures": Count(7)},
        buckets={"rule": Text("fit")},
    )
    found = (config.data.train[0].path, config.data.val, config.data.max_failures)
    assert [type(value) for value in found] == [str, float, int]
    assert type(config.buckets.rule) is str


# sources


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("photos", [SourceConfig("photos")]),
        (Path("photos"), [SourceConfig("photos")]),
        ({"path": "photos", "repeats": 2}, [SourceConfig("photos", repeats=2)]),
        ({"path": Path("photos"), "captions": None}, [SourceConfig("photos", captions=None)]),
        (SourceConfig("photos"), [SourceConfig("photos")]),
        (
            ["photos", {"path": "paintings", "captions": ".caption"}],
            [SourceConfig("photos"), SourceConfig("paintings", captions=".caption")],
        ),
        (
            (SourceConfig("photos"), "paintings"),
            [SourceConfig("photos"), SourceConfig("paintings")],
        ),
        (None, []),
    ],
)
def test_sources(value: Any, expected: list[SourceConfig]) -> None:
    assert sources(value) == expected
    assert sources(sources(value) or None) == expected
    assert load(data={"train": "photos", "test": value}).data.test == (tuple(expected) or None)


def test_a_share_is_no_source() -> None:
    with pytest.raises(ConfigError, match=r"sources=0\.1 must be a path, .*; got a decimal number"):
        sources(0.1)


def test_home_is_expanded_and_relative_paths_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(Path.cwd()))
    monkeypatch.setenv("USERPROFILE", str(Path.cwd()))
    config = load("data.train=~/photos", "data.test=photos", "data.cache_dir=~/new")
    assert config.data.train == (SourceConfig(str(Path.cwd() / "photos")),)
    assert config.data.test == (SourceConfig("photos"),)
    assert config.data.cache_dir == str(Path.cwd() / "new")
    assert load_config("~/config.yaml" if yaml_file("data: {train: photos}") else "") == load()


def test_a_dollar_sign_in_a_name_is_fine() -> None:
    for name in ("$HOME", "a$b", "{a}$", "$(touch x)"):
        Path(name).mkdir()
        assert load(data={"train": name}).data.train[0].path == name
    assert load_config(yaml_file("data: {train: a$b}")).data.train[0].path == "a$b"
    assert not Path("x").exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {},
            "data.train=null must be set; it is a key without a default. "
            "Set data.train=/path/to/photos.",
        ),
        (
            {"train": "nowhere"},
            "data.train=nowhere must be an existing folder; there is nothing at {cwd}/nowhere. "
            "Set data.train to a folder of images.",
        ),
        (
            {"train": ["photos", "nowhere"]},
            "data.train[1].path=nowhere must be an existing folder; there is nothing at "
            "{cwd}/nowhere. Set data.train[1].path to a folder of images.",
        ),
        (
            {"train": {"path": "a_file"}},
            "data.train.path=a_file must be an existing folder; a file is there. "
            "Set data.train.path to a folder of images.",
        ),
        (
            {"train": ["photos", {"repeats": 2}]},
            "data.train[1].path=null must be set; it is a key without a default. "
            "Set data.train[1].path=/path/to/photos.",
        ),
        (
            {"train": []},
            "data.train=[] must name at least one source; the list is empty. "
            "Set data.train=/path/to/photos.",
        ),
        (
            {"train": "photos", "predict": []},
            "data.predict=[] must name at least one source; the list is empty. "
            "Set data.predict=/path/to/photos, or null for none.",
        ),
        (
            {"train": 5},
            "data.train=5 must be a path, a mapping {path, ...} or a list of these; got an "
            "integer. Set data.train=/path/to/photos.",
        ),
        (
            {"train": ["photos", ["paintings"]]},
            "data.train[1]=[paintings] must be a path, a mapping {path, ...} or a list of these; "
            "got a list. Set data.train[1]=/path/to/photos.",
        ),
        (
            {"train": ""},
            'data.train="" must name a folder; the text is empty. '
            "Write a path, data.train=/path/to.",
        ),
        (
            {"train": {"path": "photos", "repeats": 0}},
            "data.train.repeats=0 must be at least 1; 0 < 1. "
            "Set data.train.repeats=1, the default.",
        ),
        (
            {"train": {"path": "photos", "captions": "../txt"}},
            "data.train.captions=../txt must be a suffix such as .txt; it needs a dot, then a "
            "name without / or \\. Set data.train.captions=.txt, or null for no captions.",
        ),
        (
            {"train": "photos", "val": 1},
            "data.val=1 must be less than 1; 1 >= 1. Set data.val=null, the default.",
        ),
        (
            {"train": "photos", "val": 0.0},
            "data.val=0.0 must be more than 0; 0.0 <= 0. Set data.val=null, the default.",
        ),
        (
            {"train": "photos", "val": True},
            "data.val=true must be a number, a path, a mapping {path, ...}, a list of these or "
            "null; got a boolean. Set data.val=null, the default.",
        ),
        (
            {"train": "photos", "cache_dir": "a_file"},
            "data.cache_dir=a_file must be a folder; a file is there. "
            "Set data.cache_dir to another path.",
        ),
    ],
)
def test_data_is_refused(data: dict[str, Any], message: str) -> None:
    assert refusal({"data": data}) == message.replace("{cwd}", str(Path.cwd()))


@pytest.mark.parametrize("key", ["val", "test", "predict"])
@pytest.mark.parametrize("value", ["nowhere", ["photos", "nowhere"], {"path": "nowhere"}])
def test_every_missing_folder_is_refused(key: str, value: Any) -> None:
    message = refused(data={"train": "photos", key: value})
    assert re.match(rf"data\.{key}(\[1\])?(\.path)?=nowhere must be an existing folder; ", message)


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "~nobody-of-this-name/photos", "\ud800"])
def test_a_name_that_no_folder_can_have(name: str) -> None:
    assert refused(data={"train": name}).startswith("data.train=")
    assert refusal(name).startswith("config=")


# unknown keys


@pytest.mark.parametrize(
    ("tree", "key", "near"),
    [
        ({"buckets": {"divsor": 1}}, "buckets.divsor=1", "buckets.divisor"),
        ({"buckets": {"Max-Area": 1}}, "buckets.Max-Area=1", "buckets.max_area"),
        ({"buckets": {"batch_size": 1}}, "buckets.batch_size=1", "batches.batch_size"),
        ({"bukets": {"divisor": 1}}, "bukets={divisor: 1}", "buckets"),
        ({"divisor": 1}, "divisor=1", "buckets.divisor"),
        ({"workers": 1}, "workers=1", "loader.num_workers"),
        ({"train": "photos"}, "train=photos", "data.train"),
        ({"data": {"repeats": 2}}, "data.repeats=2", "data.train.repeats"),
        ({"data": {"train": {"pth": "x"}}}, "data.train.pth=x", "data.train.path"),
        ({"data": {"train": [{"repeat": 2}]}}, "data.train[0].repeat=2", "data.train[0].repeats"),
    ],
)
def test_a_misspelt_key_names_the_nearest(tree: dict[str, Any], key: str, near: str) -> None:
    message = refusal(tree)
    assert message.startswith(f"{key} is not a known key; ")
    assert message.endswith(f" Did you mean {near}?")


def test_folders_are_looked_for_last() -> None:
    data = {"train": "nowhere"}
    assert refusal({"data": data, "loader": {"worker": 1}}).startswith("loader.worker=1 ")
    assert refusal({"data": data, "loader": {"num_workers": -1}}).startswith("loader.num_workers=")
    assert refusal({"data": data, "buckets": {"divisor": 600}}).startswith("buckets.divisor=600 ")


def test_unknown_keys_in_full() -> None:
    assert refused(buckets={"divsor": 32}) == (
        f"buckets.divsor=32 is not a known key; buckets has {len(BUCKETS)} keys. "
        "Did you mean buckets.divisor?"
    )
    assert refused(xyzzy=None) == (
        "xyzzy=null is not a known key; there are 5 sections. "
        "Choose from data, buckets, batches, transform, loader."
    )
    assert refusal({"buckets.max_area": 4}) == (
        "buckets.max_area=4 is not a known key; there are 5 sections. Write max_area below buckets."
    )


@pytest.mark.parametrize(
    "name",
    ["", 5, None, (1, 2), 0.5, b"data", object(), 10**5000, "a" * 10**6],
    ids=lambda name: type(name).__name__,
)
def test_keys_that_are_no_names(name: Any) -> None:
    assert "is not a known key" in refused(buckets={name: 1})
    assert len(refusal({name: 1})) < 600


def test_every_known_key_is_accepted_where_it_belongs() -> None:
    plain = to_plain(load())
    assert [o.key for o in describe()] == [f"{s}.{key}" for s in plain for key in plain[s]]
    for option in describe():
        section, _, name = option.key.partition(".")
        tree = {"data": {"train": "photos"}}
        tree.setdefault(section, {})[name] = plain[section][name]
        assert load_config(tree) == load()


# types and ranges


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "batches.batch_size='8'",
            'batches.batch_size="8" must be an integer or null; got a string. '
            "Write batches.batch_size=8 without quotes.",
        ),
        (
            "batches.batch_size=true",
            "batches.batch_size=true must be an integer or null; got a boolean. "
            "Set batches.batch_size=8, the default.",
        ),
        (
            "buckets.max_area=1e6",
            "buckets.max_area=1000000.0 must be an integer or a list of integers; got a decimal "
            "number. Write buckets.max_area=1000000.",
        ),
        (
            "buckets.divisor=null",
            "buckets.divisor=null must be an integer; got null. "
            "Set buckets.divisor=64, the default.",
        ),
        (
            "buckets.divisor=[64]",
            "buckets.divisor=[64] must be an integer; got a list. "
            "Set buckets.divisor=64, the default.",
        ),
        (
            "batches.shuffle=1",
            "batches.shuffle=1 must be true or false; got an integer. "
            "Set batches.shuffle=true, the default.",
        ),
        (
            "loader.pin_memory='no'",
            'loader.pin_memory="no" must be true, false or null; got a string. '
            "Set loader.pin_memory=null, the default.",
        ),
        (
            "transform.flip='0.5'",
            'transform.flip="0.5" must be a number; got a string. '
            "Set transform.flip=0.0, the default.",
        ),
        (
            "data.cache_dir=5",
            "data.cache_dir=5 must be a string; got an integer. Put the name in quotes.",
        ),
        (
            "transform.background=white",
            "transform.background=white must be a list of three integers; got a string. "
            "Set transform.background=[255, 255, 255], the default.",
        ),
        (
            "transform.background=[0, 0]",
            "transform.background=[0, 0] must be a list of three integers; it has 2 entries. "
            "Set transform.background=[255, 255, 255], the default.",
        ),
        (
            "transform.background=[0, 0, 256]",
            "transform.background[2]=256 must be at most 255; 256 > 255. "
            "Correct transform.background[2].",
        ),
        (
            "buckets.max_area=[65536, big]",
            "buckets.max_area[1]=big must be an integer; got a string. "
            "Correct buckets.max_area[1].",
        ),
        (
            "buckets.max_area=[]",
            "buckets.max_area=[] must have an entry; the list is empty. "
            "Set buckets.max_area=262144, the default.",
        ),
        (
            "buckets.sizes=[[512, 512], 768]",
            "buckets.sizes[1]=768 must be [height, width]; got an integer. "
            "Write buckets.sizes[1]=[512, 768].",
        ),
        (
            "buckets.plan=''",
            'buckets.plan="" must name a file; the text is empty. '
            "Write a path, buckets.plan=/path/to.",
        ),
        (
            "buckets.sizes=[[512, 0]]",
            "buckets.sizes[0][1]=0 must be at least 1; 0 < 1. Correct buckets.sizes[0][1].",
        ),
        (
            "buckets.sizes=sdlx",
            "buckets.sizes=sdlx must be sdxl, pixart_512, novelai, a list of [height, width] or "
            "null; there are 4 choices. Set buckets.sizes=sdxl.",
        ),
        (
            "transform.background=[0, 0.5, 0]",
            "transform.background[1]=0.5 must be an integer; got a decimal number. "
            "Correct transform.background[1].",
        ),
        (
            "transform.crop=centre",
            "transform.crop=centre must be center, random, top, bottom or focus; "
            "there are 5 choices. "
            "Set transform.crop=center.",
        ),
        (
            "transform.normalize=5",
            "transform.normalize=5 must be minus_one_one, zero_one, imagenet, a mapping "
            "{mean, std} or null; there are 4 choices. "
            "Set transform.normalize=minus_one_one, the default.",
        ),
        (
            "transform.normalize=[0.5, 0.5, 0.5]",
            "transform.normalize=[0.5, 0.5, 0.5] must be minus_one_one, zero_one, imagenet, a "
            "mapping {mean, std} or null; got a list. "
            "Set transform.normalize=minus_one_one, the default.",
        ),
        (
            "transform.normalize={mean: [0, 0, 127.5], std: [1, 1, 1]}",
            "transform.normalize.mean[2]=127.5 must be at most 1; 127.5 > 1. "
            "Correct transform.normalize.mean[2].",
        ),
        (
            "transform.normalize={mean: [0, 0, 0]}",
            "transform.normalize.std=null must be set; it is a key without a default. "
            "Set it to a list of three numbers.",
        ),
        (
            "transform.normalize={mean: [0, 0, 0], sdt: 1}",
            "transform.normalize.sdt=1 is not a known key; transform.normalize has 2 keys. "
            "Did you mean transform.normalize.std?",
        ),
        (
            "transform.normalize={mean: [0, 0, 0], std: [0.5, 0.5, 0]}",
            "transform.normalize.std[2]=0 must be at least 0.0001; 0 < 0.0001. "
            "Correct transform.normalize.std[2].",
        ),
        (
            "transform.normalize={mean: [0, 0, 0], std: [0.5, 0.5, 1.0e-320]}",
            "transform.normalize.std[2]=1e-320 must be at least 0.0001; 1e-320 < 0.0001. "
            "Correct transform.normalize.std[2].",
        ),
        (
            "transform={crop: focus, focus: [x, '']}",
            'transform.focus[1]="" must be a name; the text is empty. Remove transform.focus[1].',
        ),
        (
            "transform.paired={'': image}",
            'transform.paired column="" must be a name; the text is empty. '
            "Remove transform.paired column.",
        ),
        (
            "transform.focus=x",
            "transform.focus=x must be a list of names or null; got a string. "
            "Set transform.focus=null, the default.",
        ),
        (
            "transform={crop: focus, focus: [x, 5]}",
            "transform.focus[1]=5 must be a string; got an integer. Correct transform.focus[1].",
        ),
        (
            "transform.paired=control",
            "transform.paired=control must be a mapping of names to image or labels; got a string. "
            "Set transform.paired={}, the default.",
        ),
        (
            "transform.paired={control: picture}",
            "transform.paired.control=picture must be image or labels; there are 2 choices. "
            "Correct transform.paired.control.",
        ),
        (
            "transform.paired={5: image}",
            "transform.paired column=5 must be a string; got an integer. "
            "Correct transform.paired column.",
        ),
        (
            "transform.augment=ColorJitter",
            "transform.augment=ColorJitter must be a list of mappings {name, ...}; got a string. "
            "Set transform.augment=[], the default.",
        ),
        (
            "transform.augment=[ColorJitter]",
            "transform.augment[0]=ColorJitter must be a mapping {name, ...}; got a string. "
            "Write transform.augment[0]={name: ColorJitter, brightness: 0.2}.",
        ),
        (
            "transform.augment=[{name: RandomGrayscale, p: often}]",
            "transform.augment[0].p=often must be a number; got a string. "
            "Correct transform.augment[0].p.",
        ),
        (
            "transform.augment=[{name: RandomGrayscale}, {name: ColorJitter, brightnes: 0.2}]",
            "transform.augment[1].brightnes=0.2 is not a parameter of ColorJitter; it has "
            "brightness, contrast, saturation, hue. Did you mean transform.augment[1].brightness?",
        ),
        (
            "transform.augment=[{name: GaussianBlur}]",
            "transform.augment[0].kernel_size=null must be set; GaussianBlur has no default for "
            "it. Set transform.augment[0].kernel_size to an integer or a list of integers.",
        ),
        (
            "transform.augment=[{name: RandomAffine, degrees: 5, interpolation: area}]",
            "transform.augment[0].interpolation=area must be nearest, nearest-exact, bilinear, "
            "bicubic, box, hamming or lanczos; got a string. "
            "Correct transform.augment[0].interpolation.",
        ),
        (
            "transform.augment=[{name: RandomApply, transforms: [{name: RandomInvert, p: [1]}]}]",
            "transform.augment[0].transforms[0].p=[1] must be a number; got a list. "
            "Correct transform.augment[0].transforms[0].p.",
        ),
        (
            "transform.augment=[{name: RandomApply, transforms: [{name: RandomInvert, p: .nan}]}]",
            "transform.augment[0].transforms[0].p=nan must be finite; nan is not a number. "
            "Correct transform.augment[0].transforms[0].p.",
        ),
        (
            "transform.augment=[{name: ElasticTransform, alpha: [1.0, -.inf]}]",
            "transform.augment[0].alpha[1]=-inf must be finite; -inf has no end. "
            "Correct transform.augment[0].alpha[1].",
        ),
        (
            "transform.augment=[{name: RandomErasing, value: noise}]",
            "transform.augment[0].value=noise must be a number, random or a list of numbers; "
            "got a string. Correct transform.augment[0].value.",
        ),
        (
            "transform.augment=[{name: Lambda, lambd: print}]",
            "transform.augment[0].name=Lambda needs what cannot be written here; it takes a "
            "function, type or tensor. Give it in Python, as train_transform.",
        ),
        (
            "buckets.rule=os.system",
            "buckets.rule=os.system must be fit, ladder, list or native; there are 4 choices. "
            "Set buckets.rule=fit, the default.",
        ),
        (
            "buckets=64",
            "buckets=64 must be a mapping; got an integer. Write its keys below it: "
            f"{', '.join(BUCKETS)}.",
        ),
        (
            "loader.num_workers=-1",
            "loader.num_workers=-1 must be at least 0; -1 < 0. "
            "Set loader.num_workers=4, the default.",
        ),
        (
            "transform.flip=1.5",
            "transform.flip=1.5 must be at most 1; 1.5 > 1. Set transform.flip=0.0, the default.",
        ),
        (
            "transform.flip=.nan",
            "transform.flip=nan must be at least 0; nan is not a number. "
            "Set transform.flip=0.0, the default.",
        ),
        (
            "buckets.max_crop=1",
            "buckets.max_crop=1 must be less than 1; 1 >= 1. "
            "Set buckets.max_crop=0.25, the default.",
        ),
        (
            f"batches.seed={2**63}",
            f"batches.seed={2**63} must be at most {2**63 - 1}; {2**63} > {2**63 - 1}. "
            "Set batches.seed=0, the default.",
        ),
    ],
)
def test_wrong_types_and_values(override: str, message: str) -> None:
    assert refused(override) == message


@pytest.mark.parametrize(
    ("key", "inside", "outside"),
    [
        ("data.max_failures", [0, 1], [-1, 2**63]),
        ("data.max_image_pixels", [1], [0]),
        ("data.min_image_side", [1, 64], [0]),
        ("data.max_image_ratio", [1, 1.0, 3.5], [0, 0.99, float("nan")]),
        ("data.val", [1e-9, 0.5, 0.999], [0, 1, -0.5, 2, float("inf")]),
        ("buckets.min_images", [1, 10**6], [0]),
        ("buckets.max_crop", [0, 0.0, 0.999], [-0.001, 1, 1.0]),
        ("buckets.max_side", [64, 2**63 - 1], [0, -64, 2**63]),
        ("batches.batch_size", [1, 10**6], [0, -8]),
        ("batches.seed", [0, 2**63 - 1], [-1, 2**63, 10**5000]),
        ("transform.flip", [0, 1, 0.5, 1.0], [-0.1, 1.1, 10**400, float("nan"), float("-inf")]),
        ("loader.num_workers", [0, 1], [-1]),
        ("loader.prefetch_factor", [1], [0]),
    ],
)
def test_ranges(key: str, inside: list[float], outside: list[float]) -> None:
    section, name = key.split(".")

    def tree(value: float) -> dict[str, Any]:
        return {"data": {"train": "photos"}, section: {name: value}} | (
            {"data": {"train": "photos", name: value}} if section == "data" else {}
        )

    for value in inside:
        assert getattr(getattr(load_config(tree(value)), section), name) == value
    for value in outside:
        assert refusal(tree(value)).startswith(f"{key}=")


# contradictions


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["batches.max_pixels=4194304"],
            "batches.max_pixels=4194304 contradicts batches.batch_size; that is 8, and a batch "
            "has one measure. Set batches.batch_size=null.",
        ),
        (
            ["batches.batch_size=null"],
            "batches.batch_size=null leaves batches without a size; batches.max_pixels is null "
            "too. Set batches.batch_size=null only together with batches.max_pixels.",
        ),
        (
            ["batches={batch_size: null, max_pixels: 262143}"],
            "batches.max_pixels=262143 must hold one image of the largest bucket; a bucket may "
            "have 262144 pixels, and 262143 < 262144. Set it to 262144 or more.",
        ),
        (
            ["buckets.divisor=513"],
            "buckets.divisor=513 must not be larger than the square root of buckets.max_area; "
            "513 * 513 = 263169 > 262144. Set it to 512 or less.",
        ),
        (
            ["buckets.min_side=513"],
            "buckets.min_side=513 must allow a square bucket within buckets.max_area; as a "
            "multiple of 64 it is 576, and 576 * 576 > 262144. Set it to 512 or less.",
        ),
        (
            ["buckets.max_side=63"],
            "buckets.max_side=63 must not be less than buckets.divisor; 63 < 64. "
            "Set it to 64 or more.",
        ),
        (
            ["buckets.min_side=300", "buckets.max_side=200"],
            "buckets.max_side=200 must not be less than buckets.min_side; 200 < 300. "
            "Set it to 320 or more.",
        ),
        (
            ["buckets.min_side=100", "buckets.max_side=120"],
            "buckets.max_side=120 must leave a multiple of buckets.divisor above "
            "buckets.min_side; there is no multiple of 64 from 100 to 120. Set it to 128 or more.",
        ),
        (
            ["buckets.max_area=[262144, 4000]"],
            "buckets.divisor=64 must not be larger than the square root of buckets.max_area; "
            "64 * 64 = 4096 > 4000. Set it to 63 or less.",
        ),
        (
            ["buckets.rule=list"],
            "buckets.rule=list needs a list; buckets.sizes is null. Set buckets.sizes=sdxl.",
        ),
        (
            ["buckets.sizes=[[512, 512]]"],
            "buckets.sizes=[[512, 512]] is read by the rule list only; buckets.rule is fit. "
            "Set buckets.rule=list.",
        ),
        (
            ["buckets={rule: list, sizes: pixart_512}"],
            "buckets.sizes=pixart_512 must have sides that are multiples of buckets.divisor; "
            "256 x 928 is not one of 64. Set buckets.divisor=32.",
        ),
        (
            ["buckets={rule: native, max_buckets: 9}"],
            "buckets.max_buckets=9 needs images that may take any bucket; with "
            "buckets.rule=native each has its own. Set buckets.max_buckets=null.",
        ),
        (
            ["buckets.trim=true"],
            "buckets.trim=true is read by the rule native only; buckets.rule is fit. "
            "Set buckets.rule=native.",
        ),
        (
            ["buckets={rule: list, sizes: sdxl, resolutions: all}"],
            "buckets.resolutions=all needs a rule that goes by area; buckets.rule is list. "
            "Set buckets.rule=fit.",
        ),
        (
            ["buckets={upscale: false, max_buckets: 9}"],
            "buckets.max_buckets=9 needs images that may take any bucket; with "
            "buckets.upscale=false they must not be enlarged. Set buckets.upscale=true.",
        ),
        (
            ["buckets={max_area: [262144, 65536], max_buckets: 1}"],
            "buckets.max_buckets=1 must be one for each of buckets.max_area; 1 < 2. "
            "Set it to 2 or more.",
        ),
        (
            ["buckets={rule: list, sizes: sdxl}", "batches={batch_size: null, max_pixels: 262144}"],
            "batches.max_pixels=262144 must hold one image of the largest bucket; a bucket may "
            "have 1048576 pixels, and 262144 < 1048576. Set it to 1048576 or more.",
        ),
        (
            ["transform.crop=focus"],
            "transform.crop=focus needs columns to follow; transform.focus is null. "
            "Set transform.focus=[focus_x, focus_y].",
        ),
        (
            ["transform.focus=[x, z]"],
            "transform.focus=[x, z] is read with transform.crop=focus only; that is center. "
            "Set transform.crop=focus.",
        ),
        (
            ["transform={crop: focus, focus: [x, z, w]}"],
            "transform.focus=[x, z, w] must be [x, y] or [left, top, right, bottom]; it has 3 "
            "names, 3 of them different. Name two or four columns.",
        ),
        (
            ["transform={crop: focus, focus: [x, x]}"],
            "transform.focus=[x, x] must be [x, y] or [left, top, right, bottom]; it has 2 "
            "names, 1 of them different. Name two or four columns.",
        ),
        (
            ["transform={fit: pad, crop: random}"],
            "transform.crop=random is read with transform.fit=crop only; that is pad. "
            "Set transform.crop=center.",
        ),
        (
            ["transform.fit=stretch", "buckets.rule=native"],
            "transform.fit=stretch would resize images; buckets.rule=native keeps their pixels. "
            "Set transform.fit=crop.",
        ),
        (
            ["transform.paired={mask: labels}"],
            "transform.paired={mask: labels} must not take the place of another field; a batch "
            "has its mask. Rename the column.",
        ),
    ],
)
def test_contradictions(overrides: list[str], message: str) -> None:
    assert refused(*overrides) == message


def test_sizes_and_areas_as_they_come_out() -> None:
    config = load("buckets={rule: list, sizes: [[512, 512], [448, 576]], max_buckets: 1}")
    assert config.buckets.sizes == ((512, 512), (448, 576))
    assert load("buckets.max_area=[65536, 262144]").buckets.max_area == (65536, 262144)
    assert load_config(to_plain(config)) == config
    names = next(option for option in describe() if option.key == "buckets.sizes").type
    assert all(name in names for name in PUBLISHED)


AUGMENT = [
    {"name": "ColorJitter", "brightness": 0.2, "hue": [0, 0.1]},
    {"name": "RandomApply", "transforms": [{"name": "GaussianBlur", "kernel_size": 3}], "p": 0.1},
    {"name": "RandomAffine", "degrees": 5, "interpolation": "bilinear", "fill": None},
]


def test_mappings_as_they_come_out() -> None:
    transform = {
        "crop": "focus",
        "focus": ["left", "top", "right", "bottom"],
        "augment": AUGMENT,
        "paired": {"control": "image", "segmentation": "labels"},
        "normalize": {"mean": [0, 0.5, 1], "std": [1, 0.5, 0.25]},
    }
    config = load(transform=transform)
    assert config.transform.normalize == NormalizeConfig(mean=(0, 0.5, 1), std=(1, 0.5, 0.25))
    assert config.transform.focus == ("left", "top", "right", "bottom")
    assert config.transform.paired["segmentation"] == "labels"
    assert config.transform.augment[0]["hue"] == (0, 0.1)
    assert [made.__class__.__name__ for made in make_transforms(config.transform.augment)] == [
        part["name"] for part in AUGMENT
    ]
    again = [load_config(to_plain(config)), load_config(config), pickle.loads(pickle.dumps(config))]
    file = yaml_file(OmegaConf.to_yaml(OmegaConf.create(to_plain(config))))
    for other in [*again, load_config(file), load_config(OmegaConf.create(to_plain(config)))]:
        assert other == config
        assert hash(other) == hash(config)
    assert to_plain(config)["transform"]["augment"] == AUGMENT
    assert plain_types(to_plain(config)) == {dict, list, str, int, float, bool, type(None)}
    changed = load_config(config, ["transform.augment[0].brightness=0.5"])
    assert changed.transform.augment[0]["brightness"] == 0.5
    assert config.transform.augment[0]["brightness"] == 0.2
    with pytest.raises(TypeError):
        config.transform.paired["control"] = "labels"  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("ColourJitter", "ColorJitter"),
        ("colorjitter", "ColorJitter"),
        ("RandomRotate", "RandomRotation"),
        ("HorizontalFlip", "RandomHorizontalFlip"),
        ("os.system", "ColorJitter, for instance"),
        ("__import__", "ColorJitter, for instance"),
        ("functional", "ColorJitter, for instance"),
        ("Transform", None),
        (5, "ColorJitter, for instance"),
        (None, "ColorJitter, for instance"),
        (["Lambda"], None),
    ],
)
def test_only_transforms_can_be_named(name: Any, near: str | None) -> None:
    message = refused(transform={"augment": [{"name": name}]})
    assert message.startswith("transform.augment[0].name=")
    assert "torchvision.transforms.v2" in message
    assert near is None or message.endswith(f"Set transform.augment[0].name={near}.")


def test_a_value_that_torchvision_refuses() -> None:
    for spec in ({"name": "RandomErasing", "scale": [2, 3]}, {"name": "RandomCrop", "size": []}):
        message = refused(transform={"augment": [spec]})
        assert re.match(
            r"transform\.augment\[0\]=\{name: .*\} is refused by torchvision; ", message
        )
    value = object()
    message = refused(transform={"augment": [{"name": "RandomInvert", "p": value}]})
    assert "transform.augment[0].p=<object> must be a number; got an object of type" in message


def test_a_pinned_plan_must_exist() -> None:
    message = refused("buckets.plan=photos")
    assert message.startswith("buckets.plan=photos must be an existing file; there is none at ")
    assert message.endswith(". Set buckets.plan=null for none.")
    assert load("buckets.plan=a_file").buckets.plan == "a_file"


def test_limits_that_just_hold() -> None:
    load("buckets.divisor=512")
    load("buckets.min_side=512", "buckets.max_side=512")
    load("batches={batch_size: null, max_pixels: 262144}")
    load("buckets.max_side=256", "batches={batch_size: null, max_pixels: 65536}")


@given(
    max_area=st.integers(1, 10**6),
    divisor=st.integers(1, 300),
    min_side=st.none() | st.integers(1, 1000),
    max_side=st.none() | st.integers(1, 1000),
)
@settings(max_examples=200, deadline=None)
def test_limits_are_accepted_exactly_where_there_is_a_bucket(**limits: int | None) -> None:
    sizes = [[1, 1], [1000, 1000], [3, 4000], [4000, 3], [640, 480]]
    tree: dict[str, Any] = {"data": {"train": "."}, "buckets": limits}
    found = outcome(tree)
    if isinstance(found, str):
        assert FORM.fullmatch(found)
        with pytest.raises(ValueError):
            fit(sizes, **limits)  # type: ignore[arg-type]
        return
    largest = int(fit(sizes, **limits).prod(axis=1).max())  # type: ignore[arg-type]
    if largest > 1:
        batches = {"batch_size": None, "max_pixels": largest - 1}
        assert "must hold one image of the largest bucket" in refusal(tree | {"batches": batches})


# overrides


def test_overrides_in_order_and_in_depth() -> None:
    config = load_config(
        {"data": {"train": ["photos", {"path": "paintings", "repeats": 2}]}},
        [
            "buckets.max_area=65536",
            "buckets.max_area=16384",
            "data.train[1].repeats=5",
            "data.train[0]={path: paintings, captions: null}",
            "data.val=0.5",
            "transform.background=[1, 2, 3]",
            "transform.normalize=",
            " loader.num_workers =0",
        ],
    )
    assert config.buckets.max_area == 16384
    assert config.data.train == (
        SourceConfig("paintings", captions=None),
        SourceConfig("paintings", repeats=5),
    )
    assert config.data.val == 0.5
    assert config.transform.background == (1, 2, 3)
    assert config.transform.normalize is None
    assert config.loader == LoaderConfig(num_workers=0)


def test_an_override_replaces_its_value_and_of_a_section_the_keys_it_names() -> None:
    base = {"data": {"train": {"path": "photos", "repeats": 3}}, "batches": {"seed": 7}}
    config = load_config(
        base, ["data.train={path: paintings}", "batches={batch_size: null, max_pixels: 262144}"]
    )
    assert config.data.train == (SourceConfig("paintings"),)
    assert config.batches == BatchesConfig(seed=7, batch_size=None, max_pixels=262144)
    assert load_config(base, ["batches=null"]).batches == BatchesConfig()
    assert base["batches"] == {"seed": 7}


def test_overrides_of_a_config() -> None:
    config = load("data.train.repeats=2", data={"train": {"path": "photos"}})
    again = load_config(config, ["data.train[0].repeats=3", "batches.seed=1"])
    assert config.data.train[0].repeats == 2
    assert again.data.train[0].repeats == 3
    assert again.batches.seed == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "batches.seed",
            "overrides[0]=batches.seed must have the form section.key=value; "
            'it has no "=". Write for instance buckets.max_area=65536.',
        ),
        (
            "batches..seed=1",
            "overrides[0]=batches..seed=1 must have the form section.key=value; "
            "batches..seed is not a dotted key. Write for instance buckets.max_area=65536.",
        ),
        (
            "data.train.repeats=2",
            "data.train.repeats=2 must lie in a mapping; data.train is photos, a string. "
            "Write data.train as a mapping first.",
        ),
        (
            "batches.sed=2",
            f"batches.sed=2 is not a known key; batches has {len(BATCHES)} keys. "
            "Did you mean batches.seed?",
        ),
    ],
)
def test_overrides_are_refused(override: str, message: str) -> None:
    assert refused(override) == message


def test_an_override_that_is_no_yaml() -> None:
    message = refused("data.cache_dir=a: b: c")
    assert message.startswith('data.cache_dir="a: b: c" must be valid YAML; line 1, column 5: ')
    assert message.endswith(". Put a text with special characters in quotes.")


def test_overrides_of_lists_are_refused() -> None:
    tree = {"data": {"train": ["photos"]}}
    assert refusal(tree, "data.train[1].repeats=2") == (
        "data.train[1].repeats=2 must name an entry of the list; data.train has 1, counted "
        "from 0. Write data.train[0] for the first."
    )
    assert refusal(tree, "data.train.repeats=2").startswith("data.train.repeats=2 must name an ")
    assert "is not a dotted key" in refusal(tree, f"data.train[{'9' * 5000}]=2")
    assert "is not a dotted key" in refusal(tree, "a" + ".a" * 5000 + "=2")


@pytest.mark.parametrize("overrides", ["batches.seed=1", 5, None, {"batches.seed": 1}, b"a=1"])
def test_overrides_must_be_a_list(overrides: Any) -> None:
    with pytest.raises(ConfigError, match=r"must be a list of strings; got .*\. Write \["):
        load_config({"data": {"train": "photos"}}, overrides)
    with pytest.raises(ConfigError, match=r"overrides\[0\]=5 must have the form"):
        load_config({"data": {"train": "photos"}}, [5])  # type: ignore[list-item]


# YAML files


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must hold a mapping of sections; the file is empty. Write at least "),
        ("# a comment\n---\n", "must hold a mapping of sections; the file is empty. "),
        ("- data\n", "must hold a mapping of sections; its outermost value is a list. "),
        ("data", "must hold a mapping of sections; its outermost value is a string. "),
        ("'{data: {train: photos}}'", "its outermost value is a string. "),
        ("5", "its outermost value is an integer. "),
        ("data:\n  train: [photos\n", "must be valid YAML; line 3, column 1: "),
        ("data:\n\ttrain: photos\n", "must be valid YAML; line 2, column 1: "),
        ("data:\n  val: 1\n  val: 2\n", "line 3, column 3: found duplicate key val. "),
        ("data: {}\n---\ndata: {}\n", "must be valid YAML; line 2, column 1: "),
        ("data: &a [*a]\n", "must be valid YAML; "),
        ("data: *a\n", "must be valid YAML; line 1, column 7: "),
        ("data: \x00\n", "must be valid YAML; "),
        ("data: !!int ''\n", "must be valid YAML; "),
        ("data: !!set {a}\n", "must be valid YAML; "),
        ("[" * 900 + "]" * 900, "must be valid YAML; "),
        (b"data: \xff\n", "must be a readable YAML file; 'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_yaml_files_are_refused(text: str | bytes, message: str) -> None:
    found = refusal(yaml_file(text))
    assert found.startswith("config=config.yaml must ")
    assert message in found


def test_files_that_cannot_be_read() -> None:
    assert refusal("nowhere.yaml") == (
        "config=nowhere.yaml must be an existing YAML file; there is none at "
        f"{Path.cwd() / 'nowhere.yaml'}. Correct the file or its path."
    )
    assert refusal(Path("photos")).startswith("config=photos must be a readable YAML file; ")


@pytest.mark.parametrize("config", [None, 5, [], ["data"], b"config.yaml", object(), Config])
def test_what_is_no_configuration(config: Any) -> None:
    message = refusal(config)
    assert "must be a path, a mapping, an OmegaConf object or a Config; got " in message


def test_omegaconf_lists_and_missing_values_are_no_configuration() -> None:
    assert "got a list" in refusal(OmegaConf.create(["data"]))
    assert refusal(OmegaConf.create({"data": {"train": "???"}})) == (
        'data.train="???" must be set; ??? stands for a value that is missing. '
        "Set data.train, or leave it out for its default."
    )


def test_a_mapping_that_holds_itself() -> None:
    tree: dict[str, Any] = {}
    tree["data"] = tree
    assert "must not be nested deeper than 16 levels" in refusal(tree)


# security


@pytest.fixture
def trap() -> Iterator[list[str]]:
    """A resolver that records each call; nothing may call it."""
    calls: list[str] = []
    # one name or the other is deprecated, depending on OmegaConf's version
    register = getattr(OmegaConf, "register_new_resolver", None) or OmegaConf.register_resolver
    register("trap", lambda *_: calls.append("called"))
    yield calls
    OmegaConf.clear_resolver("trap")


@pytest.mark.parametrize(
    "value",
    ["${trap:}", "${oc.env:HOME}/photos", "${data.val}", "x${", "\\${trap:}", "${${trap:}}"],
)
@pytest.mark.filterwarnings("ignore:register")
def test_interpolation_is_refused_and_never_evaluated(value: str, trap: list[str]) -> None:
    end = "and interpolation is never evaluated. Write the value itself."
    forms: list[tuple[Any, list[str]]] = [
        ({"data": {"train": value}}, []),
        ({"data": {"train": [{"path": value}]}}, []),
        ({"data": {"train": "photos"}}, [f"data.train={value}"]),
        ({"data": {"train": "photos"}}, [f"data={{train: '{value}'}}"]),
        ({"data": {"train": "photos"}, "buckets": value}, []),
        ({"data": {"train": "photos"}, "unknown": [value]}, []),
        (yaml_file(f"data: {{train: '{value}'}}\n"), []),
    ]
    if value != "x${":  # OmegaConf itself refuses that
        forms += [(OmegaConf.create({"data": {"train": value, "val": None}}), [])]
        forms += [({"data": OmegaConf.create({"train": value})}, [])]
    for config, overrides in forms:
        assert refusal(config, *overrides).endswith(end)
    assert not trap


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['touch evil']",
        "!!python/object/new:subprocess.run [['touch', 'evil']]",
        "!!python/name:os.system",
        "!!python/module:os",
        "!!python/object:lit_buckets.config.SourceConfig {path: photos}",
    ],
)
def test_yaml_tags_run_no_code(tag: str) -> None:
    assert "must be valid YAML" in refusal(yaml_file(f"data: {{train: {tag}}}\n"))
    assert "must be valid YAML" in refused(f"data.train={tag}")
    assert not Path("evil").exists()


def test_a_class_path_is_only_an_unknown_key() -> None:
    tree = {"_target_": "os.system", "command": "touch evil"}
    assert "data.train._target_=os.system is not a known key" in refusal({"data": {"train": tree}})
    assert not Path("evil").exists()


def test_messages_hold_no_control_characters() -> None:
    name = "a\x1b[31m\n\u202ebc"
    for message in (refused(data={"train": name}), refusal({name: 1}), refusal(name)):
        assert message.isprintable()
    assert refused("data.train=a\x7f\x1b.b\x1b=c").isprintable()


# any input at all

_NAMES = [*sorted({part for option in describe() for part in option.key.split(".")}), "path"]
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=4)
    | st.sampled_from([".", "..", "???", "${a}", "skip", "fit", "8", "1e3", "~", 64, 0.5, 10**400])
)
_TREES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(st.sampled_from(_NAMES) | _SCALARS, inner, max_size=4)
    ),
    max_leaves=12,
)
_SECTIONS = st.fixed_dictionaries(
    {"data": st.fixed_dictionaries({"train": st.just(".") | _TREES})},
    optional={
        section: st.dictionaries(st.sampled_from(_NAMES), _SCALARS, max_size=3)
        for section in ("buckets", "batches", "transform", "loader")
    },
)


def only_config_or_config_error(config: Any, *overrides: str) -> None:
    found = outcome(config, *overrides)
    if isinstance(found, str):
        assert FORM.fullmatch(found)
    else:
        assert load_config(to_plain(found)) == found


@given(_TREES | _SECTIONS)
@settings(max_examples=300, deadline=None)
def test_any_mapping(tree: Any) -> None:
    if not isinstance(tree, str):  # a string is a path
        only_config_or_config_error(tree)


@given(
    st.lists(
        st.text(max_size=12)
        | st.builds("{}.{}={}".format, st.sampled_from(_NAMES), st.sampled_from(_NAMES), _SCALARS),
        max_size=3,
    )
)
@settings(max_examples=200, deadline=None)
def test_any_override(overrides: list[str]) -> None:
    only_config_or_config_error({"data": {"train": "."}}, *overrides)


@given(st.text(max_size=40) | st.binary(max_size=20) | _SECTIONS.map(str))
@settings(max_examples=200, deadline=None)
def test_any_file(content: str | bytes) -> None:
    text = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    only_config_or_config_error(yaml_file(text))


@given(st.text(max_size=60).filter(lambda text: "${" not in text))
@settings(max_examples=200, deadline=None)
def test_a_string_is_shown_as_yaml_would_read_it(text: str) -> None:
    if text.isprintable():
        assert OmegaConf.to_container(OmegaConf.from_dotlist([f"x={show(text)}"])) == {"x": text}
    else:
        assert show(text).isprintable()


# plain values and documents


def plain_types(value: Any) -> set[type]:
    if isinstance(value, dict):
        return {dict, *map(type, value)}.union(*map(plain_types, value.values()))
    if isinstance(value, list):
        return {list}.union(*map(plain_types, value))
    return {type(value)}


def test_to_plain_holds_plain_types_only_and_loads_again() -> None:
    config = load(
        data={"train": ["photos", {"path": "paintings", "captions": None}], "val": 0.25},
        batches={"batch_size": None, "max_pixels": 10**7},
    )
    plain = to_plain(config)
    assert plain_types(plain) == {dict, list, str, int, float, bool, type(None)}
    assert load_config(plain) == config
    assert load_config(yaml_file(OmegaConf.to_yaml(OmegaConf.create(plain)))) == config
    plain["batches"]["seed"] = 5
    assert config.batches.seed == 0


def test_an_unchecked_config_is_checked_on_loading() -> None:
    data = DataConfig(train=(SourceConfig("nowhere"),))
    assert refusal(Config(data=data)).startswith("data.train[0].path=nowhere must be an existing")
    wrong = Config(data=DataConfig(train="photos"), buckets=BucketsConfig(divisor="64"))  # type: ignore[arg-type]
    assert refusal(wrong).startswith('buckets.divisor="64" must be an integer; ')


def test_public_names_are_those_that_can_be_imported() -> None:
    assert config_package.__all__ == sorted(config_package.__all__)
    assert all(hasattr(config_package, name) for name in config_package.__all__)


def generator() -> ModuleType:
    path = ROOT / "docs" / "generate_configuration.py"
    spec = importlib.util.spec_from_file_location("generate_configuration", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_documents_are_up_to_date() -> None:
    run = f"run: {Path(sys.executable).name} docs/generate_configuration.py"
    written = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert written == generator().document(), run
    assert DEFAULT.read_text(encoding="utf-8") == generator().default_yaml(), run


def test_every_option_is_documented_in_one_sentence() -> None:
    for option in describe():
        assert re.fullmatch(r"[A-Z][^\n|]*\.", option.help), option.key
        assert len(option.help) <= 96, option.key
