"""Whether the displayed picture has the stored height for its width."""

from __future__ import annotations

import struct
from typing import Literal, TypeAlias

from PIL import Image

__all__ = ["ABSENT", "ORIENTATION", "TURNED", "Info", "find_orientation", "is_turned", "turns"]

#: What Pillow keeps of an image beside its pixels: its `info`.
Info: TypeAlias = "dict[str | tuple[int, int], object]"

#: The tag of EXIF and TIFF that says how a picture is turned.
ORIENTATION = 0x0112
#: Its values that exchange height and width.
TURNED = (5, 6, 7, 8)
#: In place of a value: there is no such tag.
ABSENT = 0

_SHORT = 3  # the type that the tag has
_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # bytes
_ENTRY = {b"II*\0": struct.Struct("<HHII"), b"MM\0*": struct.Struct(">HHII")}


def find_orientation(tiff: bytes, length: int) -> int | None:
    """Orientation in the first directory of EXIF data.

    Args:
        tiff: The data from their byte order on; that much of them as is at hand.
        length: How long they are, in bytes.

    Returns:
        The value; `ABSENT` where the directory has none; None where anything is unusual, so that
        only Pillow knows what it makes of it, or where the directory is not at hand.
    """
    entry = _ENTRY.get(tiff[:4])
    if entry is None or len(tiff) < 8:
        return None
    order: Literal["little", "big"] = "little" if tiff[0] == 0x49 else "big"
    start = int.from_bytes(tiff[4:8], order) + 2
    end = start + 12 * int.from_bytes(tiff[start - 2 : start], order)
    if start < 10 or end + 4 > len(tiff):
        return None
    found = ABSENT
    for tag, kind, count, value in entry.iter_unpack(tiff[start:end]):
        if tag == ORIENTATION:
            if kind != _SHORT or count != 1 or found:
                return None
            found = (value if order == "little" else value >> 16) & 0xFFFF or -1
        # Pillow reads no further than to a value that lies outside the data
        elif (size := count * _WIDTHS.get(kind, length)) > 4 and value + size > length:
            return None
    return found


def turns(info: Info) -> bool:
    """Whether metadata alone turn the picture; Pillow itself decides what they mean."""
    if not info.keys() & {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"}:
        return False
    image = Image.new("1", (1, 1))
    image.info = info
    return is_turned(image)


def is_turned(image: Image.Image) -> bool:
    """The same of an image that Pillow has opened; a broken one is displayed as it is stored."""
    try:
        # the base class's method: a PNG's own would decode all pixels first
        return Image.Image.getexif(image).get(ORIENTATION) in TURNED
    except Exception:  # broken EXIF
        return False
