"""The image files of a remote folder, in order."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from lit_buckets.sources.base import NO_CAPTION, Run
from lit_buckets.sources.patterns import Selection, is_hidden, is_image
from lit_buckets.storage import remote
from lit_buckets.storage.remote import Found

__all__ = ["remote_walk"]


def remote_walk(
    root: str, selection: Selection, captions: str | None, apart_from: Collection[str]
) -> Iterator[Run]:
    """Image files, and folders that cannot be listed, sorted by path.

    Args:
        root: URL of the folder.
        selection: Which files are meant.
        captions: Suffix of the caption files; None for no captions.
        apart_from: URLs of folders that are not entered.
    """
    stack = [_list(root, "", selection, captions)]
    while stack:
        item = next(stack[-1], None)
        if item is None:
            stack.pop()
        elif isinstance(item, Run):
            yield item
        elif f"{root}/{item}".rstrip("/") not in apart_from and selection.enters(item):
            stack.append(_list(root, item, selection, captions))


def _list(
    root: str, folder: str, selection: Selection, captions: str | None
) -> Iterator[Run | str]:
    """Everything of interest in one folder, sorted; `folder` ends in "/" or is empty."""
    try:
        found = [each for each in remote.found_in(f"{root}/{folder}") if not is_hidden(each.name)]
    except OSError as error:
        found, run = [], Run()
        run.refuse(folder, f"cannot be opened: folder not listed, {error.strerror}")
    else:
        files = {folder + each.name: each for each in found if not each.is_folder}
        run = _images(root, files, selection, captions)
    yield from run.between(f"{folder}{each.name}/" for each in found if each.is_folder)


def _images(root: str, files: dict[str, Found], selection: Selection, captions: str | None) -> Run:
    """The images among the files of a folder, sorted."""
    run = Run()
    images = sorted(path for path in files if is_image(path) and selection.takes(path))
    texts = {path: path[: path.rfind(".")] + (captions or "") for path in images if captions}
    wanted = [*images, *(text for text in set(texts.values()) if text in files)]
    stamps = dict(zip(wanted, _stamps(root, wanted, files), strict=True))
    for path in images:
        stamp, caption = stamps[path], stamps.get(texts.get(path, ""))
        if isinstance(stamp, OSError):
            run.refuse(path, f"cannot be opened: {stamp.strerror}")
            continue
        # a caption that the server does not answer for is tried, and told, when it is read
        of_caption = (0, 0) if isinstance(caption, OSError) else caption or (0, NO_CAPTION)
        run.add(path, *stamp, caption=of_caption)
    return run


def _stamps(
    root: str, paths: list[str], files: dict[str, Found]
) -> list[tuple[int, int] | OSError]:
    """Stamps from the listing, or from the server where the listing does not tell."""
    if all(files[path].bytes >= 0 for path in paths):
        return [(files[path].bytes, files[path].change) for path in paths]
    return remote.stamps(f"{root}/{path}" for path in paths)
