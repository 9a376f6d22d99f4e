"""Jobs that start at once: forks of one process, the warm one, that has imported PyTorch and fairseq already.

Imports take seconds, and there are jobs that take no longer. Snakemake starts the warm process beside a local
run and names its socket in the environment of the jobs. `python -m nmtprune` hands it its arguments,
environment, directory and standard streams, and waits for the fork that does the work. A job imports what it
needs itself where there is no warm process of its own environment: on the nodes of a cluster, in an
environment of conda or a container, on systems without pidfd, before it has started and after it was killed.

A job dies with whoever waits for it, and all die with Snakemake, as if they had been killed themselves:
whatever a step has kept lets the next run go on.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import NoReturn

ADDRESS = "NMTPRUNE_WARM"
# the environment that the warm process has imported from, and whose jobs alone it does
SERVED = "NMTPRUNE_WARM_SERVES"
COLD = "NMTPRUNE_COLD"  # set to anything in the environment: every job is a process of its own
ENOUGH_JOBS = 8  # for the imports of one more process to pay
LONGEST_FOLDER = 70  # bytes; the whole address of a socket has at most 104 to 108, whatever TMPDIR says
_PR_SET_PDEATHSIG = 1
_STARTED: list[subprocess.Popen[bytes]] = []  # their standard inputs stay open as long as this process lives
_ONE_THREAD = {
    f"{library}_NUM_THREADS": "1"
    for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "GOTO", "VECLIB_MAXIMUM")
}


def own_environment() -> str:
    """The interpreter of this process, its packages and this package: what a job would import from."""
    return os.pathsep.join(
        [os.path.realpath(sys.executable), sys.prefix, sys.version, str(Path(__file__).resolve().parents[1])]
    )


def start(preload: str) -> int | None:
    """Start the warm process of this one, which ends when this one does, and return its number. None where
    the system has no pidfd, or NMTPRUNE_COLD is set. `preload`: the name of the module whose
    `import_what_jobs_need` it calls first.
    """
    if not hasattr(os, "pidfd_open") or os.environ.get(COLD):
        return None
    folder = tempfile.gettempdir()
    if len(os.fsencode(folder)) > LONGEST_FOLDER:
        folder = "/tmp"
    address = str(Path(tempfile.mkdtemp(prefix="nmtprune-", dir=folder)) / "warm")
    environment = {**os.environ, **_ONE_THREAD}
    # Its standard input is a pipe that nobody else has: it closes when this process ends, in whatever way.
    command = [sys.executable, "-m", "nmtprune.runtime.fork_server", address, preload]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, start_new_session=True)
    os.environ.update({ADDRESS: address, SERVED: own_environment()})
    _STARTED.append(process)
    return process.pid


def run_there(arguments: list[str], module: str) -> int | None:
    """Have the warm process do what these arguments say to `main` of a module, and return the exit status;
    None where it cannot.

    It cannot where there is none, for jobs of another environment (its own packages are what such a job asks
    for), and for jobs that may use several threads: numerical libraries count them when they are loaded.
    """
    address = os.environ.get(ADDRESS)
    if not address or os.environ.get("OMP_NUM_THREADS") != "1" or os.environ.get(SERVED) != own_environment():
        return None
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(address)
            request = {
                "module": module,
                "arguments": arguments,
                "environment": dict(os.environ),
                "directory": os.getcwd(),
            }
            socket.send_fds(connection, [b"\0"], [0, 1, 2])
            connection.sendall(json.dumps(request).encode() + b"\n")
        except OSError:
            return None
        try:
            answer = connection.recv(16)
        except ConnectionError:
            answer = b""
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
    if not answer:
        print(
            "nmtprune: the process that runs the jobs was killed, and this job with it; the same command "
            "goes on",
            file=sys.stderr,
        )
        return 128 + signal.SIGKILL
    return int(answer)


@dataclass
class _Request:
    """A job that was asked for, and in the fork that does it all that is left of the server."""

    module: str
    arguments: list[str]
    environment: dict[str, str]
    directory: str
    streams: list[int]

    def run(self) -> int:
        os.environ.clear()
        os.environ.update(self.environment)
        os.chdir(self.directory)
        for number, stream in enumerate(self.streams):
            os.dup2(stream, number)
            os.close(stream)
        sys.argv = self.arguments
        return import_module(self.module).main()


@dataclass(eq=False)
class _Job:
    """A fork: its process (`ended` is its pidfd), and the connection of whoever waits for it, None once
    nobody does.
    """

    pid: int
    ended: int
    waiting: socket.socket | None


class _Server:
    """Accepts requests, forks for each, answers with the exit status; kills the jobs for which nobody waits
    any more.
    """

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._jobs: set[_Job] = set()
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(0, selectors.EVENT_READ)  # ends with the owner

    def serve(self) -> _Request | None:
        """Returns in each fork, with its request, and at the end of the owner, with None."""
        while True:
            for key, _ in self._selector.select():
                job: _Job = key.data
                if key.fd == 0:
                    for each in self._jobs:
                        os.killpg(each.pid, signal.SIGKILL)
                    return None
                if key.fileobj is self._listener:
                    request = self._accept()
                    if request is not None:
                        return request
                elif job in self._jobs and key.fileobj is job.waiting:
                    os.killpg(job.pid, signal.SIGKILL)
                    self._forget_waiting(job)
                elif job in self._jobs and key.fileobj == job.ended:
                    self._answer(job)

    def _accept(self) -> _Request | None:
        """Fork for a new request; it is returned in the fork alone."""
        waiting, _ = self._listener.accept()
        try:
            waiting.settimeout(10)
            _, streams, *_ = socket.recv_fds(waiting, 1, 3)
            spelt = json.loads(waiting.makefile("rb").readline())
            pid = os.fork()
            if pid == 0:
                self._leave_to_the_parent(waiting)
                return _Request(streams=streams, **spelt)
            os.setpgid(pid, pid)  # here and there: whichever comes first
        except (OSError, ValueError):
            waiting.close()  # whoever asked sees that nothing came of it
            return None
        for stream in streams:
            os.close(stream)
        job = _Job(pid, os.pidfd_open(pid), waiting)
        self._jobs.add(job)
        self._selector.register(job.ended, selectors.EVENT_READ, job)
        self._selector.register(waiting, selectors.EVENT_READ, job)
        return None

    def _leave_to_the_parent(self, waiting: socket.socket) -> None:
        """In a fork: a group of its own, with all that it will start; an end with the parent's; nothing of
        the parent's held open.
        """
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        for key in list(self._selector.get_map().values()):
            os.close(key.fileobj if isinstance(key.fileobj, int) else key.fileobj.detach())
        os.close(waiting.detach())
        self._selector.close()

    def _answer(self, job: _Job) -> None:
        _, status = os.waitpid(job.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if job.waiting is not None:
            with suppress(OSError):
                job.waiting.sendall(b"%d" % (code if code >= 0 else 128 - code))
            self._forget_waiting(job)
        self._jobs.remove(job)
        self._selector.unregister(job.ended)
        os.close(job.ended)

    def _forget_waiting(self, job: _Job) -> None:
        self._selector.unregister(job.waiting)
        job.waiting.close()
        job.waiting = None


def leave(status: int) -> NoReturn:
    """End this process at once. Python would first take all that was imported apart, which takes a second,
    most of a short job's time.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main() -> int:
    address, preload = Path(sys.argv[1]), sys.argv[2]
    request = None
    try:
        import_module(preload).import_what_jobs_need()
        listener = socket.socket(socket.AF_UNIX)
        unheard = address.with_suffix(".new")
        listener.bind(str(unheard))
        listener.listen(64)
        unheard.rename(address)  # whoever finds it is heard
        request = _Server(listener).serve()
    finally:
        if request is None:
            address.unlink(missing_ok=True)
            address.parent.rmdir()
    return leave(request.run()) if request else 0


if __name__ == "__main__":
    sys.exit(main())
