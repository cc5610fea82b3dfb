"""What a plan and its epochs will do, to be looked at before training starts."""

from lit_buckets.report.tables import (
    accounting_line,
    curve_line,
    plan_table,
    resolutions_line,
    sources_lines,
    summary,
)

__all__ = [
    "accounting_line",
    "curve_line",
    "plan_table",
    "resolutions_line",
    "sources_lines",
    "summary",
]
