"""Jobs over several ranks, as a cluster starts them: each rank is told its place and the port.

Importing torch and Lightning takes a process seconds; these are forked from one that has done so.
``python ranks.py`` is that one; tests call :func:`run_ranks`.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
from functools import lru_cache
from pathlib import Path

TIMEOUT = 180.0  # seconds


def run_ranks(settings: Path, world: int) -> subprocess.CompletedProcess[str]:
    """Run the job of a settings file over ``world`` ranks; the first that fails ends the others."""
    mother, outputs = _mother(), [settings.with_suffix(suffix) for suffix in (".out", ".err")]
    _say(mother.stdin, [str(settings), world, *map(str, outputs)])
    group = json.loads(mother.stdout.readline())
    assert group > 1
    alarm = threading.Timer(TIMEOUT, os.killpg, (group, signal.SIGKILL))
    alarm.start()
    code = json.loads(mother.stdout.readline())
    alarm.cancel()
    texts = [output.read_text() for output in outputs]
    return subprocess.CompletedProcess([str(settings)], code, *texts)


@lru_cache(maxsize=1)
def _mother() -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "PL_"))}
    mother = subprocess.Popen(
        [sys.executable, "-W", "ignore", __file__],
        env=environment | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(mother.communicate)
    return mother


def _say(stream, what: object) -> None:
    stream.write(json.dumps(what) + "\n")
    stream.flush()


def _serve() -> None:
    import job

    for line in sys.stdin:
        settings, world, *outputs = json.loads(line)
        leader = os.fork()
        if not leader:
            os.setsid()
            os._exit(_lead(settings, world, outputs, job.main))
        _say(sys.stdout, leader)
        _, status = os.waitpid(leader, 0)
        with contextlib.suppress(ProcessLookupError):  # workers of a rank that was killed
            os.killpg(leader, signal.SIGKILL)
        _say(sys.stdout, os.waitstatus_to_exitcode(status))


def _lead(settings: str, world: int, outputs: list[str], main) -> int:
    """Fork the ranks, and wait for them; returns the exit code of the first that failed, or 0."""
    for stream, output in enumerate(outputs, start=1):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = set()
    for rank in range(world):
        if not (process := os.fork()):
            if world > 1:
                place = {"NODE_RANK": 0, "LOCAL_RANK": rank, "WORLD_SIZE": world}
                place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
                os.environ.update({name: str(value) for name, value in place.items()})
            os._exit(_exit_code(main, settings))
        ranks.add(process)
    first = 0
    while ranks:
        process, status = os.wait()
        ranks.remove(process)
        code = os.waitstatus_to_exitcode(status)
        if code and not first:
            first = code
            for other in ranks:
                os.kill(other, signal.SIGKILL)
    return first & 0xFF


def _exit_code(main, settings: str) -> int:
    try:
        main(settings)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    _serve()
