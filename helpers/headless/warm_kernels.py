"""How does a kernel start at once? It is forked from a process that has imported and read all.

A kernel spends its first seconds on imports, the same in every run of a sweep. So each worker has
one process that has done so once, and forks a kernel for each point: it has the imports and the
data sets from the first moment, and shares no change with any other. Jupyter knows this way as the
provisioner `warm`; `in_use` lets the kernels of a process be started so.

Only Linux lets a process with all of these imports be forked; elsewhere kernels start as ever.
"""

import asyncio
import importlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import EntryPoint
from typing import Any, NoReturn
import psutil
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner

NAME = "warm"
PRELOADED = (
    "matplotlib.pyplot", "pandas", "seaborn", "torchmetrics", "ipykernel.kernelapp",
    "helpers.error_analysis", "helpers.pictures", "helpers.plotting", "helpers.recipes",
    "helpers.runs",
)  # fmt: skip
# Dask lets its workers give memory back at once, with which training takes a third longer
TRIMMED = "MALLOC_TRIM_THRESHOLD_"
INLINE = "module://matplotlib_inline.backend_inline"


@contextmanager
def in_use() -> Iterator[None]:
    """Start kernels warm, on Linux."""
    if sys.platform != "linux":  # macOS can fork, but its own libraries do not survive it
        yield
        return
    factory = KernelProvisionerFactory.instance()
    place = f"{__name__}:{WarmProvisioner.__name__}"
    factory.provisioners[NAME] = EntryPoint(NAME, place, factory.GROUP_NAME)
    before = factory.default_provisioner_name
    factory.default_provisioner_name = NAME
    _SERVER.start()  # what it imports and reads takes as long as this process's own imports
    try:
        yield
    finally:
        factory.default_provisioner_name = before


class WarmProvisioner(LocalProvisioner):
    """Has kernels forked by the server of this process."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Fork a kernel instead of running `cmd`, and tell how it is reached."""
        argv = cmd[cmd.index("ipykernel_launcher") + 1 :]
        order = {"argv": argv, "env": dict(kwargs["env"]), "cwd": str(kwargs.get("cwd") or ".")}
        forked = await asyncio.to_thread(_Forked, order)
        self.process = forked  # type: ignore[assignment]
        self.pid, self.pgid = forked.pid, None
        return self.connection_info


class _Forked:
    """A kernel, with what a provisioner asks of a subprocess.Popen."""

    stdin = stdout = stderr = None

    def __init__(self, order: Mapping[str, object]) -> None:
        self.pid = _SERVER.fork(order)
        self._process: psutil.Process | None = None
        with suppress(psutil.NoSuchProcess):  # it may have ended already
            self._process = psutil.Process(self.pid)

    def poll(self) -> int | None:
        """None while it runs. The server reaps it, so nobody knows its exit status: 0."""
        return None if self._process is not None and self._process.is_running() else 0

    def wait(self) -> int:
        if self._process is not None:
            self._process.wait()
        return 0

    def send_signal(self, number: int) -> None:
        if self._process is not None:
            with suppress(psutil.NoSuchProcess):
                self._process.send_signal(number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Server:
    """The process that forks, started when it is first asked, and anew should it have died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._lock = threading.RLock()

    def start(self) -> subprocess.Popen:
        """Start it unless it runs, without waiting until it has imported and read."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._let_go()
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "helpers.warm_kernels"],
                    env={k: v for k, v in os.environ.items() if k != TRIMMED},
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                )  # fmt: skip
            return self._process

    def fork(self, order: Mapping[str, object]) -> int:
        """Have a kernel forked; returns its process number."""
        with self._lock:
            server = self.start()
            asked, answers = server.stdin, server.stdout
            assert asked is not None
            assert answers is not None
            answer = ""
            with suppress(BrokenPipeError):
                asked.write(json.dumps(order) + "\n")
                asked.flush()
                answer = answers.readline()
        if not answer:
            raise RuntimeError("The process that forks kernels has died; often the memory is full.")
        return int(answer)

    def _let_go(self) -> None:
        """Close what leads to a server that is no more."""
        if self._process is not None:
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    with suppress(BrokenPipeError):
                        stream.close()


_SERVER = _Server()


def serve() -> None:
    """Import and read what notebooks need, then fork a kernel for each line, until no more come."""
    import torch

    from helpers import data
    from helpers.data import SPECS

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a pool of threads does not survive a fork
    os.environ["MPLBACKEND"] = INLINE  # as a kernel would set it before matplotlib is imported
    for name in PRELOADED:
        importlib.import_module(name)
    for name in SPECS:
        data.keep(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system shall reap the kernels
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            torch.set_num_threads(threads)
            _become_kernel(**json.loads(line))
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


def _become_kernel(argv: list[str], env: dict[str, str], cwd: str) -> NoReturn:
    """What a kernel started by itself would have: a session, an environment, its own randomness."""
    import numpy as np
    from ipykernel.kernelapp import IPKernelApp

    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # the server's own output is for process numbers
    os.environ.clear()
    os.environ.update(env, JPY_PARENT_PID=str(os.getppid()), MPLBACKEND=INLINE)
    os.chdir(cwd)
    random.seed()
    np.random.seed()  # noqa: NPY002
    sys.argv = ["ipykernel_launcher", *argv]
    # with its parent, the server, it shall end; that it was interrupted then is no error
    settings = {"parent_handle": os.getppid(), "log_level": logging.CRITICAL}
    told = [f"--IPKernelApp.{name}={value}" for name, value in settings.items()]
    IPKernelApp.launch_instance(argv=[*argv, *told])
    os._exit(0)


if __name__ == "__main__":
    serve()
