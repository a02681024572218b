"""Notebooks that end badly, each in its own way, and runs that are killed: what is said of them?"""

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
class Bad:
    """A notebook whose second cell is `source`, and what is to be said of it."""

    source: str
    cause: str  # as in series.Outcome
    told: str = ""  # in the message


SLEEP = "import time; time.sleep(600)"
BAD = {
    "an error": Bad("1 / 0", "error", "ZeroDivisionError"),
    "a syntax error": Bad("for", "error", "SyntaxError"),
    "a missing package": Bad("import no_such_package", "error", "No module named"),
    "an error without end": Bad("def f(): f()\nf()", "error", "RecursionError"),
    "a failed claim": Bad(
        "from helpers import claims; claims.expect('accuracy', 0.1, 0.9, 1)", "error", "accuracy"
    ),
    "an interrupt from within": Bad("raise KeyboardInterrupt", "error", "KeyboardInterrupt"),
    "an error in braces": Bad("raise ValueError('{x} %s \\n {')", "error", "{x} %s"),
    "no memory": Bad(
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))\n"
        "kept = bytearray(16 << 30)",
        "error",
        "MemoryError",
    ),
    "exit 0": Bad("import sys; sys.exit(0)", "no record", "import sys; sys.exit(0)"),
    "exit 1": Bad("import sys; sys.exit(1)", "error", "SystemExit: 1"),
    "an exit by raising": Bad("raise SystemExit", "no record", "raise SystemExit"),
    "exit()": Bad("exit()\nimport time; time.sleep(2)", "kernel died"),
    "a record that cannot be": Bad("output = '/no/such/folder'", "error", "FileNotFoundError"),
    "a record that is taken away": Bad(
        "import atexit, os, pathlib, threading\n"
        "path = pathlib.Path(output, 'result.json')\n"
        "def take():\n    while not path.exists(): pass\n    path.unlink()\n"
        "threading.Thread(target=take, daemon=True).start()",
        "no record",
    ),
    "killed": Bad("import os; os.kill(os.getpid(), 9)", "kernel died", "os.kill"),
    "ended at once, with success": Bad("import os; os._exit(0)", "kernel died", "os._exit(0)"),
    "aborted": Bad("import os; os.abort()", "kernel died", "os.abort()"),
    "a wild pointer": Bad("import ctypes; ctypes.string_at(0)", "kernel died", "ctypes"),
    "terminated": Bad("import os; os.kill(os.getpid(), 15)\n" + SLEEP, "kernel died"),
    "memory taken until it is killed": Bad(
        # the system's own killer would take whom it likes; so the kernel has itself killed
        "import os, resource\n"
        "kept = []\n"
        "while resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 400_000:  # KB\n"
        "    kept.append(b'x' * (1 << 20))\n"
        "os.kill(os.getpid(), 9)",
        "kernel died",
        "perhaps the memory was full",
    ),
    "sleeps": Bad(SLEEP, "time-out", "longer than"),
    "runs for ever": Bad("while True: pass", "time-out", "while True: pass"),
    "ignores the interrupt": Bad(
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + SLEEP, "time-out"
    ),
    "stopped": Bad("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", "time-out"),
    "all is well": Bad("print('fine')", ""),
}


write = partial(write_notebook, parameters=PARAMETERS)


def outcome(bad: Bad, folder: Path, *, cell_timeout: int = 10) -> NotebookResult:
    """Run a bad notebook in `folder`."""
    write(folder / "01_bad.ipynb", FIRST, bad.source, RECORD)
    with (
        mock.patch.object(series, "NOTEBOOKS", folder),
        mock.patch.object(series, "SERIES", (headless.Notebook("01_bad"),)),
    ):
        (ended,) = headless.run_notebooks({"01_bad": {}}, folder / "run", cell_timeout=cell_timeout)
    return ended


def verdict(bad: Bad, ended: NotebookResult, folder: Path) -> str:
    """ "right" if what was told, and kept, is what happened; else what is not."""
    state = "failed" if bad.cause else "finished"
    if (ended.state, ended.cause) != (state, bad.cause):
        return f"it was said: {ended}"
    if bad.told not in ended.message:
        return f"{ended.message!r} does not tell of {bad.told!r}"
    (noted,) = json.loads((folder / "run" / runs.STATUS).read_text())["notebooks"]
    if (noted["state"], noted["cause"]) != (state, bad.cause):
        return f"the status says {noted}"
    kept = nbformat.read(folder / "run" / "01_bad" / "01_bad.ipynb", as_version=4)
    if "the first cell was here" not in json.dumps(kept.cells):
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


def heed_ctrl_c() -> None:
    """As in a terminal; what a shell starts in the background ignores it, with all its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def killed_run(folder: Path, where: int, how: signal.Signals, notebooks: int = 4) -> str:
    """Kill a run of several notebooks in one of them, and resume it.

    "right" if the status told where it stood, the others were not run again, and no kernel is left.
    """
    for number in range(1, notebooks + 1):
        note = f"open({str(folder / 'ran')!r}, 'a').write('{number}')"
        wait = f"import os, time; time.sleep(0 if os.path.exists({str(folder / 'go')!r}) else 600)"
        write(folder / f"0{number}_x.ipynb", note, wait if number == where else "0", RECORD)
    command = [sys.executable, "-c", SERIES, str(folder), "run", "--root", str(folder / "runs")]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    running = subprocess.Popen(command, env=environment, preexec_fn=heed_ctrl_c, **quiet)
    ran = folder / "ran"
    while not (ran.exists() and str(where) in ran.read_text()) and running.poll() is None:
        time.sleep(0.05)
    running.send_signal(how)
    told = running.communicate()[0]
    (run,) = (folder / "runs").glob("*/")
    status = [n["state"] for n in json.loads((run / runs.STATUS).read_text())["notebooks"]]
    stopped = "running" if how == signal.SIGKILL else "stopped"
    if status != ["finished"] * (where - 1) + [stopped]:
        return f"the status was {status}: {told}"
    if running.returncode not in (-how, 128 + how):
        return f"it ended with {running.returncode}"
    (folder / "go").touch()
    done = subprocess.run([*command, "--resume"], env=environment, check=False, **quiet)
    status = [n["state"] for n in json.loads((run / runs.STATUS).read_text())["notebooks"]]
    if done.returncode or status != ["finished"] * notebooks:
        return f"resumed, it ended with {done.returncode}, {status}: {done.stdout}"
    again = "".join(str(n) for n in [*range(1, where + 1), *range(where, notebooks + 1)])
    return "right" if ran.read_text() == again else f"{ran.read_text()} ran, wanted {again}"


def full_disk(folder: Path) -> str:
    """Run on a disk that is full in the first of two notebooks; only root can make such a disk."""
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
        told = "Error: " in done.stderr and "No space left" in done.stderr
        if done.returncode != 2 or not told or "Traceback" in done.stderr:
            return f"it ended with {done.returncode}: {done.stdout} {done.stderr}"
        (status,) = disk.rglob(runs.STATUS)
        noted = json.loads(status.read_text())["notebooks"]  # whole, if not the newest
        return "told" if all(entry["state"] != "finished" for entry in noted) else f"{noted}"
    finally:
        subprocess.run(["umount", disk], check=False)
