"""Same-shape batches of images of every shape, for PyTorch Lightning."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from lit_buckets.config import Config, load_config
from lit_buckets.errors import ConfigError, DataError, LitBucketsError, ResumeError
from lit_buckets.manifest import Manifest
from lit_buckets.plan import BucketPlan, plan_buckets
from lit_buckets.scan import scan

if TYPE_CHECKING:
    from lit_buckets.callbacks import BucketMonitor
    from lit_buckets.datamodule import BucketDataModule
    from lit_buckets.loader import BucketDataLoader
    from lit_buckets.pixels.dataset import BucketDataset
    from lit_buckets.sampler import BucketBatch, BucketBatchSampler

__all__ = [
    "BucketBatch",
    "BucketBatchSampler",
    "BucketDataLoader",
    "BucketDataModule",
    "BucketDataset",
    "BucketMonitor",
    "BucketPlan",
    "Config",
    "ConfigError",
    "DataError",
    "LitBucketsError",
    "Manifest",
    "ResumeError",
    "load_config",
    "plan_buckets",
    "scan",
]

__version__ = version("lit_buckets")

# torch and Lightning take seconds to import: what needs them is imported when it is asked for
_WITH_TORCH = {
    "BucketBatch": "lit_buckets.sampler",
    "BucketBatchSampler": "lit_buckets.sampler",
    "BucketDataLoader": "lit_buckets.loader",
    "BucketDataModule": "lit_buckets.datamodule",
    "BucketDataset": "lit_buckets.pixels.dataset",
    "BucketMonitor": "lit_buckets.callbacks",
}


def __getattr__(name: str) -> Any:
    if name not in _WITH_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_WITH_TORCH[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
