"""``python -m lit_buckets`` is the command ``lit-buckets``."""

from lit_buckets.cli import main

main()
