"""Same-shape batches of images of every shape, for PyTorch Lightning."""

from importlib.metadata import version

from lit_buckets.config import Config, load_config
from lit_buckets.datamodule import BucketDataModule
from lit_buckets.errors import ConfigError, DataError, LitBucketsError, ResumeError
from lit_buckets.loader import BucketDataLoader
from lit_buckets.manifest import Manifest
from lit_buckets.pixels.dataset import BucketDataset
from lit_buckets.plan import BucketPlan, plan_buckets
from lit_buckets.sampler import BucketBatch, BucketBatchSampler
from lit_buckets.scan import scan

__all__ = [
    "BucketBatch",
    "BucketBatchSampler",
    "BucketDataLoader",
    "BucketDataModule",
    "BucketDataset",
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
