"""Jobs that start at once: forks of one warm process that has already imported PyTorch and fairseq.

Imports take seconds, which is longer than some jobs. Snakemake starts the warm process beside a local run and
puts the path of its socket into the environment of the jobs. `python -m nmtprune` sends its arguments,
environment, directory and standard streams to the warm process, and waits for the fork that does the work. A
job runs in its own process, with its own imports, if no warm process serves its environment: on the nodes of
a cluster, in an environment of conda or a container, on systems without pidfd, before the warm process has
started, and after it was killed.

A job is killed when the process that waits for it dies, and all jobs are killed when Snakemake dies. What a
step has saved until then lets the next run go on.
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
SERVED = "NMTPRUNE_WARM_SERVES"  # the environment that the warm process imported from; it serves no other
COLD = "NMTPRUNE_COLD"  # if set to anything, every job is a process of its own
ENOUGH_JOBS = 8  # from so many jobs on, the imports of the warm process pay off
LONGEST_FOLDER = 70  # bytes; the path of a socket may have at most 104 to 108, and TMPDIR may be longer
_PR_SET_PDEATHSIG = 1
_STARTED: list[subprocess.Popen[bytes]] = []  # keeps their standard inputs open as long as this process lives
_ONE_THREAD = {
    f"{library}_NUM_THREADS": "1"
    for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "GOTO", "VECLIB_MAXIMUM")
}


def own_environment() -> str:
    """The interpreter of this process, its packages and this package: what its jobs would import from."""
    return os.pathsep.join(
        [os.path.realpath(sys.executable), sys.prefix, sys.version, str(Path(__file__).resolve().parents[1])]
    )


def start(preload: str) -> int | None:
    """Start the warm process of this one, and return its process id; it ends when this process does.

    Returns None if the system has no pidfd, or NMTPRUNE_COLD is set. `preload`: the name of the module whose
    `import_what_jobs_need` the warm process calls first.
    """
    if not hasattr(os, "pidfd_open") or os.environ.get(COLD):
        return None
    folder = tempfile.gettempdir()
    if len(os.fsencode(folder)) > LONGEST_FOLDER:
        folder = "/tmp"
    address = str(Path(tempfile.mkdtemp(prefix="nmtprune-", dir=folder)) / "warm")
    environment = {**os.environ, **_ONE_THREAD}
    # Only this process holds the other end of the pipe, so that it closes whenever this process ends.
    command = [sys.executable, "-m", "nmtprune.runtime.fork_server", address, preload]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, start_new_session=True)
    os.environ.update({ADDRESS: address, SERVED: own_environment()})
    _STARTED.append(process)
    return process.pid


def run_there(arguments: list[str], module: str) -> int | None:
    """Let the warm process run `main` of a module with these arguments; return its exit status.

    Returns None if the job has to run here: there is no warm process, it serves another environment, or the
    job may use several threads, a number that numerical libraries fix when they are loaded.
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
            "continues",
            file=sys.stderr,
        )
        return 128 + signal.SIGKILL
    return int(answer)


@dataclass
class _Request:
    """A job that was asked for; in the fork that runs it, all that is left of the server."""

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
    """A fork of the server.

    `ended`: its pidfd. `waiting`: the connection of the process that waits for it; None once that is gone.
    """

    pid: int
    ended: int
    waiting: socket.socket | None


class _Server:
    """Accept requests, fork for each, answer with its exit status; kill jobs that nobody waits for."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._jobs: set[_Job] = set()
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(0, selectors.EVENT_READ)  # closes when the owner ends

    def serve(self) -> _Request | None:
        """Return the request in each fork, and None once the owner has ended."""
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
        """Fork for a new request; returns the request in the fork, and None in the server."""
        waiting, _ = self._listener.accept()
        try:
            waiting.settimeout(10)
            _, streams, *_ = socket.recv_fds(waiting, 1, 3)
            job_fields = json.loads(waiting.makefile("rb").readline())
            pid = os.fork()
            if pid == 0:
                self._leave_to_the_parent(waiting)
                return _Request(streams=streams, **job_fields)
            os.setpgid(pid, pid)  # the fork does the same; whichever comes first counts
        except (OSError, ValueError):
            waiting.close()  # tells the other end that there will be no answer
            return None
        for stream in streams:
            os.close(stream)
        job = _Job(pid, os.pidfd_open(pid), waiting)
        self._jobs.add(job)
        self._selector.register(job.ended, selectors.EVENT_READ, job)
        self._selector.register(waiting, selectors.EVENT_READ, job)
        return None

    def _leave_to_the_parent(self, waiting: socket.socket) -> None:
        """Detach a fork from the server.

        The fork gets a process group of its own, which all that it starts will belong to; it dies with its
        parent, and closes whatever the parent holds open.
        """
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        for key in list(self._selector.get_map().values()):
            os.close(key.fileobj.detach() if isinstance(key.fileobj, socket.socket) else key.fd)
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
        if job.waiting is not None:
            self._selector.unregister(job.waiting)
            job.waiting.close()
            job.waiting = None


def leave(status: int) -> NoReturn:
    """End this process at once, without the second that Python would take to tear down its modules."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main() -> int:
    """Serve the jobs of the process that started this one: preload, listen on the given socket, and fork."""
    address, preload = Path(sys.argv[1]), sys.argv[2]
    request = None
    try:
        import_module(preload).import_what_jobs_need()
        listener = socket.socket(socket.AF_UNIX)
        unheard = address.with_suffix(".new")
        listener.bind(str(unheard))
        listener.listen(64)
        unheard.rename(address)  # only now can jobs find the socket
        request = _Server(listener).serve()
    finally:
        if request is None:
            address.unlink(missing_ok=True)
            address.parent.rmdir()
    return leave(request.run()) if request else 0


if __name__ == "__main__":
    sys.exit(main())
