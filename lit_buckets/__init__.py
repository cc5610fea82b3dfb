"""Same-shape batches of images of every shape, for PyTorch Lightning."""

from lit_buckets.plan import BucketPlan, plan_buckets
from lit_buckets.sampler import BucketBatch, BucketBatchSampler
