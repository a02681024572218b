"""Does a measured number lie in its band?

Training is not bit-equal across machines, so a notebook does not print "0.9912" and hope. It
claims that the number lies in a band, which is as true on another machine; a claim that fails
raises, with the number. Bands are mean - 4 standard deviations over measured runs and stand, with
the settings they were measured at, in bands.json.
"""

import json
from pathlib import Path

BANDS = Path(__file__).with_name("bands.json")


class ClaimError(AssertionError):
    """A measured number lies outside its band."""


def expect(name: str, value: float, lo: float, hi: float) -> str:
    """State that `value` lies in [lo, hi]; both ends are in.

    Returns a line such as "test accuracy in [0.985, 1]: True". Raises ClaimError with the value
    where it is outside, or not a number.
    """
    if not lo <= value <= hi:
        raise ClaimError(
            f"{name} is {value:.6g}, outside [{lo:g}, {hi:g}]. If you changed the code, it now "
            f"does something else; if only settings, this claim was not made for them."
        )
    return f"{name} in [{lo:g}, {hi:g}]: True"


def band(name: str, /, **settings: object) -> tuple[float, float]:
    """The band that was measured for a fraction `name` at exactly these `settings`.

    For settings that nobody measured it is (0, 1), which every accuracy meets: whoever explores
    with other settings makes no claim. Raises ValueError if no band of that name was ever measured.
    """
    measured = [entry for entry in json.loads(BANDS.read_text())["bands"] if entry["name"] == name]
    if not measured:
        raise ValueError(f"No band named {name!r} stands in {BANDS.name}.")
    for entry in measured:
        if entry["settings"] == settings:
            return entry["lo"], entry["hi"]
    return 0.0, 1.0
