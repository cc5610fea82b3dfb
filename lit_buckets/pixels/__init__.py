"""From image files to batches of one shape, in the loader's workers.

Each part imports only from those before it:

1. ``decode``: a file becomes an upright 8-bit sRGB picture.
2. ``resize``: a part of a resized picture.
3. ``transforms``: the picture gets its bucket's size; bytes become what a model takes.
4. ``dataset``: whole batches, and what happens to files that fail.
"""
