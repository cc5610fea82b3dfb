"""Which bucket each image goes to, how it is cropped, and who is left out and why.

Each part imports only from those before it:

1. ``shapes``: sets of bucket sizes, and which of them is nearest to an image.
2. ``fewest``: the best few of a set for the images at hand, exactly.
3. ``choice``: what each image wants, by rule.
4. ``strata``, ``bucket_plan``: the plan itself, on disk and in memory.
5. ``planning``: from sizes to a plan.
6. ``ledger``: what a plan does to each image, as a table and in sum, and how two plans differ.
"""

from lit_buckets.plan.bucket_plan import BucketPlan
from lit_buckets.plan.planning import Rule, SmallBucket, plan_buckets

__all__ = ["BucketPlan", "Rule", "SmallBucket", "plan_buckets"]
