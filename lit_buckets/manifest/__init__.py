"""The table of all images and their sizes, on disk, mapped into memory and never copied.

The file is one Arrow IPC file (Feather version 2, uncompressed) with a single record batch, so
that every column lies in one piece and other tools can read it. One row is one image:

| column | type | meaning |
|---|---|---|
| `path` | large_string | relative to the root of its source, "/" between its parts |
| `source` | int16 | which source lists it, a place in the metadata's `sources` |
| `container` | large_string | the file that holds it, as relative as `path`; "" for its own |
| `offset` | int64 | where it begins in the container; 0 without one |
| `height`, `width` | int32 | pixels, as displayed (EXIF orientation applied) |
| `measured` | bool | whether they were read from the image; false where its source gave them |
| `verified` | bool | whether all of its data were decoded by the setup pass |
| `bytes`, `mtime_ns` | int64 | its length, and the stamp of its file, when it was read |
| `repeats` | int32 | how often it comes in an epoch |
| `caption` | large_string | text of its caption; "" where there is none |
| `caption_bytes` | int64 | length of the caption's file; 0 where it has no file of its own |
| `caption_mtime_ns` | int64 | stamp of the caption's file; -1 where it has no file of its own |
| `reason` | large_string | why the image is refused; "" where it is not |

Images come first, one source after another, in the order in which it lists them; refused ones
follow, with sides of 0 where none are known. Further columns are carried along. A stamp is a time
of last change in nanoseconds, or what stands for it where a file is remote (see `storage`).

The schema's metadata hold, under the key `lit_buckets`, a JSON document: `version` of this format,
number of `images` and of `refused` files, `sources` (each with its absolute `root`),
`fingerprint`, an `id` that no other file has, the `settings` under which it was written, notes on
the `containers` for the next setup pass, and a `checksum` (CRC-32) over all of that and all rows.

Each part imports only from those before it:

1. ``columns``: the columns, and hashes over them.
2. ``files``: files that are safe to write while others read or write them.
3. ``mapped``: the manifest's file.
4. ``lazy``: sequences that are no lists.
5. ``manifest``: the manifest itself.
"""

from lit_buckets.manifest.columns import BATCH_FIELDS, SCHEMA, hash_strings, is_same
from lit_buckets.manifest.files import (
    Failure,
    read_failures,
    replace_file,
    replace_text,
    write_reasons,
    writing,
)
from lit_buckets.manifest.manifest import Manifest, Refused
from lit_buckets.manifest.mapped import VERSION, ManifestError

__all__ = [
    "BATCH_FIELDS",
    "SCHEMA",
    "VERSION",
    "Failure",
    "Manifest",
    "ManifestError",
    "Refused",
    "hash_strings",
    "is_same",
    "read_failures",
    "replace_file",
    "replace_text",
    "write_reasons",
    "writing",
]
