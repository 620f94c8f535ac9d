"""A stand-in for the Python interpreter that has imported the large packages already, for the end-to-end tests.

A run of a smoke study takes two processes, the runner and its kernel, and importing torch, pandas and papermill takes
longer than the run itself. `warm_python` starts one process that imports them once, and makes a command to use as
`make PYTHON=...`. For every `command -m module`, that process forks a child, which gets the command's folder,
environment and streams; signals are passed on, and the command ends as the child does.

Numbers are those of a plain interpreter, because the process has one thread (OMP_NUM_THREADS=1), only imports, and
imports nothing of the study. A command that wants another number of threads, or anything but a module, becomes the real
interpreter.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

# Variables that packages read while they are imported: the values that the runner gives to a kernel.
READ_AT_IMPORT = {
    "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8", "TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}  # fmt: skip
# What notebooks, library and runner import, and what torch imports with the first optimizer.
PACKAGES = (
    "torch", "torch._dynamo", "torch.testing", "torchvision", "accelerate", "faiss", "pandas", "pyarrow.parquet",
    "seaborn", "matplotlib.pyplot", "matplotlib.backends.backend_svg", "matplotlib_inline.backend_inline",
    "sklearn.linear_model", "sklearn.pipeline", "sklearn.preprocessing", "sklearn.calibration", "scipy.stats",
    "scipy.sparse.csgraph", "tabulate", "yaml", "IPython", "ipykernel.kernelapp", "papermill", "nbconvert",
    "latex2mathml.converter", "PIL.Image",
)  # fmt: skip

COMMAND = """#!{python} -IS
import json, os, signal, socket, sys

if sys.argv[1:2] != ["-m"] or os.environ.get("OMP_NUM_THREADS") != "1":
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
connection = socket.socket(socket.AF_UNIX)
connection.connect({address!r})
request = json.dumps([sys.argv[0], sys.argv[2], sys.argv[3:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(connection, [len(request).to_bytes(4, "big")], [0, 1, 2])
connection.sendall(request)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: connection.send(bytes([number])))
code = int(connection.recv(16) or -signal.SIGKILL)
if code < 0:
    if code != -signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


def _receive(connection: socket.socket) -> tuple[list, list[int]]:
    """What a command sends: [its path, module, arguments, folder, environment] and its three standard streams."""
    size, streams, *_ = socket.recv_fds(connection, 4, 3)
    missing, text = int.from_bytes(size, "big"), b""
    while len(text) < missing:
        text += connection.recv(missing - len(text))
    return json.loads(text), streams


def _run(request: list, streams: list[int]) -> int:
    """In a child: run the module as a plain interpreter would; returns its exit code."""
    sys.executable, module, arguments, folder, environment = request
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
        os.close(stream)
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [folder, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = ["-m", *arguments]
    # What nobody seeded must differ from process to process, as it does where each starts anew.
    sys.modules["torch"].default_generator.seed()
    sys.modules["numpy"].random.seed()
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            raise
        return end.code or 0
    return 0


def _leave(code: list[int]) -> None:
    """Where there is an exit code, end without freeing what was imported: half a second for each process."""
    if code:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code[0])


class Server:
    """The process with the packages. `children` {connection of a command: (process id, handle of the process)}."""

    def __init__(self, listener: socket.socket):
        self.listener = listener
        self.ready = selectors.DefaultSelector()
        self.ready.register(listener, selectors.EVENT_READ)
        self.ready.register(sys.stdin, selectors.EVENT_READ)
        self.children: dict[socket.socket, tuple[int, int]] = {}

    def serve(self) -> tuple[list, list[int]] | None:
        """Fork for each command until standard input is closed; a child returns with its request."""
        while True:
            for key, _ in self.ready.select():
                if key.fileobj is sys.stdin:
                    for process, _ in self.children.values():
                        os.kill(process, signal.SIGKILL)
                    return None
                if key.fileobj is self.listener:
                    if request := self._fork(self.listener.accept()[0]):
                        return request
                elif key.fileobj in self.children:
                    # The numbers of signals; nothing once the command has been killed.
                    for number in key.fileobj.recv(16) or [signal.SIGKILL]:
                        os.kill(self.children[key.fileobj][0], number)
                elif key.data in self.children:
                    self._end(key.data)

    def _fork(self, connection: socket.socket) -> tuple[list, list[int]] | None:
        import_packages()
        request, streams = _receive(connection)
        process = os.fork()
        if not process:
            self.ready.close()
            for one in (self.listener, connection, *self.children):
                one.close()
            for _, handle in self.children.values():
                os.close(handle)
            return request, streams
        for stream in streams:
            os.close(stream)
        handle = os.pidfd_open(process)
        self.children[connection] = process, handle
        self.ready.register(connection, selectors.EVENT_READ)
        self.ready.register(handle, selectors.EVENT_READ, data=connection)
        return None

    def _end(self, connection: socket.socket) -> None:
        process, handle = self.children.pop(connection)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        with suppress(BrokenPipeError):
            connection.send(str(code).encode())
        for one in (connection, handle):
            self.ready.unregister(one)
        connection.close()
        os.close(handle)


def import_packages() -> None:
    """Import PACKAGES, once. Objects made until now are kept from the collector, so that children share their pages."""
    if PACKAGES[-1] not in sys.modules:
        for package in PACKAGES:
            importlib.import_module(package)
        gc.collect()
        gc.freeze()


@contextmanager
def warm_python(folder: Path):
    """Path of the command, made in `folder`; the process behind it lives as long as the context and imports at the
    first request. Without Linux's handles of processes it is the path of the real interpreter."""
    if not hasattr(os, "pidfd_open"):
        yield sys.executable
        return
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("")       # the system chooses an address that is no file
        listener.listen(64)
        process = subprocess.Popen([sys.executable, __file__, str(listener.fileno())], stdin=subprocess.PIPE,
                                   pass_fds=[listener.fileno()], env=os.environ | READ_AT_IMPORT)
        command = folder / "python"
        command.write_text(COMMAND.format(python=sys.executable, address=listener.getsockname()))
        command.chmod(0o755)
    try:
        yield str(command)
    finally:
        process.stdin.close()
        process.wait()


if __name__ == "__main__":
    sys.path.pop(0)     # the tests' own folder
    exit_code: list[int] = []
    atexit.register(_leave, exit_code)      # registered before all packages, hence called after them
    if own := Server(socket.socket(fileno=int(sys.argv[1]))).serve():
        exit_code.append(_run(*own))
