"""Whether the displayed picture has the stored height for its width."""

from __future__ import annotations

import re
import struct
from typing import Literal

from lit_buckets.headers.formats import UnusualError

__all__ = ["ABSENT", "ORIENTATION", "TURNED", "find_in_xmp", "find_orientation"]

#: The tag of EXIF and TIFF that says how a picture is turned.
ORIENTATION = 0x0112
#: Its values that exchange height and width.
TURNED = (5, 6, 7, 8)
#: In place of a value: there is no such tag.
ABSENT = 0

_IN_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
_SHORT = 3  # the type that the tag has
_NONSENSE = -1  # the value 0, which is none
_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # bytes
_BYTE_ORDERS: dict[bytes, tuple[struct.Struct, Literal["little", "big"]]] = {
    b"II*\0": (struct.Struct("<HHII"), "little"),
    b"MM\0*": (struct.Struct(">HHII"), "big"),
}


def find_orientation(tiff: bytes, length: int) -> int:
    """Orientation in the first directory of EXIF data.

    Args:
        tiff: The data from their byte order on; that much of them as is at hand.
        length: How long they are, in bytes.

    Returns:
        The value; `ABSENT` where the directory has none.

    Raises:
        UnusualError: If only Pillow knows what it makes of them, or the directory is not at hand.
    """
    if tiff[:4] not in _BYTE_ORDERS or len(tiff) < 8:
        raise UnusualError("no byte order")
    entry, order = _BYTE_ORDERS[tiff[:4]]
    start = int.from_bytes(tiff[4:8], order) + 2
    end = start + 12 * int.from_bytes(tiff[start - 2 : start], order)
    if start < 10 or end + 4 > len(tiff):
        raise UnusualError("a directory that begins too early, or ends too late")
    found = ABSENT
    for tag, kind, count, value in entry.iter_unpack(tiff[start:end]):
        if tag == ORIENTATION:
            if kind != _SHORT or count != 1 or found != ABSENT:
                raise UnusualError("an orientation of another form")
            found = (value if order == "little" else value >> 16) & 0xFFFF or _NONSENSE
        # Pillow reads no further than to a value that lies outside the data
        elif (size := count * _WIDTHS.get(kind, 0)) > 4 and value + size > length:
            raise UnusualError("a value outside the data")
    return found


def find_in_xmp(xmp: bytes) -> int:
    """Orientation in an XMP document, as an attribute or an element; `ABSENT` where there is none.

    Example:
        >>> find_in_xmp(b'<rdf:Description tiff:Orientation="6"/>')
        6
    """
    found = _IN_XMP.search(xmp)
    return ABSENT if found is None else int(found[1])
