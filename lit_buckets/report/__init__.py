"""What a plan and its epochs will do, to be looked at before training starts.

1. ``losses``, ``facts``: its numbers, as plain values.
2. ``tables``: tables and sentences for a terminal.
3. ``listing``: which images are named, and what is said of each.
4. ``svg``, ``figures``: charts.
5. ``thumbnails``: the images that lose most, and where they lie in their buckets.
6. ``html``: all of it in one page, from the templates in ``page``.
"""

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
