"""Transforms of torchvision: all that belongs to a sample moves together, colours stay images'."""

from __future__ import annotations

import random
import warnings
from contextlib import suppress

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.tv_tensors import Image, Mask

from lit_buckets.config.augmentation import make_transforms, transform_names
from lit_buckets.errors import ConfigError
from lit_buckets.geometry import Size
from lit_buckets.pixels.augment import apply_transform, augment, check_augment, seeded
from lit_buckets.pixels.sample import Sample

pytestmark = pytest.mark.filterwarnings("ignore:.*(TorchVision are deprecated|passing through)")

SIZE = Size(48, 64)


def sample_of(seed: int = 0) -> Sample:
    """Labels, and two equal pictures that show them as shades; a frame of padding."""
    labels = torch.from_numpy(np.random.default_rng(seed).integers(1, 256, SIZE))
    mask = torch.zeros((1, *SIZE), dtype=torch.bool)
    mask[:, 4:-4] = True
    labels[~mask[0]] = -100
    shades = labels.clamp(min=0).to(torch.uint8).expand(3, *SIZE).clone()
    fields = {
        "path": "a.png",
        "caption": "a cat",
        "mask": Mask(mask),
        "control": Image(shades.clone()),
        "labels": Mask(labels),
        "score": 0.5,
    }
    return Sample(shades, fields)


def plain(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.as_subclass(torch.Tensor)


def augmented(key: int, *specs: dict, sample: Sample | None = None) -> Sample:
    with seeded(key):
        return augment(sample or sample_of(), make_transforms(specs))


MOVES = [
    {"name": "RandomHorizontalFlip", "p": 1},
    {"name": "RandomVerticalFlip", "p": 1.0},
    {"name": "RandomAffine", "degrees": 30, "translate": [0.2, 0.1], "scale": [0.8, 1.2]},
    {"name": "RandomRotation", "degrees": [20, 40]},
    {"name": "RandomPerspective", "p": 1, "interpolation": "nearest"},
    {"name": "ElasticTransform", "interpolation": "nearest"},
    {"name": "RandomCrop", "size": list(SIZE), "padding": 8},
    {"name": "RandomResizedCrop", "size": list(SIZE), "interpolation": "nearest"},
]
COLOURS = [
    {"name": "ColorJitter", "brightness": 0.9, "hue": 0.5, "saturation": [0.1, 3]},
    {"name": "RandomInvert", "p": 1},
    {"name": "RandomSolarize", "threshold": 100, "p": 1},
    {"name": "GaussianBlur", "kernel_size": 5},
    {"name": "RandomGrayscale", "p": 1},
    {"name": "JPEG", "quality": [10, 30]},
    {"name": "RandomAdjustSharpness", "sharpness_factor": 3, "p": 1},
    {"name": "RandomApply", "p": 1, "transforms": [{"name": "RandomPosterize", "bits": 2, "p": 1}]},
]


@pytest.mark.parametrize("spec", MOVES, ids=lambda spec: spec["name"])
def test_what_moves_the_image_moves_all_that_belongs_to_it(spec):
    before = sample_of()
    for key in range(5):
        after = augmented(key, spec)
        assert not torch.equal(plain(after.image), before.image)
        assert torch.equal(plain(after.image), plain(after.fields["control"]))
        labels, mask = plain(after.fields["labels"]), plain(after.fields["mask"])[0]
        assert labels.dtype == torch.int64
        assert mask.dtype == torch.bool
        assert 0.2 < mask.float().mean() < 1
        # inside the mask each shade is still that of its label
        assert torch.equal(plain(after.image)[0][mask].long(), labels[mask])
        assert (labels[mask] > 0).all()
        assert 0 not in labels  # no label is made up where the picture was moved away


FILLS = [
    {"name": "RandomRotation", "degrees": [45, 45]},
    {"name": "RandomAffine", "degrees": 0, "translate": [0.5, 0.5]},
    {"name": "RandomPerspective", "p": 1, "interpolation": "nearest"},
    {"name": "ElasticTransform", "alpha": 400, "interpolation": "nearest"},
    {"name": "RandomCrop", "size": list(SIZE), "padding": 16},
]


@pytest.mark.parametrize("fill", [255, [255, 254, 253]], ids=str)
@pytest.mark.parametrize("spec", FILLS, ids=lambda spec: spec["name"])
def test_a_fill_is_a_colour_of_images_and_no_mask_or_label(spec, fill):
    plainly = augmented(1, spec)
    nested = {"name": "Compose", "transforms": [spec | {"fill": fill}]}
    for filled in (augmented(1, spec | {"fill": fill}), augmented(1, nested)):
        for name in ("mask", "labels"):
            assert torch.equal(plain(filled.fields[name]), plain(plainly.fields[name]))
        assert torch.equal(plain(filled.image), plain(filled.fields["control"]))
        changed = (plain(filled.image) != plain(plainly.image)).any(0)
        colour = torch.tensor(fill).expand(3).to(torch.uint8)
        assert changed.any()
        assert (plain(filled.image)[:, changed] == colour[:, None]).all()
        assert (plain(filled.fields["labels"])[changed] == -100).all()


@pytest.mark.parametrize("spec", COLOURS, ids=lambda spec: spec["name"])
def test_what_changes_colours_changes_images_alike_and_nothing_else(spec):
    before = sample_of()
    coloured = (
        before.image.roll(17, dims=0) ^ torch.tensor([0, 85, 170], dtype=torch.uint8)[:, None, None]
    )
    before = Sample(coloured, before.fields | {"control": Image(coloured.clone())})
    after = augmented(3, spec, sample=before)
    assert not torch.equal(plain(after.image), before.image)
    assert torch.equal(plain(after.image), plain(after.fields["control"]))
    for name in ("mask", "labels"):
        assert torch.equal(plain(after.fields[name]), plain(before.fields[name]))
    assert after.fields["caption"] == "a cat"
    assert after.fields["score"] == 0.5
    assert list(after.fields) == list(before.fields)


@pytest.mark.parametrize("spec", MOVES, ids=lambda spec: spec["name"])
def test_labels_of_32_bits_stay_exact(spec):
    before = sample_of()
    labels = plain(before.fields["labels"])
    ids = torch.where(labels > 0, labels + 2**32 - 256, labels)
    large = Sample(before.image, before.fields | {"labels": Mask(ids)})
    moved, moved_ids = augmented(2, spec), augmented(2, spec, sample=large)
    labels = plain(moved.fields["labels"])
    expected = torch.where(labels > 0, labels + 2**32 - 256, labels)
    assert torch.equal(plain(moved_ids.fields["labels"]), expected)


def test_augmentation_follows_its_key_alone():
    specs = (*MOVES, *COLOURS)
    torch.manual_seed(0)
    once = augmented(7, *specs)
    torch.manual_seed(1)
    random.seed(1)
    again = augmented(7, *specs)
    assert torch.equal(plain(once.image), plain(again.image))
    assert torch.equal(plain(once.fields["labels"]), plain(again.fields["labels"]))
    assert not torch.equal(plain(once.image), plain(augmented(8, *specs).image))
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    augmented(7, *specs)
    assert torch.equal(torch.rand(1), expected)


def test_transforms_in_python_move_all_alike_too():
    before = sample_of()
    flipped = apply_transform(before, v2.RandomHorizontalFlip(p=1))
    assert torch.equal(plain(flipped.image), before.image.flip(-1))
    for name in ("mask", "control", "labels"):
        assert torch.equal(plain(flipped.fields[name]), plain(before.fields[name]).flip(-1))
    with pytest.raises(ValueError, match=r"made torch.int64 of shape \(48, 63\) of the labels of"):
        apply_transform(before, lambda image, sample: (image, cut(sample)))


def cut(sample: dict) -> dict:
    return sample | {"labels": sample["labels"][:, 1:]}


def test_a_transform_that_fails_names_the_file():
    with pytest.raises(ValueError, match=r"transform.augment fails for 'a.png': Required crop"):
        augmented(0, {"name": "RandomCrop", "size": 500})


# -- what is refused before training -----------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"name": "Resize", "size": 32}, r"made torch.uint8 of shape \(3, 32, "),
        ({"name": "CenterCrop", "size": 32}, r"of shape \(3, 32, 32\) of the image"),
        ({"name": "RandomResizedCrop", "size": 64}, r"of shape \(3, 64, 64\)"),
        ({"name": "Pad", "padding": 2}, r"of shape \(3, 52, 68\)"),
        ({"name": "RandomZoomOut", "p": 1}, r"made torch.uint8 of shape"),
        ({"name": "Grayscale"}, r"of shape \(1, 48, 64\)"),
        ({"name": "ConvertImageDtype"}, r"made torch.float32 of shape"),
        (
            {"name": "Normalize", "mean": [0.5], "std": [0.5]},
            "refuses a picture of .*float",
        ),
        ({"name": "ToPILImage"}, "returned Image for 'a picture of 48x64 pixels', not an image"),
        ({"name": "ToPureTensor"}, "made a plain tensor of the image of 'a picture of 48x64"),
        ({"name": "FiveCrop", "size": 20}, "returned tuple|refuses a picture"),
        (
            {"name": "RandomCrop", "size": 500},
            "48x64 pixels: Required crop size",
        ),
        ({"name": "CutMix"}, "refuses a picture"),
        ({"name": "RandomIoUCrop"}, "refuses a picture"),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_what_does_not_keep_the_size_or_type_is_refused(spec, reason):
    with pytest.raises(ValueError, match=reason):
        check_augment(make_transforms([spec]), [SIZE])


GROWS = {"name": "RandomZoomOut", "p": 0.01}
SELDOM = [
    {"name": "RandomApply", "p": 0.01, "transforms": [GROWS]},
    {"name": "RandomChoice", "p": [0.99, 0.01], "transforms": [{"name": "Identity"}, GROWS]},
    {"name": "RandomOrder", "transforms": [{"name": "RandomInvert"}, GROWS]},
    {"name": "Compose", "transforms": [{"name": "RandomApply", "transforms": [GROWS]}]},
]


@pytest.mark.parametrize("spec", [GROWS, *SELDOM], ids=lambda spec: spec["name"])
def test_what_happens_seldom_is_tried_too(spec):
    transforms = make_transforms([{"name": "RandomInvert", "p": 0.5}, spec])
    with pytest.raises(ValueError, match=r"made torch.uint8 of shape \(3, "):
        check_augment(transforms, [SIZE])
    assert transforms[0].p == 0.5


def test_what_never_happens_is_not_tried():
    never = GROWS | {"p": 0}
    choice = {"name": "RandomChoice", "p": [1, 0], "transforms": [{"name": "Identity"}, GROWS]}
    apply = {"name": "RandomApply", "p": 0, "transforms": [GROWS]}
    together = [{"name": "Pad", "padding": 8}, {"name": "CenterCrop", "size": list(SIZE)}]
    pair = {"name": "RandomApply", "p": 0.1, "transforms": together}
    check_augment(make_transforms([never, choice, apply, pair]), [SIZE])


def test_what_changes_the_size_may_if_the_result_keeps_it():
    fixed = make_transforms([{"name": "RandomResizedCrop", "size": list(SIZE)}])
    check_augment(fixed, [SIZE])
    with pytest.raises(
        ValueError, match=r"shape \(3, 48, 64\) of the image of 'a picture of 64x48"
    ):
        check_augment(fixed, [SIZE, Size(64, 48)])
    there_and_back = [{"name": "Pad", "padding": 8}, {"name": "CenterCrop", "size": list(SIZE)}]
    check_augment(make_transforms(there_and_back), [SIZE], mask=True, paired={"depth": "image"})


def test_transforms_that_cannot_move_a_mask_are_refused_beside_one():
    for name in ("RandAugment", "TrivialAugmentWide", "AugMix", "AutoAugment"):
        transforms = make_transforms([{"name": name}])
        check_augment(transforms, [SIZE])
        with pytest.raises(ValueError, match=f"refuses a picture.*Mask.* not supported by {name}"):
            check_augment(transforms, [SIZE], mask=True)


def test_what_torchvision_warns_of_is_said_at_the_start_alone():
    erase = make_transforms([{"name": "RandomErasing", "p": 1}])
    with pytest.warns(UserWarning, match="passing through inputs of type"):
        check_augment(erase, [SIZE], mask=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        augment(sample_of(), erase)


@pytest.mark.parametrize("value", [7, [7], [7, 8, 9], "random"])
def test_what_is_erased_takes_all_values_that_torchvision_documents(value):
    spec = {"name": "RandomErasing", "p": 1, "scale": [0.3, 0.3], "value": value}
    before, after = sample_of(), augmented(0, spec)
    changed = plain(after.image) != before.image
    assert 0.2 < changed.float().mean() < 0.4
    if value != "random":
        expected = torch.tensor(value).expand(3)[:, None, None].expand(before.image.shape)
        assert (plain(after.image)[changed] == expected[changed]).all()


def test_trying_transforms_leaves_the_generators_alone():
    state = torch.get_rng_state()
    check_augment(make_transforms(MOVES[:4] + COLOURS), [SIZE], paired={"labels": "labels"})
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", transform_names())
def test_every_name_is_tried_or_refused_in_words(name):
    with suppress(ConfigError, ValueError):  # any other exception is a failure
        transforms = make_transforms([{"name": name}])
        check_augment(transforms, [SIZE], mask=True, paired={"labels": "labels"})
