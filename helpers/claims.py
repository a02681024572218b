"""Check that a measured number is inside an expected band.

Training is not bit-equal across machines. The lower end of a band is the mean minus 4 standard
deviations over measured runs; bands.json holds the settings at which they were measured.
"""

import json

from helpers.files import PROJECT

BANDS = PROJECT / "benchmarks" / "results" / "bands.json"


class ClaimError(AssertionError):
    """A measured number is outside its band."""


def expect(name: str, value: float, lo: float, hi: float) -> str:
    """Check that `value` is in [lo, hi], ends included.

    Returns a line such as "test accuracy in [0.985, 1]: True". Raises ClaimError if not, or if nan.
    """
    if not lo <= value <= hi:
        raise ClaimError(
            f"{name} is {value:.6g}, outside [{lo:g}, {hi:g}]. If you changed the code, its "
            f"results have changed; if only settings, the band was not measured for them."
        )
    return f"{name} in [{lo:g}, {hi:g}]: True"


def band(name: str, /, **settings: object) -> tuple[float, float]:
    """The band (lo, hi) of the accuracy `name`, measured with exactly these `settings`.

    For other settings it is (0, 1), which every accuracy meets: you can try any settings without an
    error. Raises ValueError if there is no band of that name for any settings.
    """
    measured = [entry for entry in json.loads(BANDS.read_text())["bands"] if entry["name"] == name]
    if not measured:
        raise ValueError(f"{BANDS.name} has no band named {name!r}.")
    for entry in measured:
        if entry["settings"] == settings:
            return entry["lo"], entry["hi"]
    return 0.0, 1.0
