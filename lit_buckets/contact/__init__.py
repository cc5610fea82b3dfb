"""Contact sheets: batches as a model will see them, with captions and with what was cut.

1. ``lettering``: text in whatever script, on lines of a given width.
2. ``frame``: one picture in the middle of what was cut from it, and what is written below.
3. ``sheets``: a batch on one page, and the pages of the first batches.
"""

from lit_buckets.contact.sheets import draw_batch, write_sheets

__all__ = ["draw_batch", "write_sheets"]
