"""One process at a time sizes the same sources; the others wait, and find the work done."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from lit_buckets.scan.progress import Progress

__all__ = ["alone"]

_POLL = 0.1  # seconds

_log = logging.getLogger("lit_buckets")


@contextmanager
def alone(manifest: Path, bar: Progress) -> Iterator[None]:
    """Keep other processes from working on the same manifest, or wait until they have.

    The wait has no limit: a pass may take hours. The operating system gives the lock back when
    its holder ends, however that happens, so none is ever left behind. Where the cache can take
    no lock (it is read-only, or its file system has none) nobody waits, and the manifest
    is whole in any case; work may be done twice.

    Args:
        manifest: The file that is worked on; the lock lies beside it.
        bar: Tells that there is a wait.
    """
    file, cache = manifest.with_name(f".{manifest.stem}.lock"), manifest.parent
    lock, made = FileLock(file, fallback_to_soft=False), False
    try:
        made = not cache.exists()
        cache.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            _log.warning("another process is sizing the images of %s; waiting for it", manifest)
            bar.wait()
            lock.acquire(poll_interval=_POLL)
    except (OSError, NotImplementedError) as error:
        if isinstance(error, Timeout):  # an OSError, too
            raise
        _log.debug("%s is not locked: %s", manifest, error)
    try:
        yield
    finally:
        if lock.is_locked:
            file.unlink(missing_ok=True)  # who waits for it notices, and makes it anew
            lock.release()
            if made:
                with suppress(OSError):  # something lies in it
                    cache.rmdir()
