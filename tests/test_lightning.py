"""Under a stock Trainer in one process: every batch once, exact resume, all the usual switches."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import paint
from job import Recorder, every_step, trainer_of
from lightning.pytorch.callbacks import ModelCheckpoint
from PIL import Image

from lit_buckets import BucketDataModule, ConfigError, DataError, ResumeError

IMAGES = 45


def config_of(images: Path, cache: Path, **sections) -> dict:
    config = {
        "data": {"train": str(images), "cache_dir": str(cache)},
        "buckets": {"max_area": 64 * 64, "divisor": 16},
        "batches": {"batch_size": 4, "seed": 1},
        "transform": {"crop": "random", "flip": 0.5},
        "loader": {"num_workers": 0},
    }
    for name, values in sections.items():
        config[name] = config.get(name, {}) | values
    return config


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


def fit(
    config, out: Path, *, checkpoint=None, model=None, keep=False, keep_options=None, **trainer
):
    """Records of the training and validation steps of one run."""
    model = model or Recorder()
    callbacks = [every_step(out / "checkpoints", **(keep_options or {}))] if keep else None
    trainer_of(out, callbacks, **trainer).fit(
        model, datamodule=BucketDataModule(config), ckpt_path=checkpoint
    )
    return model.records


def of_stage(records, stage="train"):
    return [record for record in records if record["stage"] == stage]


def images_of(records) -> Counter:
    return Counter(
        index
        for record in records
        for index, valid in zip(record["index"], record["valid"], strict=True)
        if valid
    )


def content(records):
    """What must be equal after a resume: which images, how cropped, pixel for pixel."""
    names = ("epoch", "index", "valid", "shape", "crop", "pixels")
    return [tuple(str(record[name]) for name in names) for record in records]


# -- every stage --------------------------------------------------------------------------------


def test_every_stage_sees_each_image_once(images, cache, tmp_path):
    data = {"val": 0.2, "test": str(images), "predict": str(images)}
    config = config_of(images, cache, data=data)
    model = Recorder()
    trainer = trainer_of(tmp_path, max_epochs=2, num_sanity_val_steps=2)
    trainer.fit(model, datamodule=BucketDataModule(config))
    for epoch in range(2):
        steps = [r for r in of_stage(model.records) if r["epoch"] == epoch]
        assert images_of(steps) == Counter(range(36))
        assert {len(set(map(str, [r["shape"]]))) for r in steps} == {1}
    orders = [[r["index"] for r in of_stage(model.records) if r["epoch"] == e] for e in (0, 1)]
    assert orders[0] != orders[1]
    for action, count in (("validate", 9), ("test", IMAGES), ("predict", IMAGES)):
        model.records.clear()
        result = getattr(trainer, action)(model, datamodule=BucketDataModule(config))
        assert images_of(model.records) == Counter(range(count))
    assert sorted(torch.cat(result).tolist()) == list(range(IMAGES))


def test_works_without_a_trainer(images, cache):
    dm = BucketDataModule(config_of(images, cache))
    dm.prepare_data()
    dm.setup("fit")
    loader = dm.train_dataloader()
    batches = list(loader)
    assert len(batches) == len(loader)
    assert Counter(i for b in batches for i in b["index"].tolist()) == Counter(range(IMAGES))
    batch = dm.on_after_batch_transfer(batches[0], 0)
    assert batch["image"].dtype == torch.float32
    assert batch["image"].min() >= -1
    assert batch["image"].max() <= 1
    # going through it again is the next epoch
    assert [b["index"].tolist() for b in loader] != [b["index"].tolist() for b in batches]


@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize("counts", [True, False])
def test_a_state_from_an_epochs_end_goes_on_with_the_next(images, cache, epochs, counts):
    """In a plain loop, whether it counts its epochs, from zero again, or not at all."""

    def passes(loader, number: int) -> list[list[list[int]]]:
        found = []
        for epoch in range(number):
            if counts:
                loader.set_epoch(epoch)
            found.append([batch["index"].tolist() for batch in loader])
        return found

    dm = BucketDataModule(config_of(images, cache))
    dm.prepare_data()
    dm.setup("fit")
    whole, loader = passes(dm.loader("train"), 4), dm.loader("train")
    assert passes(loader, epochs) == whole[:epochs]
    again = dm.loader("train")
    again.load_state_dict(loader.state_dict())
    rest = whole[epochs : epochs + 2]
    # whoever asks for the very epoch that has ended gets what is left of it
    assert passes(again, 2) == ([[], rest[0]] if counts and epochs == 1 else rest)


def test_half_precision_models_get_half_precision_images(images, cache, tmp_path):
    seen = []

    class Model(Recorder):
        def training_step(self, batch, batch_idx):
            seen.append(batch["image"].dtype)
            return super().training_step(batch, batch_idx)

    fit(config_of(images, cache), tmp_path, model=Model(), precision="bf16-true", max_steps=2)
    assert set(seen) == {torch.bfloat16}


def test_asking_for_images_that_are_not_configured(images, cache, tmp_path):
    with pytest.raises(ConfigError, match=r"data\.test=null names no images"):
        trainer_of(tmp_path).test(Recorder(), datamodule=BucketDataModule(config_of(images, cache)))


def test_a_batch_larger_than_the_set_is_refused(images, cache):
    dm = BucketDataModule(config_of(images, cache, batches={"batch_size": 64}))
    dm.prepare_data()
    with pytest.raises(ConfigError) as error:
        dm.setup("fit")
    assert str(error.value) == (
        "batches.batch_size=64 exceeds the training set; it has 45 samples. "
        "Set batches.batch_size=45 or less."
    )


@pytest.mark.parametrize("content", [None, b"not an image"])
def test_folders_without_a_readable_image_are_refused(tmp_path, content):
    (tmp_path / "images").mkdir()
    if content is not None:
        (tmp_path / "images" / "a.jpg").write_bytes(content)
    dm = BucketDataModule(config_of(tmp_path / "images", tmp_path))
    with pytest.raises(DataError, match=r"images.*no (readable )?image"):
        dm.prepare_data()


def test_hard_images_train_but_for_the_unreadable(hard_images, tmp_path):
    config = config_of(hard_images, tmp_path, batches={"batch_size": 2})
    dm = BucketDataModule(config)
    model = Recorder()
    trainer_of(tmp_path).fit(model, datamodule=dm)
    manifest = dm.manifest_of("train")
    refused = {Path(refusal.path).name for refusal in manifest.refused}
    assert {"empty.jpg", "text.jpg", "png_decompression_dos.png"} <= refused
    assert all(refusal.reason for refusal in manifest.refused)
    came = images_of(model.records)
    assert set(came.values()) == {1}
    # headers cannot tell a truncated body: those fail in decoding and are left out next time
    failed = set(range(len(manifest))) - set(came)
    names = {Path(manifest.path(index)).name for index in failed}
    assert names <= {"truncated_jpeg.jpg", "truncated_image.png", "broken_data_stream.png",
                     "shortfile.bmp"}  # fmt: skip
    again = BucketDataModule(config)
    model = Recorder()
    trainer_of(tmp_path).fit(model, datamodule=again)
    assert set(again.plan.excluded) == failed
    assert images_of(model.records) == came


# -- resume -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def uninterrupted(images, cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    return out, fit(config_of(images, cache), out, keep=True, max_epochs=2)


def test_resume_from_every_step_of_two_epochs(images, cache, uninterrupted, tmp_path):
    out, records = uninterrupted
    for step in range(1, len(records)):
        checkpoint = out / "checkpoints" / f"step={step}.ckpt"
        rest = fit(config_of(images, cache), tmp_path, checkpoint=checkpoint, max_epochs=2)
        assert content(rest) == content(records[step:]), f"resumed after step {step}"


@pytest.mark.slow
@pytest.mark.parametrize("persistent", [True, False])
def test_resume_with_workers(images, cache, uninterrupted, tmp_path, persistent):
    out, records = uninterrupted
    loader = {"num_workers": 2, "persistent_workers": persistent}
    config = config_of(images, cache, loader=loader)
    assert content(fit(config, tmp_path / "whole", keep=True, max_epochs=2)) == content(records)
    epoch = len(records) // 2
    for step in (1, epoch - 1, epoch, epoch + 1, len(records) - 1):
        for folder in (out, tmp_path / "whole"):
            checkpoint = folder / "checkpoints" / f"step={step}.ckpt"
            rest = fit(config, tmp_path, checkpoint=checkpoint, max_epochs=2)
            assert content(rest) == content(records[step:])


def test_resume_thrice_in_one_epoch(images, cache, uninterrupted, tmp_path):
    _, records = uninterrupted
    came, checkpoint = [], None
    for stop in (2, 5, 9, len(records)):
        out = tmp_path / str(stop)
        came += fit(
            config_of(images, cache),
            out,
            checkpoint=checkpoint,
            keep=True,
            max_epochs=2,
            max_steps=stop,
        )
        checkpoint = out / "checkpoints" / f"step={stop}.ckpt"
    assert content(came) == content(records)


def test_resume_with_accumulation(images, cache, uninterrupted, tmp_path):
    _, records = uninterrupted
    settings = {"accumulate_grad_batches": 3, "max_epochs": 2}
    whole = fit(config_of(images, cache), tmp_path, keep=True, **settings)
    assert content(whole) == content(records)
    for checkpoint in sorted((tmp_path / "checkpoints").iterdir()):
        done = torch.load(checkpoint, weights_only=False)["loops"]["fit_loop"]
        total = done["epoch_loop.batch_progress"]["total"]["processed"]
        rest = fit(config_of(images, cache), tmp_path / "rest", checkpoint=checkpoint, **settings)
        assert content(rest) == content(whole[total:])


def test_resume_with_validation_within_the_epoch(images, cache, tmp_path):
    config = config_of(images, cache, data={"val": 0.2})
    settings = {"val_check_interval": 0.25, "max_epochs": 2}
    whole = fit(config, tmp_path, keep=True, **settings)
    steps = of_stage(whole)
    for step in range(1, len(steps)):
        checkpoint = tmp_path / "checkpoints" / f"step={step}.ckpt"
        rest = fit(config, tmp_path / "rest", checkpoint=checkpoint, **settings)
        assert content(of_stage(rest)) == content(steps[step:])


def test_resume_from_checkpoints_at_the_end_of_epochs_and_validations(images, cache, tmp_path):
    config = config_of(images, cache, data={"val": 0.2})
    for number, options in enumerate(
        (
            {"every_n_train_steps": None, "every_n_epochs": 1, "save_on_train_epoch_end": True},
            {"every_n_train_steps": None, "every_n_epochs": 1, "save_on_train_epoch_end": False},
        )
    ):
        out = tmp_path / str(number)
        whole = of_stage(fit(config, out, keep=True, keep_options=options, max_epochs=3))
        epoch = len(whole) // 3
        found = sorted((out / "checkpoints").iterdir())
        assert len(found) == 3
        for checkpoint in found:
            step = int(checkpoint.stem.split("=")[1])
            assert step % epoch == 0
            rest = of_stage(fit(config, out / "rest", checkpoint=checkpoint, max_epochs=3))
            assert content(rest) == content(whole[step:])


def test_a_failed_step_comes_again(images, cache, uninterrupted, tmp_path):
    """A checkpoint taken between a batch's delivery and the end of its step."""
    _, records = uninterrupted
    model = Recorder(fail_at=4)
    trainer = trainer_of(tmp_path, max_epochs=2)
    with pytest.raises(RuntimeError, match="on purpose"):
        trainer.fit(model, datamodule=BucketDataModule(config_of(images, cache)))
    trainer.save_checkpoint(tmp_path / "failed.ckpt")
    rest = fit(
        config_of(images, cache), tmp_path, checkpoint=tmp_path / "failed.ckpt", max_epochs=2
    )
    assert content(model.records + rest) == content(records)


def test_resume_with_another_batch_size(images, cache, uninterrupted, tmp_path):
    out, records = uninterrupted
    for step, size in ((3, 2), (5, 9), (7, 1)):
        config = config_of(images, cache, batches={"batch_size": size}, data={"val": 0.2})
        del config["data"]["val"]
        checkpoint = out / "checkpoints" / f"step={step}.ckpt"
        rest = fit(config, tmp_path, checkpoint=checkpoint, max_epochs=3)
        first = [record for record in rest if record["epoch"] == 0]
        assert images_of(records[:step] + first) == Counter(range(IMAGES))
        for epoch in (1, 2):  # and the epochs after it are whole
            later = [record for record in rest if record["epoch"] == epoch]
            assert images_of(later) == Counter(range(IMAGES))


def test_resume_at_the_last_step_of_an_epoch_in_another_layout(images, cache, tmp_path):
    data = config_of(images, cache)
    epoch = len(fit(data, tmp_path, keep=True))
    for size, settings in ((2, {}), (1, {}), (9, {}), (2, {"accumulate_grad_batches": 3})):
        config = config_of(images, cache, batches={"batch_size": size})
        checkpoint = tmp_path / f"checkpoints/step={epoch}.ckpt"
        rest = fit(config, tmp_path / "rest", checkpoint=checkpoint, max_epochs=3, **settings)
        for later in (1, 2):
            steps = [record for record in rest if record["epoch"] == later]
            assert images_of(steps) == Counter(range(IMAGES)), (size, later)


@pytest.mark.parametrize(
    ("before", "after", "limit", "step"),
    [("drop", "keep", 1.0, 10), ("keep", "keep", 4, 4), ("keep", "keep", 0.5, 6)],
)
def test_resume_at_what_was_the_last_step_of_an_epoch(
    images, cache, tmp_path, before, after, limit, step
):
    """Lightning had counted the epoch as over; the next one is whole all the same."""
    config = config_of(images, cache, batches={"short_batch": before})
    whole = fit(config, tmp_path, keep=True, limit_train_batches=limit)
    assert len(whole) == step
    config = config_of(images, cache, batches={"short_batch": after})
    checkpoint = tmp_path / f"checkpoints/step={step}.ckpt"
    rest = fit(config, tmp_path / "rest", checkpoint=checkpoint, max_epochs=3)
    for later in (1, 2):
        steps = [record for record in rest if record["epoch"] == later]
        assert images_of(steps) == Counter(range(IMAGES))


def test_an_epoch_that_was_ended_in_its_middle_is_told(images, cache, tmp_path, caplog):
    config = config_of(images, cache)
    callback = ModelCheckpoint(tmp_path, save_last=True)
    trainer = trainer_of(tmp_path, [callback], max_epochs=3, max_steps=5)
    trainer.fit(Recorder(), datamodule=BucketDataModule(config))
    rest = fit(config, tmp_path / "rest", checkpoint=tmp_path / "last.ckpt", max_epochs=3)
    told = f"after epoch 0 had been ended {len(rest) // 2 - 5} steps early, by max_steps or the"
    assert caplog.text.count(told) == 1
    assert {record["epoch"] for record in rest} == {1, 2}
    assert images_of(rest) == Counter(2 * [*range(IMAGES)])


class Renamed(BucketDataModule):
    """Lightning keeps the state of a datamodule under the name of its class."""


def test_a_state_of_another_class_goes_on_exactly_or_is_refused(
    images, cache, uninterrupted, tmp_path
):
    out, records = uninterrupted
    checkpoint = out / "checkpoints/step=5.ckpt"
    model = Recorder()
    trainer = trainer_of(tmp_path, max_epochs=2)
    dm = Renamed(config_of(images, cache))
    trainer.fit(model, datamodule=dm, ckpt_path=checkpoint)
    assert content(model.records) == content(records[5:])
    dm = Renamed(config_of(images, cache, batches={"batch_size": 2}))
    with pytest.raises(ResumeError, match=r"the Trainer has counted 24: the datamodule's own"):
        trainer_of(tmp_path, max_epochs=2).fit(Recorder(), datamodule=dm, ckpt_path=checkpoint)


def test_resume_twice_the_second_time_at_the_last_step(images, cache, tmp_path):
    fit(config_of(images, cache), tmp_path, keep=True, max_steps=2)
    config = config_of(images, cache, batches={"batch_size": 2})
    checkpoint, out = tmp_path / "checkpoints/step=2.ckpt", tmp_path / "second"
    whole = fit(config, out, checkpoint=checkpoint, keep=True, max_epochs=2)
    rest_of_epoch = sum(record["epoch"] == 0 for record in whole)
    checkpoint = out / f"checkpoints/step={2 + rest_of_epoch}.ckpt"
    rest = fit(config, tmp_path / "third", checkpoint=checkpoint, max_epochs=2)
    assert content(rest) == content(whole[rest_of_epoch:])
    assert images_of(rest) == Counter(range(IMAGES))


def test_a_fit_without_a_checkpoint_begins_at_the_beginning(images, cache, uninterrupted, tmp_path):
    out, records = uninterrupted
    checkpoint = out / "checkpoints/step=3.ckpt"
    config = config_of(images, cache, data={"val": str(images)})
    for use in ("fit", "validate"):
        dm = BucketDataModule(config)
        trainer = trainer_of(tmp_path, max_epochs=1)
        getattr(trainer, use)(Recorder(), datamodule=dm, ckpt_path=checkpoint)
        model = Recorder()
        trainer_of(tmp_path, max_epochs=1).fit(model, datamodule=dm)
        again = of_stage(model.records)
        assert content(again) == content(records[: len(records) // 2]), use


def test_a_state_that_was_loaded_by_hand_serves_one_run(images, cache, uninterrupted, tmp_path):
    out, records = uninterrupted
    checkpoint = out / "checkpoints/step=3.ckpt"
    dm = BucketDataModule.load_from_checkpoint(checkpoint, weights_only=False)
    runs = []
    for _ in range(2):
        model = Recorder()
        trainer_of(tmp_path, max_epochs=1).fit(model, datamodule=dm)
        runs.append(content(model.records))
    epoch = content(records[: len(records) // 2])
    assert runs == [epoch[3:], epoch]


def test_a_second_run_sees_the_images_as_they_are_then(tmp_path):
    folder = paint(tmp_path / "images", 12)
    config = config_of(folder, tmp_path / "cache", data={"val": 0.25})
    dm, model = BucketDataModule(config), Recorder()
    trainer_of(tmp_path).fit(model, datamodule=dm)
    assert images_of(of_stage(model.records)) == Counter(range(9))
    paint(folder, 20)
    out, model = tmp_path / "second", Recorder()
    trainer_of(out, [every_step(out)]).fit(model, datamodule=dm)
    assert images_of(of_stage(model.records)) == Counter(range(15))
    rest = of_stage(fit(config, tmp_path / "rest", checkpoint=out / "step=2.ckpt"))
    assert content(rest) == content(of_stage(model.records)[2:])


def test_reloading_is_each_trainers_own(images, cache, uninterrupted, tmp_path):
    out, _ = uninterrupted
    dm = BucketDataModule(config_of(images, cache, batches={"batch_size": 2}))
    first = trainer_of(tmp_path, max_epochs=1)
    first.fit(Recorder(), datamodule=dm, ckpt_path=out / "checkpoints/step=5.ckpt")
    second = trainer_of(tmp_path, max_epochs=3, reload_dataloaders_every_n_epochs=1)
    second.fit(Recorder(), datamodule=dm)
    assert second.reload_dataloaders_every_n_epochs == 1
    assert first.reload_dataloaders_every_n_epochs == 0


def test_an_epoch_without_a_batch_is_no_training(tmp_path):
    folder = paint(tmp_path / "images", 5)
    batches = {"batch_size": 3, "short_batch": "drop"}
    with pytest.raises(DataError, match="an epoch has no batch: none of 5 images is in a bucket"):
        fit(config_of(folder, tmp_path / "cache", batches=batches), tmp_path)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_transform_that_runs_out_ends_no_epoch(images, cache, tmp_path, workers):
    numbers = iter(range(20))

    def transform(image, sample):
        next(numbers)
        return image

    config = config_of(images, cache, loader={"num_workers": workers})
    dm = BucketDataModule(config, train_transform=transform)
    with pytest.raises(RuntimeError, match="train_transform ran out of something at"):
        trainer_of(tmp_path).fit(Recorder(), datamodule=dm)


def test_loaders_of_their_own_in_every_stage(images, cache, tmp_path):
    dm = BucketDataModule(config_of(images, cache, data={"predict": str(images)}))
    dm.prepare_data()
    dm.setup()
    model = Recorder()
    trainer_of(tmp_path).predict(model, dataloaders=dm.predict_dataloader())
    assert images_of(model.records) == Counter(range(IMAGES))

    class OfBytes(Recorder):
        def loss(self, batch):
            return super().loss({"image": batch["image"].float()})

    model = OfBytes()
    trainer = trainer_of(tmp_path, max_epochs=2, overfit_batches=2)
    trainer.fit(model, train_dataloaders=dm.loader("train"))
    assert [record["epoch"] for record in model.records] == [0, 0, 1, 1]


def test_validation_runs_after_an_epoch_that_was_laid_out_anew(images, cache, tmp_path):
    config = config_of(images, cache, data={"val": 0.2})
    fit(config, tmp_path, keep=True)
    for size in (1, 9):
        other = config_of(images, cache, data={"val": 0.2}, batches={"batch_size": size})
        rest = fit(
            other, tmp_path / "rest", checkpoint=tmp_path / "checkpoints/step=4.ckpt", max_epochs=3
        )
        for epoch in range(3):
            val = [r for r in of_stage(rest, "val") if r["epoch"] == epoch]
            assert images_of(val) == Counter(range(9))


def test_a_changed_dataset_is_refused_or_accepted(images, cache, uninterrupted, tmp_path):
    out, _ = uninterrupted
    checkpoint = out / "checkpoints" / "step=3.ckpt"
    config = config_of(images, cache, buckets={"max_area": 48 * 48})
    with pytest.raises(ResumeError, match=r"its plan is .*on_change=restart_epoch"):
        fit(config, tmp_path, checkpoint=checkpoint)
    config["batches"]["on_change"] = "restart_epoch"
    rest = fit(config, tmp_path, checkpoint=checkpoint, max_epochs=2)
    for epoch in range(2):
        assert images_of([r for r in rest if r["epoch"] == epoch]) == Counter(range(IMAGES))


def touched(folder: Path) -> None:
    os.utime(folder / "image_0002.png", ns=(1, 1))


def added(folder: Path) -> None:
    shutil.copy(folder / "image_0001.png", folder / "image_9999.png")


def removed(folder: Path) -> None:
    (folder / "image_0002.png").unlink()


def renamed(folder: Path) -> None:
    (folder / "image_0002.png").rename(folder / "other.png")


def of_another_size(folder: Path) -> None:
    Image.new("RGB", (77, 55)).save(folder / "image_0002.png")


@pytest.mark.parametrize("change", [touched, added, removed, renamed, of_another_size])
def test_files_that_changed_since_the_checkpoint(tmp_path, change):
    folder = paint(tmp_path / "images", 20)
    config = config_of(folder, tmp_path / "cache")
    whole = fit(config, tmp_path, keep=True, max_epochs=2)
    checkpoint = tmp_path / "checkpoints" / "step=3.ckpt"
    change(folder)
    if change is touched:  # the same images: the run goes on
        rest = fit(config, tmp_path / "rest", checkpoint=checkpoint, max_epochs=2)
        assert content(rest) == content(whole[3:])
        return
    with pytest.raises(ResumeError, match=r"its dataset is .*on_change=restart_epoch"):
        fit(config, tmp_path / "rest", checkpoint=checkpoint, max_epochs=2)
    config["batches"]["on_change"] = "restart_epoch"
    rest = fit(config, tmp_path / "rest", checkpoint=checkpoint, max_epochs=2)
    images = len(list(folder.iterdir()))
    for epoch in range(2):
        assert images_of([r for r in rest if r["epoch"] == epoch]) == Counter(range(images))


def test_sources_in_another_order_are_another_dataset(tmp_path):
    folders = [str(paint(tmp_path / name, 6, sizes=[(64, 64)])) for name in ("a", "b")]
    config = config_of(folders[0], tmp_path / "cache")
    config["data"]["train"] = folders
    fit(config, tmp_path, keep=True)
    config["data"]["train"] = folders[::-1]
    with pytest.raises(ResumeError, match=r"its dataset is .*on_change=restart_epoch"):
        fit(config, tmp_path / "rest", checkpoint=tmp_path / "checkpoints" / "step=2.ckpt")


# -- the Trainer's switches ----------------------------------------------------------------------


def test_a_file_that_rots_does_not_stand_in_the_way_of_a_resume(tmp_path):
    """It fails, is remembered, stays in the running job's plan, and is left out of the next."""
    folder = paint(tmp_path / "images", 20)
    config = config_of(folder, tmp_path)
    BucketDataModule(config).prepare_data()
    rotten = folder / "image_0003.png"
    data = rotten.read_bytes()
    rotten.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    os.utime(rotten, ns=(0, 0))  # the header is whole; that it changed is noticed
    whole = fit(config, tmp_path, keep=True, max_epochs=2)
    assert images_of(whole) == Counter({i: 2 for i in range(20) if i != 3})
    for step in range(1, len(whole), 2):
        checkpoint = tmp_path / "checkpoints" / f"step={step}.ckpt"
        rest = fit(config, tmp_path / "rest", checkpoint=checkpoint, max_epochs=2)
        assert content(rest) == content(whole[step:])
    afresh = BucketDataModule(config)
    afresh.prepare_data()
    afresh.setup("fit")
    assert list(afresh.plan.excluded) == [3]
    assert afresh.plan.counts.sum() == 19


def test_repeats_of_sources(images, tmp_path):
    best = paint(tmp_path / "best", 2)
    sources = [str(images), {"path": str(best), "repeats": 5}]
    config = config_of(images, tmp_path, data={"train": sources, "val": 0.2})
    records = fit(config, tmp_path, max_epochs=1)
    repeats = Counter(images_of(of_stage(records)).values())
    assert set(repeats) <= {1, 5}
    assert sum(repeats.values()) == 38
    assert set(images_of(of_stage(records, "val")).values()) == {1}


def test_one_cycle_builds_loaders_before_states_are_restored(images, cache, tmp_path):
    config = config_of(images, cache)
    whole = fit(config, tmp_path, keep=True, model=Recorder(one_cycle=True), max_epochs=2)
    for step in (3, len(whole) // 2, len(whole) // 2 + 2):
        checkpoint = tmp_path / "checkpoints" / f"step={step}.ckpt"
        model = Recorder(one_cycle=True)
        rest = fit(config, tmp_path / "rest", checkpoint=checkpoint, model=model, max_epochs=2)
        assert content(rest) == content(whole[step:])


def test_overfit_batches_repeats_the_same_batches(images, cache, tmp_path):
    records = fit(config_of(images, cache), tmp_path, overfit_batches=3, max_epochs=3)
    epochs = [[r["index"] for r in records if r["epoch"] == epoch] for epoch in range(3)]
    assert [len(epoch) for epoch in epochs] == [3, 3, 3]
    assert epochs[0] == epochs[1] == epochs[2]


def test_resume_of_the_same_batches(images, cache, tmp_path):
    settings = {"overfit_batches": 3, "max_epochs": 3}
    whole = fit(config_of(images, cache), tmp_path, keep=True, **settings)
    for step in range(1, 9):
        checkpoint = tmp_path / "checkpoints" / f"step={step}.ckpt"
        rest = fit(config_of(images, cache), tmp_path / "rest", checkpoint=checkpoint, **settings)
        assert content(rest) == content(whole[step:])


def test_runs_with_other_limits_share_a_cache(images, tmp_path):
    runs = [
        BucketDataModule(config_of(images, tmp_path, data=data))
        for data in ({}, {"min_image_side": 60}, {"max_image_ratio": 1.2}, {})
    ]
    for dm in runs:
        dm.prepare_data()
    for dm in runs:
        dm.setup("fit")
    sizes = [len(dm.manifest_of("train")) for dm in runs]
    assert sizes[0] == sizes[3] == IMAGES
    assert min(sizes[1:3]) > 0
    assert max(sizes[1:3]) < IMAGES


def test_limited_batches(images, cache, uninterrupted, tmp_path):
    _, records = uninterrupted
    settings = {"limit_train_batches": 3, "max_epochs": 2}
    limited = fit(config_of(images, cache), tmp_path, keep=True, **settings)
    half = len(records) // 2
    assert content(limited) == content(records[:3] + records[half : half + 3])
    for step in range(1, 6):
        checkpoint = tmp_path / "checkpoints" / f"step={step}.ckpt"
        rest = fit(config_of(images, cache), tmp_path / "rest", checkpoint=checkpoint, **settings)
        assert content(rest) == content(limited[step:])


def test_reloading_loaders_every_epoch(images, cache, uninterrupted, tmp_path):
    _, records = uninterrupted
    settings = {"reload_dataloaders_every_n_epochs": 1, "max_epochs": 2}
    whole = fit(config_of(images, cache), tmp_path, keep=True, **settings)
    assert content(whole) == content(records)
    for step in (2, len(records) // 2, len(records) // 2 + 1):
        checkpoint = tmp_path / "checkpoints" / f"step={step}.ckpt"
        rest = fit(config_of(images, cache), tmp_path / "rest", checkpoint=checkpoint, **settings)
        assert content(rest) == content(whole[step:])


def test_max_steps_stops_and_resumes_in_mid_epoch(images, cache, uninterrupted, tmp_path):
    _, records = uninterrupted
    first = fit(config_of(images, cache), tmp_path, keep=True, max_steps=4, max_epochs=-1)
    assert content(first) == content(records[:4])
    rest = fit(
        config_of(images, cache),
        tmp_path / "rest",
        checkpoint=tmp_path / "checkpoints/step=4.ckpt",
        max_steps=len(records),
        max_epochs=-1,
    )
    assert content(rest) == content(records[4:])


def test_fast_dev_run_and_sanity_checks(images, cache, tmp_path):
    config = config_of(images, cache, data={"val": 0.2})
    assert len(of_stage(fit(config, tmp_path, fast_dev_run=2))) == 2
    records = fit(config, tmp_path, num_sanity_val_steps=-1)
    assert images_of(of_stage(records)) == Counter(range(36))


def test_the_tuner_finds_a_batch_size(images, cache, tmp_path):
    from lightning.pytorch.tuner import Tuner

    dm = BucketDataModule(config_of(images, cache))
    trainer = trainer_of(tmp_path, max_epochs=1)
    size = Tuner(trainer).scale_batch_size(
        Recorder(), datamodule=dm, max_trials=2, steps_per_trial=1, init_val=2
    )
    assert dm.batch_size == size
    trainer = trainer_of(tmp_path)
    model = Recorder()
    trainer.fit(model, datamodule=dm)
    assert max(len(record["index"]) for record in model.records) <= size
    assert images_of(model.records) == Counter(range(IMAGES))


def test_checkpoints_load_without_running_code(uninterrupted):
    out, _ = uninterrupted
    state = torch.load(out / "checkpoints" / "step=3.ckpt", weights_only=True)
    assert state["BucketDataModule"]["train"]["step"] == 3
    assert state["datamodule_hyper_parameters"]["config"]["batches"]["batch_size"] == 4


def test_no_global_randomness_is_changed_by_loading(images, cache):
    dm = BucketDataModule(config_of(images, cache, loader={"num_workers": 2}))
    dm.prepare_data()
    dm.setup("fit")
    torch.manual_seed(0)
    before, state = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    next(iter(dm.train_dataloader()))
    assert torch.equal(torch.get_rng_state(), before)
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002
