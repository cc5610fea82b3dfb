"""Images in places of every kind, for the tests of sources: files, shards, datasets, servers."""

from __future__ import annotations

import io
import json
import re
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image


def png(height: int, width: int, shade: int = 128, **options: Any) -> bytes:
    """A grey picture."""
    return encoded(Image.new("L", (width, height), shade), "PNG", **options)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_images(root: Path, sizes: Mapping[str, tuple[int, int]]) -> Path:
    """Pictures of such heights and widths."""
    for name, (height, width) in sizes.items():
        write(root / name, png(height, width))
    return root


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """JSON lines."""
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


def write_tar(
    path: Path, members: Mapping[str, bytes | str], how: int = tarfile.USTAR_FORMAT
) -> Path:
    """A shard with such members, in their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=how) as tar:
        for name, content in members.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def write_dataset(
    folder: Path, files: Sequence[Sequence[pa.RecordBatch]], *, options: Any = None
) -> Path:
    """Arrow files as `save_to_disk` of a `Dataset` lays them out, written by pyarrow alone."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"data-{i:05d}-of-{len(files):05d}.arrow" for i in range(len(files))]
    for name, batches in zip(names, files, strict=True):
        with pa.ipc.new_stream(folder / name, batches[0].schema, options=options) as writer:
            for batch in batches:
                writer.write_batch(batch)
    state = {"_data_files": [{"filename": name} for name in names]}
    (folder / "state.json").write_text(json.dumps(state))
    return folder


def image_column(contents: Sequence[bytes | None], paths: Sequence[str | None] = ()) -> pa.Array:
    """Images as the feature `Image` of Hugging Face's `datasets` stores them."""
    names = list(paths) or [None] * len(contents)
    children = [pa.array(contents, pa.binary()), pa.array(names, pa.string())]
    return pa.StructArray.from_arrays(children, ["bytes", "path"])


class _Handler(SimpleHTTPRequestHandler):
    """Files with their ETags, whole or, where the server allows it, in ranges."""

    ranges = True
    log: list[tuple[str, str, str]]

    def log_message(self, *_: object) -> None:
        """Keep the terminal quiet."""

    def do_GET(self) -> None:
        self.log.append(("GET", self.path, self.headers.get("Range", "")))
        file = Path(self.translate_path(self.path))
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not (self.ranges and wanted and file.is_file()):
            super().do_GET()
            return
        content = file.read_bytes()[int(wanted[1]) : int(wanted[2]) + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_HEAD(self) -> None:
        self.log.append(("HEAD", self.path, ""))
        super().do_HEAD()

    def end_headers(self) -> None:
        file = Path(self.translate_path(self.path))
        if file.is_file():
            status = file.stat()
            self.send_header("ETag", f'"{status.st_mtime_ns}-{status.st_size}"')
        super().end_headers()


@contextmanager
def served(folder: Path, *, ranges: bool = True) -> Iterator[tuple[str, list[Any]]]:
    """A web server for a folder on this machine: its URL, and the requests that it gets."""
    log: list[Any] = []
    handler = type("Handler", (_Handler,), {"ranges": ranges, "log": log})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", log
    finally:
        server.shutdown()
        server.server_close()
