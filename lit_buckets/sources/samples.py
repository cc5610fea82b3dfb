"""From the members of a tar shard to images with their captions and columns.

    cats/tom.jpg ┐
    cats/tom.txt ├─▶ the sample "cats/tom": an image, a caption, columns from JSON
    cats/tom.json┘

The layout is WebDataset's: members that follow one another and share a name up to its first dot
are one sample.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, NamedTuple

from lit_buckets.headers import MAX_CAPTION, Content, caption_text
from lit_buckets.sources.patterns import is_hidden, is_image
from lit_buckets.sources.tar import Member

__all__ = ["Sample", "samples"]

_MOST_JSON = 2**24  # bytes
_LOST = "is a link that leads to no file of the shard, or is no plain file"


class Sample(NamedTuple):
    """An image of a shard, or what stands where one should be.

    Attributes:
        name: The member's, or the sample's where no image can be chosen.
        offset: Where the image begins in the shard.
        bytes: How long it is.
        refused: Why the image is refused; "" if it is not.
        caption: From its text; None if it has none.
        fields: From its JSON and its class.
        beside: Other images of the sample, by the part of their names that is their own.
    """

    name: str
    offset: int
    bytes: int
    refused: str
    caption: str | None
    fields: dict[str, Any]
    beside: dict[str, Member]


def samples(
    members: Iterable[Member], archive: Content, *, image: str | None, captions: str | None
) -> Iterator[Sample]:
    """The samples of a shard, in its order.

    Args:
        members: Its members.
        archive: The shard itself, of which texts are read.
        image: The part of the image's name from the first dot on, without it, such as "jpg"; None
            if it is to be found out.
        captions: The same of the caption's, with the dot, such as ".txt"; None for no captions.
    """
    named = ((*_key(member.name), member) for member in members)
    # a dot at its beginning hides a member, and without any it belongs to no sample
    wanted = (each for each in named if each[1] and not is_hidden(each[2].name.rpartition("/")[2]))
    for key, group in groupby(wanted, key=lambda each: each[0]):
        parts: dict[str, Member] = {}
        twice = ""
        for _, part, member in group:
            twice = twice or (f"its sample has .{part} twice" if part in parts else "")
            parts.setdefault(part, member)
        sample = _sample(key, parts, archive, image, captions)
        yield sample._replace(refused=sample.refused or twice)


def _key(name: str) -> tuple[str, str]:
    """The sample that a member belongs to, and the part of its name that is its own."""
    folder, slash, last = name.rpartition("/")
    stem, _, part = last.partition(".")
    return folder + slash + stem, part


def _sample(
    key: str, parts: dict[str, Member], archive: Content, image: str | None, captions: str | None
) -> Sample:
    images = {part: member for part, member in parts.items() if is_image(f"image.{part}")}
    chosen, refused = _chosen(images, parts, image)
    first = next(iter(parts.values()))
    fields: dict[str, Any] = {}
    text = captions[1:] if captions else None
    files = {part: member for part, member in parts.items() if member.is_file}
    for part in (text, "cls", "json"):
        if part in parts and part not in files:
            refused = refused or f"its .{part} {_LOST}"
    caption = _text(archive, files[text]) if text in files else None
    if "cls" in files:
        fields["cls"] = _class(_text(archive, files["cls"]))
    if "json" in files:
        found = _json(archive, files["json"])
        if isinstance(found, str):
            refused = refused or found
        else:
            fields |= found
    if chosen is None:
        return Sample(key, first.offset, 0, refused, caption, fields, {})
    member = parts[chosen]
    if chosen not in files:
        refused = refused or f"it {_LOST}"
    beside = {part: files[part] for part in images if part in files and part != chosen}
    return Sample(member.name, member.offset, member.bytes, refused, caption, fields, beside)


def _chosen(
    images: dict[str, Member], parts: dict[str, Member], wanted: str | None
) -> tuple[str | None, str]:
    """Which of the members is the image, or why that cannot be said."""
    if wanted is not None:
        if wanted in parts:  # whatever its suffix says, its header decides
            return wanted, ""
        return None, f"its sample has no .{wanted}, only {_dotted(parts)}"
    plain = [part for part in images if "." not in part]
    candidates = plain or [*images]
    if len(candidates) == 1:
        return candidates[0], ""
    if not candidates:
        return None, f"its sample has no image, only {_dotted(parts)}"
    return None, f"its sample has {len(candidates)} images, {_dotted(images)}; set image_column"


def _dotted(parts: Iterable[str]) -> str:
    return ", ".join(f".{part}" for part in parts)


def _text(archive: Content, member: Member) -> str:
    return caption_text(archive.pread(member.offset, min(member.bytes, MAX_CAPTION)))


def _class(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text


def _json(archive: Content, member: Member) -> dict[str, Any] | str:
    """The fields of a JSON object, or why there are none."""
    if member.bytes > _MOST_JSON:
        return f"its .json is longer than {_MOST_JSON:,} bytes"
    content = archive.pread(member.offset, member.bytes)
    try:
        fields = json.loads(content)
        if b"\\u" in content:  # half a surrogate pair is no text that can be stored
            json.dumps(fields, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        return f"its .json cannot be read: {error}"
    return fields if isinstance(fields, dict) else "its .json holds no object"
