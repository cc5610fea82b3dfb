"""What a plan and its epochs will do, to be read before training starts.

1. ``tables``: the bucket table and a few sentences, for a terminal.
"""

from lit_buckets.report.tables import (
    accounting_line,
    curve_line,
    plan_table,
    repeats_line,
    summary,
)

__all__ = ["accounting_line", "curve_line", "plan_table", "repeats_line", "summary"]
