import json
import math

import pytest

from helpers import claims


@pytest.fixture
def bands(tmp_path, monkeypatch):
    path = tmp_path / "bands.json"
    entry = {"name": "accuracy", "settings": {"epochs": 5, "rate": 0.1}, "lo": 0.98, "hi": 1.0}
    path.write_text(json.dumps({"bands": [entry]}))
    monkeypatch.setattr(claims, "BANDS", path)


def test_a_claim_that_holds_returns_one_line():
    assert claims.expect("test accuracy", 0.991, 0.985, 1) == "test accuracy in [0.985, 1]: True"


@pytest.mark.parametrize("value", [0.985, 1.0])
def test_both_ends_are_included(value):
    assert claims.expect("a", value, 0.985, 1).endswith("True")


@pytest.mark.parametrize("value", [0.9849, 1.0001, math.nan])
def test_a_claim_that_fails_raises_with_the_value(value):
    with pytest.raises(claims.ClaimError, match=f"a is {value:.6g}, outside"):
        claims.expect("a", value, 0.985, 1)


def test_a_band_is_for_its_settings_only(bands):
    assert claims.band("accuracy", rate=0.1, epochs=5) == (0.98, 1.0)
    assert claims.band("accuracy", rate=0.1, epochs=6) == (0.0, 1.0)
    assert claims.band("accuracy") == (0.0, 1.0)


def test_an_unknown_band_is_refused(bands):
    with pytest.raises(ValueError, match="no band named 'acuracy'"):
        claims.band("acuracy", epochs=5)


def test_the_shipped_bands_contain_their_means():
    for entry in json.loads(claims.BANDS.read_text())["bands"]:
        assert 0.5 < entry["lo"] < entry["mean"] < entry["hi"] <= 1
        assert entry["date"] >= "2026"
        assert entry["n"] >= 1
