"""The image files of a remote folder, in order."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from lit_buckets.sources.base import NO_CAPTION, Entry
from lit_buckets.sources.patterns import Selection, is_hidden, is_image
from lit_buckets.sources.walk import Item
from lit_buckets.storage import remote
from lit_buckets.storage.remote import Found

__all__ = ["remote_walk"]


def remote_walk(
    root: str, selection: Selection, captions: str | None, apart_from: Collection[str]
) -> Iterator[Entry]:
    """One entry for each image file and each folder that cannot be listed, sorted by path.

    Args:
        root: URL of the folder.
        selection: Which files are meant.
        captions: Suffix of the caption files; None for no captions.
        apart_from: URLs of folders that are not entered.
    """
    stack = [iter(_list(root, "", selection, captions))]
    while stack:
        item = next(stack[-1], None)
        if item is None:
            stack.pop()
        elif item.entry is not None:
            yield item.entry
        elif f"{root}/{item.key}".rstrip("/") not in apart_from and selection.enters(item.key):
            stack.append(iter(_list(root, item.key, selection, captions)))


def _list(root: str, folder: str, selection: Selection, captions: str | None) -> list[Item]:
    """Everything of interest in one folder, sorted; `folder` ends in "/" or is empty."""
    try:
        found = [each for each in remote.found_in(f"{root}/{folder}") if not is_hidden(each.name)]
    except OSError as error:
        reason = f"cannot be opened: folder not listed, {error.strerror}"
        return [Item(folder, Entry(folder, 0, 0, refused=reason))]
    folders = [Item(f"{folder}{each.name}/") for each in found if each.is_folder]
    files = {folder + each.name: each for each in found if not each.is_folder}
    images = [path for path in files if is_image(path) and selection.takes(path)]
    texts = {path: path[: path.rfind(".")] + (captions or "") for path in images if captions}
    wanted = [*images, *(text for text in set(texts.values()) if text in files)]
    stamps = dict(zip(wanted, _stamps(root, wanted, files), strict=True))

    def entry(path: str) -> Entry:
        stamp, caption = stamps[path], stamps.get(texts.get(path, ""))
        if isinstance(stamp, OSError):
            return Entry(path, 0, 0, refused=f"cannot be opened: {stamp.strerror}")
        # a caption that the server does not answer for is tried, and told, when it is read
        change = (
            NO_CAPTION if caption is None else 0 if isinstance(caption, OSError) else caption[1]
        )
        return Entry(path, *stamp, caption_mtime_ns=change)

    return sorted([*folders, *(Item(path, entry(path)) for path in images)])


def _stamps(
    root: str, paths: list[str], files: dict[str, Found]
) -> list[tuple[int, int] | OSError]:
    """Stamps from the listing, or from the server where the listing does not tell."""
    if all(files[path].bytes >= 0 for path in paths):
        return [(files[path].bytes, files[path].change) for path in paths]
    return remote.stamps(f"{root}/{path}" for path in paths)
