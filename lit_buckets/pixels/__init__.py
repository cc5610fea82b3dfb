"""From image files to batches of one shape, in the loader's workers.

Each part imports only from those before it:

1. ``decode``: a file becomes an 8-bit sRGB picture, by way of ``jpeg``, ``colour`` and ``depth``;
   ``labels``: or a label map. ``stored``: how a picture lies in its file's pixels.
2. ``resize``: a part of a resized picture; ``resample``: the filters.
3. ``transforms``: picture, mask and labels are put into the bucket; ``focus``: what the table says
   of the crop.
4. ``sample``: one sample, with its paired images.
5. ``augment``: transforms of torchvision and of one's own.
6. ``failures``: files that fail; ``collate``: samples put together.
7. ``dataset``: whole batches.
8. ``normalize``: on the device, bytes become what a model takes.
"""
