"""Progress bars, progress as lines of a log, and error messages for unknown names."""

import io
import os
import sys
import threading
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import Any, Literal

from tqdm import tqdm as std_tqdm
from tqdm.auto import tqdm

Show = bool | None | Literal["log"]


def progress_bar(show: Show = None, **options: Any) -> std_tqdm:
    """A bar of tqdm. "log" prints a line every ten seconds; None shows it if `is_interactive()`."""
    options = {"leave": False, **options}
    if show == "log":
        return ProgressLog(**options)
    return tqdm(disable=not (is_interactive() if show is None else show), **options)


class ProgressLog(std_tqdm):
    """Prints a line on stderr every ten seconds, also while nothing advances."""

    INTERVAL = 10.0  # seconds
    LINE = "{desc}: {percentage:.0f} %, {n:.0f} of {total}{unit}, {elapsed}, {remaining} left"
    LINE += "{postfix}"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._ended = threading.Event()
        super().__init__(*arguments, file=io.StringIO(), bar_format=self.LINE, **options)
        threading.Thread(target=self._report, daemon=True).start()

    @property
    def format_dict(self) -> dict[str, Any]:
        """As in tqdm, but the time left goes down while a long step is under way."""
        values = super().format_dict
        n, total, elapsed = values["n"], values["total"], values["elapsed"]
        if n > values["initial"] and total:
            until_step = self.last_print_t - self.start_t
            since_step = elapsed - until_step
            rate = values["rate"] or (n - values["initial"]) / max(until_step, 0.1)
            left = max((total - n) / rate - since_step, 1.0)
            values["rate"] = (total - n) / left or None
        return values

    def _report(self) -> None:
        while not self._ended.wait(self.INTERVAL):
            tqdm.write(str(self), file=sys.stderr)

    def close(self) -> None:
        self._ended.set()
        super().close()


def is_interactive() -> bool:
    """Whether a person sees the output of this process: in a terminal, or in a notebook.

    Jupyter sets JPY_SESSION_NAME for interactive kernels; papermill, nbval and nbconvert do not.
    """
    return "JPY_SESSION_NAME" in os.environ or (os.isatty(2) and "JPY_PARENT_PID" not in os.environ)


def check_name(kind: str, name: str, known: Collection[str]) -> None:
    """Raise ValueError, with the message of `unknown_name`, if `name` is not in `known`."""
    if name not in known:
        raise ValueError(unknown_name(kind, name, known))


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """The error message for an unknown name: the most similar name, and all known names."""
    known = list(known)
    close = get_close_matches(name, known, n=1)
    meant = f" Did you mean {close[0]!r}?" if close else ""
    listed = f" Choose one of: {', '.join(known)}." if known else ""
    return f"There is no {kind} {name!r}.{meant}{listed}"
