"""The report as one HTML file: its parts put together.

The file asks nothing of a network. What the browser may do is limited by a content security
policy to the file's own script and style sheet, known by their hashes, and to embedded pictures.
Names, captions and reasons come from outside: the template engine escapes what it writes, and the
script sets text, never markup.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jinja2
import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from lit_buckets.config import Config, to_plain
from lit_buckets.manifest import Manifest
from lit_buckets.pixels.sample import SampleReader
from lit_buckets.plan import BucketPlan
from lit_buckets.report import facts, figures
from lit_buckets.report.listing import FATES, MOST_ROWS, Listing, common_root, fates_of, listings
from lit_buckets.report.losses import Curve, Loss, curve_of, loss_of, spread_of
from lit_buckets.report.tables import accounting_line, resolutions_line
from lit_buckets.report.thumbnails import greatest_losses
from lit_buckets.sampler import BucketBatchSampler

__all__ = ["HasImages", "page", "write_page", "write_report"]

_THUMBNAILS = 24
_SETTINGS = ("buckets", "batches", "transform")  # sections that decide what a report tells


class HasImages(Protocol):
    """What a report asks of a datamodule that is set up."""

    config: Config

    def loader(self, stage: Any, *, num_replicas: int, rank: int, num_workers: int) -> Any:
        """A loader for one rank, with ``dataset`` and ``batches``."""


def write_report(
    module: HasImages, file: str | PathLike[str], *, ranks: int = 1, stage: str = "train"
) -> None:
    """Write the report of a datamodule's images.

    Args:
        module: A :class:`~lit_buckets.BucketDataModule` that is set up for the stage.
        file: Where to; the suffix ``.html`` is not added.
        ranks: For how many ranks an epoch is counted, at least 1.
        stage: train, val, test or predict.

    Raises:
        ValueError: If ``ranks`` is less than 1.
        LitBucketsError: If there are no such images, or they are not set up yet.
    """
    if ranks < 1:
        raise ValueError(f"ranks={ranks} must be at least 1.")
    loader = module.loader(stage, num_replicas=ranks, rank=0, num_workers=0)
    config = to_plain(module.config)
    write_page(
        file,
        loader.dataset.manifest,
        loader.batches,
        name=stage,
        reader=loader.dataset.reader,
        settings={section: config[section] for section in _SETTINGS},
    )


def write_page(
    file: str | PathLike[str], manifest: Manifest, sampler: BucketBatchSampler, **options: Any
) -> None:
    """Write the report of a manifest and its sampler.

    Args:
        file: Where to.
        manifest: The images.
        sampler: Their sampler, for the number of ranks that the report is about.
        options: As of :func:`page`.
    """
    Path(file).write_text(page(manifest, sampler, **options), encoding="utf-8", newline="\n")


def page(
    manifest: Manifest,
    sampler: BucketBatchSampler,
    *,
    name: str = "train",
    thumbnails: int = _THUMBNAILS,
    reader: SampleReader | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """The report as an HTML document that needs nothing beside it.

    Args:
        manifest: The images.
        sampler: Their sampler, for the number of ranks that the report is about.
        name: What the images are for: train, val, test or predict.
        thumbnails: How many of the most cropped images are shown, at most.
        reader: How images are decoded and placed; ``None`` for a centred crop.
        settings: Sections of settings that the plan was made with, to be told at the end.

    Returns:
        The document; the same for the same arguments.
    """
    plan = sampler.plan
    reader = reader or SampleReader(manifest=manifest)
    fates = fates_of(sampler)
    loss = loss_of(plan)
    lists = listings(manifest, sampler, fates, loss.values)
    curve = curve_of(loss, plan)
    buckets = facts.bucket_sums(sampler, loss.values)
    worst = greatest_losses(plan, loss.values, thumbnails, reader)
    return _render(
        name=name,
        images=len(manifest),
        shapes=len(plan.bucket_sizes),
        numbers=facts.the_numbers(manifest, sampler, loss),
        remarks=facts.remarks(manifest, sampler, _count(lists, "cut")),
        epoch=accounting_line(sampler.accounting(), sampler.num_replicas),
        resolutions=resolutions_line(plan),
        figures=_figures(manifest, plan, buckets, fates, loss, curve),
        moved=len(plan.moved_from),
        density=plan.images > figures.MOST_POINTS,
        most_buckets=figures.MOST_BUCKETS,
        shades=range(1, figures.SHADES + 1),
        loss=loss,
        spread=spread_of(loss, plan),
        curve=curve,
        fit=plan.fit,
        crop=reader.crop,
        thumbnails=[(w, manifest.path(w.image), manifest.caption(w.image)) for w in worst],
        sources=facts.source_sums(manifest, plan),
        on_ranks=facts.on_ranks(sampler),
        root=common_root(manifest),
        lists=lists,
        data={
            "loss": loss.name,
            "buckets": _fullest(buckets),
            "lists": [each._asdict() for each in lists],
        },
        settings=settings or {},
        plan=plan.hash,
        dataset=plan.dataset,
    )


def _render(**values: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_own),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    environment.filters["share"] = lambda value: f"{value:.1%}"
    environment.filters["plural"] = lambda count: "" if count == 1 else "s"
    environment.filters["number"] = lambda value: f"{value:,}"
    style, script = (_Part.of(_own(file)) for file in ("report.css", "report.js"))
    return environment.get_template("report.html").render(values, style=style, script=script)


class _Part(NamedTuple):
    """A style sheet or script, and what the content security policy knows it by."""

    content: Markup
    source: str

    @classmethod
    def of(cls, text: str) -> _Part:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        return cls(Markup(text), f"'sha256-{digest}'")


def _own(file: str) -> str:
    """A file of the page that lies beside this module."""
    return (resources.files(__package__) / "page" / file).read_text(encoding="utf-8")


def _figures(
    manifest: Manifest,
    plan: BucketPlan,
    buckets: list[facts.BucketSum],
    fates: npt.NDArray[np.int8],
    loss: Loss,
    curve: Curve,
) -> dict[str, Markup]:
    # where images come at several resolutions, each is drawn once
    rows = np.arange(len(plan)) if plan.image is None else np.unique(plan.image, True)[1]
    few = len(rows) <= figures.MOST_POINTS
    names = list(FATES)
    moved = np.array([bucket.moved for bucket in buckets], dtype=np.int64)
    drawn = {
        "sizes": figures.size_map(
            plan.sizes[rows],
            plan.bucket_sizes,
            plan.counts,
            fates=[names[number] for number in fates[rows].tolist()] if few else (),
            names=manifest.paths if few else (),
        ),
        "buckets": figures.bucket_bars(plan.bucket_sizes, plan.counts, moved),
        "losses": figures.loss_histogram(loss.values[plan.bucket_of >= 0], loss.name),
    }
    if curve.points:
        drawn["curve"] = figures.loss_curve(
            curve.points, len(plan.bucket_sizes), curve.mean, loss.name
        )
    return drawn


def _fullest(buckets: list[facts.BucketSum]) -> list[facts.BucketSum]:
    """As many buckets as a page may list, in their order."""
    order = sorted(range(len(buckets)), key=lambda k: -buckets[k].images)
    return [buckets[k] for k in sorted(order[:MOST_ROWS])]


def _count(lists: list[Listing], fate: str) -> int:
    return next((each.total for each in lists if each.fate == fate), 0)
