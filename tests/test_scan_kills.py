"""Setup passes of real processes: killed at any moment, and several at once."""

from __future__ import annotations

import io
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock
from PIL import Image

from lit_buckets import errors
from lit_buckets.manifest import Manifest
from lit_buckets.scan import manifest_file, scan
from lit_buckets.scan.progress import Progress

PACKAGE = Path(errors.__file__).parent
FILES = 150

# the package without its __init__: importing torch takes seconds
CHILD = f"""
import io, logging, os, sys, time, traceback, types
package = types.ModuleType("lit_buckets")
package.__path__ = [{str(PACKAGE)!r}]
sys.modules["lit_buckets"] = package
from pathlib import Path
from PIL import Image
from lit_buckets.scan import readers, scan
root, cache = sys.argv[1:]
print("ready", flush=True)
"""


def png(height: int, width: int) -> bytes:
    content = io.BytesIO()
    Image.new("L", (width, height)).save(content, "PNG")
    return content.getvalue()


def many(root: Path) -> Path:
    for i in range(FILES):
        path = root / f"{i % 7}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(1 + i % 50, 1 + i % 31))
        path.with_suffix(".txt").write_text(f"number {i}\n")
    (root / "3/bad.png").write_bytes(b"bad")
    return root


def child(program: str, *arguments: object) -> subprocess.Popen[str]:
    """A process that says when it is ready."""
    command = [sys.executable, "-c", CHILD + program, *map(str, arguments)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen(command, text=True, **pipes)  # type: ignore[call-overload]


def tell(process: subprocess.Popen[str], line: str = "go") -> None:
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def rows(manifest: Manifest) -> list[dict[str, object]]:
    return manifest.all_rows.to_pylist()


# Images, captions and names change, a pass follows, and so on. Each line asks for one such process;
# it answers with the process, and with how long its first pass took: on a busy machine as many
# moments lie in a pass as on an idle one. Every fifth stops in the middle of a write, and says so.
RESTLESS = """
def stop_in_a_write(writes):
    real = os.fsync
    def fsync(file):
        nonlocal writes
        writes -= 1
        if not writes:
            os.ftruncate(file, os.fstat(file).st_size // 2)
            print("writing", flush=True)
            time.sleep(600)
        real(file)
    os.fsync = fsync

def restless(seed):
    readers._PROCESSES_FROM = 1 if seed % 2 else 20_000
    begun = time.perf_counter()
    scan(root, cache_dir=f"{cache}-{seed}", workers=2)
    print(os.getpid(), time.perf_counter() - begun, flush=True)
    if seed % 5 == 4:
        stop_in_a_write(1 + seed // 5)
    for i in range(seed, 10**9):
        content = io.BytesIO()
        Image.new("L", (1 + i % 90, 1 + i % 70)).save(content, "PNG")
        Path(f"{root}/0/0.png").write_bytes(content.getvalue())
        Path(f"{root}/0/7.txt").write_text(f"caption {i}")
        Path(f"{root}/0/14.png").rename(f"{root}/0/away.png")
        scan(root, cache_dir=cache, workers=2)
        Path(f"{root}/0/away.png").rename(f"{root}/0/14.png")
        scan(root, cache_dir=cache, workers=2)

logging.disable()
for line in sys.stdin:
    process = os.fork()
    if not process:
        try:
            restless(int(line))
        finally:
            traceback.print_exc()
            os._exit(1)
    os.waitpid(process, 0)
    print("dead", flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_kill_at_any_moment_leaves_the_old_one_or_the_new_one(tmp_path):
    root, cache = many(tmp_path / "p"), tmp_path / "c"
    file, in_passes = manifest_file(root, cache), 0
    mother = child(RESTLESS, root, cache)
    assert mother.stdout.readline() == "ready\n"
    for seed in range(25):
        tell(mother, str(seed))
        process, seconds = mother.stdout.readline().split()
        assert int(process) > 1  # 0 would be this process and all that belong to it
        if seed % 5 == 4:
            assert mother.stdout.readline() == "writing\n"
        else:
            time.sleep(random.Random(seed).uniform(0, 4 * float(seconds)))
        os.kill(int(process), signal.SIGKILL)
        # a kill returns before its process ends: a last write could fall into the pass below
        assert mother.stdout.readline() == "dead\n"
        if file.exists():
            assert len(Manifest.open(file)) in (FILES - 1, FILES)
        in_passes += any(cache.glob(".*.lock"))  # who ends by himself takes it away
        after = scan(root, cache_dir=cache)
        assert rows(after) == rows(scan(root, cache_dir=tmp_path / f"fresh-{seed}"))
        away = root / "0/away.png"
        away.rename(root / "0/14.png") if away.exists() else None
        assert len(list(cache.glob(".*.tmp"))) >= (seed + 1) // 5
    mother.communicate(timeout=60)
    assert in_passes > 12  # most of them, not between two or before the first
    for temporary in cache.glob(".*.tmp"):
        os.utime(temporary, (0, 0))
    (root / "new.png").write_bytes(png(3, 4))
    assert len(scan(root, cache_dir=cache)) == FILES + 1
    assert list(cache.glob(".*.tmp")) == []


@pytest.mark.slow
def test_of_passes_at_once_one_reads_and_the_others_wait(tmp_path):
    root, cache = many(tmp_path / "p"), tmp_path / "c"
    program = """
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
sys.stdin.readline()
manifest = scan(root, cache_dir=cache)
rest, part = manifest.split(0.1, cache)
print(manifest.id, manifest.fingerprint, rest.fingerprint, part.fingerprint, len(manifest))
"""
    processes = [child(program, root, cache) for _ in range(4)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        tell(process)
    answers = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert len({answer.splitlines()[-1] for answer in answers}) == 1
    assert answers[0].endswith(f" {FILES}\n")
    read = [int(re.search(r"(\d+) read anew", answer)[1]) for answer in answers]
    assert sorted(read) == [0, 0, 0, FILES + 1]
    assert [path.name for path in cache.iterdir() if path.name.startswith(".")] == []


def test_a_pass_waits_for_another_however_long(tmp_path, monkeypatch):
    root, cache = many(tmp_path / "p"), tmp_path / "c"
    cache.mkdir()
    lock = FileLock(cache / f".{manifest_file(root, cache).stem}.lock")
    waits = threading.Event()
    monkeypatch.setattr(Progress, "wait", lambda self: waits.set())
    done: list[Manifest] = []
    with lock:
        second = threading.Thread(target=lambda: done.append(scan(root, cache_dir=cache)))
        second.start()
        assert waits.wait(60)
        second.join(0.3)
        assert not done
    second.join(60)
    assert len(done[0]) == FILES


def test_a_cache_that_takes_no_lock_serves_all_the_same(tmp_path):
    root, cache = many(tmp_path / "p"), tmp_path / "c"
    lock = cache / f".{manifest_file(root, cache).stem}.lock"
    lock.mkdir(parents=True)  # it cannot be opened
    assert len(scan(root, cache_dir=cache)) == FILES
    assert lock.is_dir()
