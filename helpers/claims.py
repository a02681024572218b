"""Check that a measured number is inside an expected band, and compare readers' bets with results.

Training gives slightly different numbers on different machines, so a band is the mean ± 4 standard
deviations over several runs. Shipped weights have a band of ± 5 test images.
"""

import json
import re
from collections.abc import Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any

from helpers.files import PROJECT

if TYPE_CHECKING:
    import pandas as pd

BANDS = PROJECT / "benchmarks" / "results" / "bands.json"


class ClaimError(AssertionError):
    """A measured number is outside its band."""


def expect(name: str, value: float, lo: float, hi: float) -> str:
    """Check that `value` is in [lo, hi], ends included.

    Returns a line such as "test accuracy in [0.985, 1]: True", or raises ClaimError, also for nan.
    """
    if not lo <= value <= hi:
        raise ClaimError(
            f"{name} is {value:.6g}, outside [{lo:g}, {hi:g}]. If you changed the code, its "
            f"results have changed. If you changed only settings, no band was measured for them."
        )
    return f"{name} in [{lo:g}, {hi:g}]: True"


def band(name: str, /, **settings: object) -> tuple[float, float]:
    """The band (lo, hi) in [0, 1] of the accuracy `name`, measured with exactly these `settings`.

    For other settings the band is (0, 1), which holds every accuracy, so you can try any settings.
    Raises ValueError if there is no band of that name, and as `read_bands`.
    """
    measured = [entry for entry in read_bands() if entry["name"] == name]
    if not measured:
        raise ValueError(f"{BANDS.name} has no band named {name!r}.")
    for entry in measured:
        if entry["settings"] == settings:
            return entry["lo"], entry["hi"]
    return 0.0, 1.0


def read_bands() -> list[dict[str, Any]]:
    """All measured bands. FileNotFoundError without the file, ValueError if it is damaged."""
    try:
        bands = [] + json.loads(BANDS.read_bytes())["bands"]  # TypeError if it is no list
        for entry in bands:
            kinds = isinstance(entry["name"], str), isinstance(entry["settings"], dict)
            if not all(kinds) or not 0 <= entry["lo"] <= entry["hi"] <= 1:
                raise ValueError(f"{entry!r:.80} is not a valid band")
        return bands
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        advice = "Restore it: git checkout -- benchmarks/results/bands.json"
        raise ValueError(f"{BANDS} is damaged ({error!r:.200}). {advice}") from error


def compare_bets(bets: Mapping[str, tuple[Any, ...]]) -> "pd.DataFrame":
    """The reader's bets beside the results: a row for each question with a bet other than None.

    `bets` has (bet, result) for each question, or (bet, result, format). With a format such as
    ".0%" the result is a fraction; the bet may be 67, "67 %" or, below 1, a fraction such as 0.67.
    Words are compared without case, order and punctuation. Without any bet, one row says so.
    """
    import pandas as pd

    rows = {}
    for question, (bet, result, *form) in bets.items():
        spec = form[0] if form else ",.6g"
        number = _read_number(bet, spec.endswith("%")) if isinstance(result, Real) else None
        if number is not None:
            shown, hit = format(number, spec), format(result, spec)
            off = format(abs(number - result), spec).replace("%", " points")
            rows[question] = (shown, hit, "right" if shown == hit else f"off by {off}")
        elif bet is not None:
            said, was = (re.findall(r"[^\W_]+", str(words).casefold()) for words in (bet, result))
            same = "".join(sorted(said)) == "".join(sorted(was))
            rows[question] = (bet, result, "right" if same else "wrong")
    rows = rows or {"no bet was placed": ("–", "–", "–")}
    return pd.DataFrame(rows, index=["your bet", "result", "how close"]).T


def _read_number(bet: object, percent: bool) -> float | None:
    """The first number in a bet such as 84, "84 %", "1,000", "1 000", "1e-3" or "0,67"."""
    grouped = r"(?<![\d.,])[1-9]\d{0,2}([,\s]\d{3})+(?!\d)"  # thousands
    text = re.sub(grouped, lambda n: re.sub(r"\D", "", n[0]), str(bet)).replace(",", ".")
    if not (found := re.search(r"-?\d*\.?\d+(e[-+]?\d+)?", text, re.IGNORECASE)):
        return None
    number = float(found[0])
    return number / 100 if percent and (number >= 1 or "%" in text) else number
