"""All of it, wired for Lightning. Beside ``callbacks`` the only place that knows the Trainer."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.trainer.states import TrainerFn
from rich.console import Group

from lit_buckets import report
from lit_buckets.config import Config, load_config, to_plain
from lit_buckets.delivery import check_pixels, make_dataset, normalized, plan_rows
from lit_buckets.errors import ConfigError, DataError
from lit_buckets.loader import BucketDataLoader, died
from lit_buckets.manifest import Manifest
from lit_buckets.pixels.dataset import BucketDataset
from lit_buckets.plan import BucketPlan, ledger
from lit_buckets.report.html import write_report
from lit_buckets.sampler import BucketBatchSampler
from lit_buckets.stages import STAGES, Stage, StageImages, open_stage, plan_stage, scan_stage

__all__ = ["BucketDataModule"]

Transform = Callable[[torch.Tensor, dict[str, Any]], torch.Tensor]

log = logging.getLogger("lit_buckets")

_STAGES: dict[str | None, tuple[Stage, ...]] = {
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
    "predict": ("predict",),
    None: STAGES,
}


class BucketDataModule(LightningDataModule):
    """Same-shape batches of images of every shape.

    ``trainer.fit(model, datamodule=BucketDataModule("configs/default.yaml"))`` is all that most
    users need. Without a Trainer, ``dm.prepare_data(); dm.setup("fit"); dm.train_dataloader()``
    is a loader for one process.

    A batch is a dictionary: ``image`` (B, 3, H, W), uint8 from the loader and normalised on the
    device; ``mask`` (B, 1, H, W), false where a padded image leaves its bucket empty; ``caption``
    and ``path``, lists of B strings; ``index`` (B,) rows of the manifest; ``original_size``,
    ``crop_top_left`` and ``target_size`` (B, 2), (height, width) and (top, left) in pixels;
    ``valid`` (B,) false for a sample repeated only to fill a place; and all further columns, those
    of paired images as (B, 3, H, W) like ``image``, or (B, H, W) int64 labels.

    Args:
        config: Path to a YAML file, mapping, OmegaConf object, or
            :class:`~lit_buckets.config.Config`.
        overrides: Strings ``section.key=value`` that are put into it, in order.
        train_transform: Called on (image, sample) after resize, crop and flip, in the workers;
            the image is uint8 (3, H, W), and an image of the same size comes back.
        eval_transform: The same for val, test and predict.

    Raises:
        ConfigError: If the configuration has a mistake.
    """

    def __init__(
        self,
        # LightningCLI takes the first that fits: a mapping must not end as the name of a file
        config: Mapping[str, Any] | str | os.PathLike[str] | Config,
        *,
        overrides: Sequence[str] = (),
        train_transform: Transform | None = None,
        eval_transform: Transform | None = None,
    ) -> None:
        super().__init__()
        self.config = load_config(config, overrides)
        # plain values only, so that a checkpoint loads without running code
        self.save_hyperparameters({"config": to_plain(self.config)})
        self.train_transform, self.eval_transform = train_transform, eval_transform
        if self.config.data.val is None:
            # to have no validation set is a choice, not the mistake that Lightning takes it for
            for message in (
                "Total length of `list` across",
                "You passed in a `val_dataloader` but",
            ):
                warnings.filterwarnings("ignore", message=message)
        self._images: dict[Stage, StageImages] = {}
        self._settled: set[Stage] = set()  # which of them this run has set up
        self._train_loader: BucketDataLoader | None = None
        self._state: dict[str, Any] | None = None
        self._is_used = False  # whether what is here is of a run that begins no more
        self._reload_every: tuple[Any, int] | None = None  # a Trainer, and what it had been told

    @property
    def hparams_initial(self) -> Any:
        """What Lightning hands to the loggers: the configuration, and the training images in sum.

        On rank 0, once the training images are set up, ``train_data`` holds their plan, as
        :func:`lit_buckets.plan.ledger.outline` gives it, and what an epoch does on these ranks.
        Checkpoints hold the configuration alone.
        """
        told = super().hparams_initial
        if "train" in self._images and self._host is not None and self._host.is_global_zero:
            sampler = self._sampler("train")
            told["train_data"] = {"plan": ledger.outline(sampler.plan), "epoch": _epoch(sampler)}
        return told

    # -- the setup pass: one process of a node ---------------------------------------------------

    def prepare_data(self) -> None:
        """Size all images and write the manifests. Lightning calls it on one process of a node.

        A bar is shown in a terminal, unless the Trainer shows none.
        """
        quiet = self._host is not None and self._host.progress_bar_callback is None
        for stage in STAGES:
            scan_stage(self.config, stage, progress=False if quiet else None)

    # -- the plan: every rank, with the same result ----------------------------------------------

    def setup(self, stage: str | None = None) -> None:
        """Map the manifests and plan the buckets.

        Within a run, what is set up stays; the next run sees the images as they are then.

        Args:
            stage: fit, validate, test or predict; ``None`` for all.

        Raises:
            ConfigError: If the images cannot follow the configuration.
            DataError: If a manifest is missing, no training image is left, or ranks see different
                images.
        """
        if self._is_used:  # a Trainer restores the state of this run after this
            self._state, self._is_used = None, False
            self._settled.clear()
        for name in _STAGES[stage]:
            if name not in self._settled and (images := open_stage(self.config, name)) is not None:
                self._images[name] = images
                self._settled.add(name)
                self._check_ranks(name)
                check_pixels(self.config, name, images)
                self._check_images(name)
                if name == "train":
                    self._check_batch_size()

    def teardown(self, stage: str | None = None) -> None:
        """End a run.

        Args:
            stage: fit, validate, test or predict; of no meaning here.
        """
        self._is_used = True

    @property
    def plan(self) -> BucketPlan:
        """The plan of the training images."""
        return self._of("train").plan

    def plan_of(self, stage: Stage) -> BucketPlan:
        """The plan of the images of a stage."""
        return self._of(stage).plan

    def manifest_of(self, stage: Stage) -> Manifest:
        """The manifest of the images of a stage; its rows are what ``index`` counts."""
        return self._of(stage).manifest

    def write_plan(self, file: str | os.PathLike[str], stage: Stage = "train") -> None:
        """Write what happens to each image as a table, one row an image, to be read by people.

        To use a plan again, save it instead: ``dm.plan.save("plan.arrow")``, and set
        ``buckets.plan`` to that file.

        Args:
            file: Ends in ``.arrow``, ``.parquet`` or ``.csv``; columns as in
                :func:`lit_buckets.plan.ledger.rows`.
            stage: train, val, test or predict.
        """
        images = self._of(stage)
        rows = plan_rows(self.config, stage, images, paths=images.manifest.paths)
        ledger.write_rows(rows, file)

    def write_report(
        self, file: str | os.PathLike[str], stage: Stage = "train", ranks: int = 1
    ) -> None:
        """Write what to know before training as one HTML file, to be read in a browser.

        Args:
            file: Where to, such as ``report.html``.
            stage: train, val, test or predict.
            ranks: For how many ranks an epoch is counted, at least 1.
        """
        write_report(self, file, ranks=ranks, stage=stage)

    def summary(self, *, ranks: int | None = None) -> Group:
        """Bucket tables and the accounting of an epoch, for every stage that is set up.

        Args:
            ranks: World size that the epoch is meant for; ``None`` = the Trainer's, or 1.

        Returns:
            A rich renderable: ``rich.print(dm.summary())``.
        """
        return Group(
            *(
                report.summary(
                    name,
                    self._sampler(name, ranks, None if ranks is None else 0),
                    refused=len(images.manifest.refused),
                    sources=ledger.by_source(
                        images.plan,
                        images.manifest.source_of,
                        images.manifest.labels,
                    ),
                    paths=images.manifest.paths,
                )
                for name, images in self._images.items()
            )
        )

    def facts(self, *, ranks: int | None = None) -> dict[str, Any]:
        """The same as :meth:`summary` in plain values that JSON takes.

        Args:
            ranks: World size that the epoch is meant for; ``None`` = the Trainer's, or 1.

        Returns:
            For every stage that is set up what :func:`lit_buckets.plan.ledger.summarize` gives of
            its plan, how many files were ``refused``, and what an ``epoch`` does.
        """
        told: dict[str, Any] = {}
        for name, images in self._images.items():
            sampler = self._sampler(name, ranks, None if ranks is None else 0)
            told[name] = ledger.summarize(images.plan) | {
                "refused": len(images.manifest.refused),
                "epoch": _epoch(sampler),
            }
        return told

    # -- loaders ---------------------------------------------------------------------------------

    def dataset(self, stage: Stage) -> BucketDataset:
        """What reads the samples of a stage, as its loaders' workers do.

        Args:
            stage: train, val, test or predict.

        Returns:
            A new dataset.
        """
        transform = self.train_transform if stage == "train" else self.eval_transform
        return make_dataset(self.config, stage, self._of(stage), transform)

    def loader(
        self,
        stage: Stage,
        *,
        num_replicas: int | None = None,
        rank: int | None = None,
        num_workers: int | None = None,
    ) -> BucketDataLoader:
        """A loader for one rank, in plain PyTorch, in Fabric, or to see what a rank will see.

        Args:
            stage: train, val, test or predict.
            num_replicas: World size; ``None`` = the Trainer's, or 1.
            rank: In [0, ``num_replicas``); ``None`` = the Trainer's, or 0.
            num_workers: ``None`` = the configuration's.

        Returns:
            A new loader at the beginning of epoch 0.
        """
        options = self.config.loader
        return BucketDataLoader(
            self.dataset(stage),
            self._sampler(stage, num_replicas, rank),
            num_workers=options.num_workers if num_workers is None else num_workers,
            prefetch_factor=options.prefetch_factor,
            pin_memory=options.pin_memory,
            persistent_workers=options.persistent_workers,
            multiprocessing_context=options.multiprocessing_context,
            steps_done=self._steps_done if self._fitting and stage == "train" else None,
        )

    def train_dataloader(self) -> BucketDataLoader:
        """Training batches, from where a loaded state left off.

        Raises:
            DataError: Under a Trainer, if an epoch has no batch.
            ResumeError: If the state belongs to another plan, seed or dataset, and
                ``batches.on_change`` is ``error``.
        """
        loader = self.loader("train")
        if self._fitting:
            loader.batches.check_any()
        if self._state is None:
            loader.is_counted = self._fitting
        else:
            loader = self._resumed(loader, self._state)
        self._mind_length(loader)
        self._train_loader = loader
        return loader

    def val_dataloader(self) -> BucketDataLoader | list[Any]:
        """Validation batches; none where ``data.val`` is not set."""
        if self.config.data.val is not None:
            return self.loader("val")
        return []

    def test_dataloader(self) -> BucketDataLoader:
        """Test batches."""
        return self.loader("test")

    def predict_dataloader(self) -> BucketDataLoader:
        """Batches to predict on."""
        return self.loader("predict")

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int = 0) -> Any:
        """Normalise the images on the device, in the precision of the model's weights.

        That is float32 with the Trainer's ``32-true``, ``16-mixed`` and ``bf16-mixed`` (there
        autocast rounds what may be rounded, and a loss against the image is exact), bfloat16 with
        ``bf16-true``, float16 with ``16-true`` and float64 with ``64-true``.

        Args:
            batch: From a loader of this module.
            dataloader_idx: Not used.

        Returns:
            The batch with ``image``, and paired images that are no labels, normalised as
            ``transform.normalize`` says. Masks and labels stay as they are.
        """
        return normalized(batch, self.config.transform, self._dtype())

    def on_exception(self, exception: BaseException) -> None:
        """Say what to do where a loader's worker was killed while a step was under way.

        Args:
            exception: What ended the run.
        """
        if not isinstance(exception, DataError) and (explained := died(exception)):
            log.error("%s", explained)

    # -- state -----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Where training is: a few integers, the same on every rank."""
        if self._train_loader is None:
            return {}
        left_out = [[index, reason] for index, reason in self._of("train").left_out.items()]
        return {"train": self._train_loader.state_dict(), "left_out": left_out}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where a state was taken, at any world size and batch size.

        Args:
            state_dict: From :meth:`state_dict`.

        Raises:
            ResumeError: If it belongs to another plan, seed or dataset, and
                ``batches.on_change`` is ``error``.
        """
        self._state = state_dict.get("train")
        self._is_used = self._is_used or self._host is not None
        self._leave_out(dict(state_dict.get("left_out", [])))
        # some strategies restore states only after loaders were made
        if self._state is not None and self._train_loader is not None and self._fitting:
            self._train_loader.load_state_dict(self._state)

    def _leave_out(self, left_out: Mapping[int, str]) -> None:
        """Plan as the run did that goes on: a file that failed since then is still in its plan."""
        images = self._images.get("train")
        if self._state is None or images is None or left_out.keys() == images.left_out.keys():
            return
        if self._state["dataset"] == images.plan.dataset:
            self._images["train"] = plan_stage(self.config, "train", images.manifest, left_out)

    @property
    def batch_size(self) -> int | None:
        """Images in a batch; Lightning's tuner reads and sets it, unless ``max_pixels`` does."""
        return self.config.batches.batch_size

    @batch_size.setter
    def batch_size(self, value: int) -> None:
        self.config = replace(self.config, batches=replace(self.config.batches, batch_size=value))

    # -- within ----------------------------------------------------------------------------------

    def _check_images(self, stage: Stage) -> None:
        """Refuse to train without images; say that there are none to evaluate."""
        plan = self.plan_of(stage)
        if plan.counts.any():
            return
        row, reason = next(iter(plan.excluded.items()))
        path = self.manifest_of(stage).path(plan.image_of(row))
        problem = (
            f"none of the {plan.images:,} {stage} images is in the plan; of {path!r}: "
            f"{reason}. Repair the images, or change the section buckets."
        )
        if stage == "train":
            raise DataError(problem)
        log.warning("%s", problem)

    def _check_batch_size(self) -> None:
        """Refuse to train in batches that are never as large as they were set to be."""
        batches, strata = self.config.batches, self.plan.strata
        samples = int((strata.images * strata.repeats).sum())
        if batches.short_batch != "repeat" and (batches.batch_size or 0) > samples:
            raise ConfigError(
                f"batches.batch_size={batches.batch_size} exceeds the training set; it has "
                f"{samples} samples. Set batches.batch_size={samples} or less."
            )

    def _of(self, stage: Stage) -> StageImages:
        if stage in self._images:
            return self._images[stage]
        if getattr(self.config.data, stage) is None:
            raise ConfigError(
                f"data.{stage}=null names no images, but they are asked for. "
                f"Set data.{stage} to a folder."
            )
        raise DataError(f"the {stage} images are not set up yet. Call prepare_data() and setup().")

    def _sampler(
        self, stage: Stage, num_replicas: int | None = None, rank: int | None = None
    ) -> BucketBatchSampler:
        batches, training = self.config.batches, stage == "train"
        ranks = self._ranks()
        return BucketBatchSampler(
            self._of(stage).plan,
            batch_size=batches.batch_size,
            max_pixels=batches.max_pixels,
            num_replicas=ranks["num_replicas"] if num_replicas is None else num_replicas,
            rank=ranks["rank"] if rank is None else rank,
            seed=batches.seed,
            shuffle=batches.shuffle and training,
            sync=batches.sync,
            # evaluation loses no image, whatever training does
            short_batch=batches.short_batch
            if training or batches.short_batch == "repeat"
            else "keep",
            largest_first=batches.largest_first and training,
            freeze_epoch=self._host is not None and self._host.overfit_batches > 0,
            on_change=batches.on_change,
        )

    # -- what the Trainer knows --------------------------------------------------------------------

    @property
    def _host(self) -> Any:
        """The Trainer or None, untyped: it declares few of the settings that it takes."""
        return self.trainer

    @property
    def _fitting(self) -> bool:
        return self._host is not None and self._host.state.fn == TrainerFn.FITTING

    def _ranks(self) -> dict[str, int]:
        """World size and rank as the strategy sees data: tensor-parallel ranks share theirs."""
        ranks = self._host.distributed_sampler_kwargs if self._host is not None else None
        return dict(ranks) if ranks else {"num_replicas": 1, "rank": 0}

    def _steps_done(self) -> int:
        """Batches of this epoch whose step is finished, as Lightning counts them."""
        return int(self._host.fit_loop.epoch_loop.batch_progress.current.processed)

    def _dtype(self) -> torch.dtype:
        """What the model's weights are; float32 without a model."""
        model = self._host.lightning_module if self._host is not None else None
        dtype = getattr(model, "dtype", None)
        if isinstance(dtype, torch.dtype) and dtype.is_floating_point:
            return dtype
        return torch.float32

    def _check_ranks(self, stage: Stage) -> None:
        """Stop every rank if one of them planned otherwise: they would leave one another behind."""
        if self._host is None or self._host.world_size == 1:
            return
        images = self._images[stage]
        mine = {"images": images.manifest.fingerprint, "plan": images.plan.hash}
        first = self._host.strategy.broadcast(mine)
        if self._host.strategy.reduce_boolean_decision(mine == first, all=True):
            return
        differing = " and ".join(name for name in mine if mine[name] != first[name])
        raise DataError(
            f"not all ranks have the {stage} plan of rank 0; "
            f"on rank {self._host.global_rank} its {differing or 'nothing'} differ. "
            "Give every node the same files and the same configuration."
        )

    def _resumed(self, loader: BucketDataLoader, state: Mapping[str, Any]) -> BucketDataLoader:
        """The loader where a state was taken, or at the beginning of a later epoch."""
        loader.load_state_dict(state)
        if not self._fitting or loader.batches.freeze_epoch:
            return loader
        if self._host.current_epoch > state["epoch"]:
            # a state serves its own epoch; loaders made anew for later ones begin at the beginning
            loader = self.loader("train")
        else:
            self._tell_closed(loader)
        self._end_epoch(loader)
        return loader

    def _tell_closed(self, loader: BucketDataLoader) -> None:
        """Say that the rest of an epoch does not come, which Lightning had closed in its middle."""
        epoch, limit = loader.batches.epoch, self._host.limit_train_batches
        is_whole = isinstance(limit, float) and limit == 1.0  # an integer counts batches
        is_closed = self._host.fit_loop.epoch_progress.current.processed > epoch
        if is_whole and is_closed and (left := len(loader) - loader.batches.start):
            log.warning(
                "the checkpoint was made after epoch %s had been ended %s steps early, by max_steps"
                " or the like, and the next epoch begins. To go on within an epoch, take a "
                "checkpoint that was made within it.",
                epoch,
                left,
            )

    def _end_epoch(self, loader: BucketDataLoader) -> None:
        """After a resume at an epoch's very last step, let Lightning see that the epoch is over.

        It then holds the steps of that epoch against the length of the next one, and where that is
        longer, as after a resume on other ranks, with other policies or limits, it would leave out
        as many of its first batches.
        """
        loop = self._host.fit_loop.epoch_loop
        steps = loop.batch_progress
        within_last_step = steps.total.completed < steps.total.processed
        if loop.restarting and steps.is_last_batch and within_last_step:
            steps.current.completed = max(steps.current.completed, len(loader))

    def _mind_length(self, loader: BucketDataLoader) -> None:
        """After a resume on other ranks one epoch has its own length: let Lightning ask again.

        Lightning asks for the length once and would cut later epochs to it, or wait for more.
        """
        if self._host is None:
            return
        if self._reload_every is not None:
            host, every = self._reload_every
            host.reload_dataloaders_every_n_epochs = every
            self._reload_every = None
        if len(loader) != loader.batches.accounting().rounds:
            self._reload_every = self._host, self._host.reload_dataloaders_every_n_epochs
            self._host.reload_dataloaders_every_n_epochs = 1


def _epoch(sampler: BucketBatchSampler) -> dict[str, Any]:
    """What an epoch does, in plain values."""
    return {"ranks": sampler.num_replicas} | sampler.accounting()._asdict()
