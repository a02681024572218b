"""Notebooks that fail in different ways, and runs that are killed: the reports must be right."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

import nbformat

from helpers import headless, runs
from helpers.files import PROJECT
from helpers.headless import NotebookResult
from helpers.headless import notebooks as series
from tests.tools import write_notebook

PARAMETERS = 'output: str = ""  # where results go\n'
RECORD = 'import pathlib\npathlib.Path(output, "result.json").write_text(\'{"notebook": "x"}\')'
FIRST = "print('the first cell was here')"


@dataclass(frozen=True)
class Failure:
    """A notebook whose second cell is `source`, and what must be reported."""

    source: str
    cause: str  # as in headless.NotebookResult
    expected_message: str = ""  # in the message


SLEEP = "import time; time.sleep(600)"
BAD = {
    "an error": Failure("1 / 0", "error", "ZeroDivisionError"),
    "a syntax error": Failure("for", "error", "SyntaxError"),
    "a missing package": Failure("import no_such_package", "error", "No module named"),
    "an error without end": Failure("def f(): f()\nf()", "error", "RecursionError"),
    "a failed claim": Failure(
        "from helpers import claims; claims.expect('accuracy', 0.1, 0.9, 1)", "error", "accuracy"
    ),
    "an interrupt from within": Failure("raise KeyboardInterrupt", "error", "KeyboardInterrupt"),
    "an error in braces": Failure("raise ValueError('{x} %s \\n {')", "error", "{x} %s"),
    "no memory": Failure(
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))\n"
        "kept = bytearray(16 << 30)",
        "error",
        "MemoryError",
    ),
    "exit 0": Failure("import sys; sys.exit(0)", "no record", "import sys; sys.exit(0)"),
    "exit 1": Failure("import sys; sys.exit(1)", "error", "SystemExit: 1"),
    "an exit by raising": Failure("raise SystemExit", "no record", "raise SystemExit"),
    "exit()": Failure("exit()\nimport time; time.sleep(2)", "kernel died"),
    "a record that cannot be": Failure("output = '/no/such/folder'", "error", "FileNotFoundError"),
    "a record that is taken away": Failure(
        "import atexit, os, pathlib, threading\n"
        "path = pathlib.Path(output, 'result.json')\n"
        "def take():\n    while not path.exists(): pass\n    path.unlink()\n"
        "threading.Thread(target=take, daemon=True).start()",
        "no record",
    ),
    "killed": Failure("import os; os.kill(os.getpid(), 9)", "kernel died", "os.kill"),
    "ended at once, with success": Failure("import os; os._exit(0)", "kernel died", "os._exit(0)"),
    "aborted": Failure("import os; os.abort()", "kernel died", "os.abort()"),
    "a wild pointer": Failure("import ctypes; ctypes.string_at(0)", "kernel died", "ctypes"),
    "terminated": Failure("import os; os.kill(os.getpid(), 15)\n" + SLEEP, "kernel died"),
    "memory taken until it is killed": Failure(
        # the system might kill another process; so the kernel kills itself
        "import os, resource\n"
        "kept = []\n"
        "while resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 400_000:  # KB\n"
        "    kept.append(b'x' * (1 << 20))\n"
        "os.kill(os.getpid(), 9)",
        "kernel died",
        "perhaps the memory was full",
    ),
    "sleeps": Failure(SLEEP, "time-out", "longer than"),
    "runs for ever": Failure("while True: pass", "time-out", "while True: pass"),
    "ignores the interrupt": Failure(
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + SLEEP, "time-out"
    ),
    "stopped": Failure("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", "time-out"),
    "all is well": Failure("print('fine')", ""),
}


write = partial(write_notebook, parameters=PARAMETERS)


def outcome(failure: Failure, folder: Path, *, cell_timeout: int = 10) -> NotebookResult:
    """Run a failing notebook in `folder`."""
    write(folder / "01_bad.ipynb", FIRST, failure.source, RECORD)
    with (
        mock.patch.object(series, "NOTEBOOKS", folder),
        mock.patch.object(series, "SERIES", (headless.Notebook("01_bad"),)),
    ):
        (result,) = headless.run_notebooks(
            {"01_bad": {}}, folder / "run", cell_timeout=cell_timeout
        )
    return result


def verdict(failure: Failure, result: NotebookResult, folder: Path) -> str:
    """ "right" if the report and the saved notebook are as expected, else what is wrong."""
    state = "failed" if failure.cause else "finished"
    if (result.state, result.cause) != (state, failure.cause):
        return f"the result was {result}"
    if failure.expected_message not in result.message:
        return f"{result.message!r} does not mention {failure.expected_message!r}"
    (entry,) = json.loads((folder / "run" / runs.STATUS).read_text())["notebooks"]
    if (entry["state"], entry["cause"]) != (state, failure.cause):
        return f"the status says {entry}"
    saved = nbformat.read(folder / "run" / "01_bad" / "01_bad.ipynb", as_version=4)
    if "the first cell was here" not in json.dumps(saved.cells):
        return "what was executed is not kept"
    return "right"


SERIES = """
import sys, pathlib
from helpers.headless import notebooks as series
from helpers.headless.cli import app
folder = pathlib.Path(sys.argv.pop(1))
names = sorted(path.stem for path in folder.glob("*.ipynb"))
series.NOTEBOOKS = folder
series.SERIES = tuple(series.Notebook(name) for name in names)
series.PROFILES = {"standard": {}}
app()
"""


def restore_sigint() -> None:
    """Handle Ctrl-C as in a terminal; processes that a shell starts in the background ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def killed_run(folder: Path, where: int, how: signal.Signals, notebooks: int = 4) -> str:
    """Kill a run of several notebooks in one of them, and resume it.

    "right" if the status was correct, finished notebooks were not run again, and no kernel is left.
    """
    for number in range(1, notebooks + 1):
        record_number = f"open({str(folder / 'ran')!r}, 'a').write('{number}')"
        wait = f"import os, time; time.sleep(0 if os.path.exists({str(folder / 'go')!r}) else 600)"
        write(
            folder / f"0{number}_x.ipynb", record_number, wait if number == where else "0", RECORD
        )
    command = [sys.executable, "-c", SERIES, str(folder), "run", "--root", str(folder / "runs")]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    running = subprocess.Popen(command, env=environment, preexec_fn=restore_sigint, **streams)
    ran = folder / "ran"
    while not (ran.exists() and str(where) in ran.read_text()) and running.poll() is None:
        time.sleep(0.05)
    running.send_signal(how)
    output = running.communicate()[0]
    (run,) = (folder / "runs").glob("*/")
    status = [n["state"] for n in json.loads((run / runs.STATUS).read_text())["notebooks"]]
    stopped = "running" if how == signal.SIGKILL else "stopped"
    if status != ["finished"] * (where - 1) + [stopped]:
        return f"the status was {status}: {output}"
    if running.returncode not in (-how, 128 + how):
        return f"it ended with {running.returncode}"
    (folder / "go").touch()
    done = subprocess.run([*command, "--resume"], env=environment, check=False, **streams)
    status = [n["state"] for n in json.loads((run / runs.STATUS).read_text())["notebooks"]]
    if done.returncode or status != ["finished"] * notebooks:
        return f"resumed, it ended with {done.returncode}, {status}: {done.stdout}"
    expected = "".join(str(n) for n in [*range(1, where + 1), *range(where, notebooks + 1)])
    return "right" if ran.read_text() == expected else f"{ran.read_text()} ran, wanted {expected}"


def full_disk(folder: Path) -> str:
    """Run on a disk that gets full in the first of two notebooks; only root can mount one."""
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        return "not tried, for want of rights"
    try:
        write(folder / "01_x.ipynb", FIRST, "for i in range(60_000): print(i)", RECORD)
        write(folder / "02_x.ipynb", FIRST, RECORD)
        done = subprocess.run(
            [sys.executable, "-c", SERIES, str(folder), "run", "--root", str(disk)],
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            capture_output=True,
            text=True,
            check=False,
        )
        reported = "Error: " in done.stderr and "No space left" in done.stderr
        if done.returncode != 2 or not reported or "Traceback" in done.stderr:
            return f"it ended with {done.returncode}: {done.stdout} {done.stderr}"
        (status,) = disk.rglob(runs.STATUS)
        entries = json.loads(status.read_text())["notebooks"]  # complete, perhaps not the latest
        return "told" if all(entry["state"] != "finished" for entry in entries) else f"{entries}"
    finally:
        subprocess.run(["umount", disk], check=False)
