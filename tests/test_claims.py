import json
import math

import numpy as np
import pytest

from helpers import claims


@pytest.fixture
def bands(tmp_path, monkeypatch):
    path = tmp_path / "bands.json"
    entry = {"name": "accuracy", "settings": {"epochs": 5, "rate": 0.1}, "lo": 0.98, "hi": 1.0}
    path.write_text(json.dumps({"bands": [entry]}))
    monkeypatch.setattr(claims, "BANDS", path)
    return path


def test_a_claim_that_holds_returns_one_line():
    assert claims.expect("test accuracy", 0.991, 0.985, 1) == "test accuracy in [0.985, 1]: True"


@pytest.mark.parametrize("value", [0.985, 1.0])
def test_both_ends_are_included(value):
    assert claims.expect("a", value, 0.985, 1).endswith("True")


@pytest.mark.parametrize("value", [0.9849, 1.0001, math.nan])
def test_a_claim_that_fails_raises_with_the_value(value):
    with pytest.raises(claims.ClaimError, match=f"a is {value:.6g}, outside"):
        claims.expect("a", value, 0.985, 1)


def test_a_band_applies_to_its_settings_only(bands):
    assert claims.band("accuracy", rate=0.1, epochs=5) == (0.98, 1.0)
    assert claims.band("accuracy", rate=0.1, epochs=6) == (0.0, 1.0)
    assert claims.band("accuracy") == (0.0, 1.0)


def test_an_unknown_band_is_refused(bands):
    with pytest.raises(ValueError, match="no band named 'acuracy'"):
        claims.band("acuracy", epochs=5)


def change_band(bands, **changes) -> None:
    (entry,) = json.loads(bands.read_text())["bands"]
    bands.write_text(json.dumps({"bands": [entry | changes]}))


def test_a_band_may_be_a_point_and_begin_at_0(bands):
    change_band(bands, lo=0, hi=0)
    assert claims.band("accuracy", rate=0.1, epochs=5) == (0, 0)


def test_an_invalid_band_is_reported(bands):
    change_band(bands, lo=0.9, hi=0.8)
    with pytest.raises(ValueError, match=r"'lo': 0\.9.* is not a valid band"):
        claims.band("accuracy", rate=0.1, epochs=5)


@pytest.mark.parametrize(
    "content",
    [b"{", b"\xff", b"[" * 100_000, b"[]", b"{}", b'{"bands": 3}', b'{"bands": ""}',
     b'{"bands": {}}', b'{"bands": [3]}', {"name": []}, {"settings": 3}, {"lo": "0.98"},
     {"lo": math.nan}, {"hi": None}, {"hi": 98}, {"hi": 1.5}],
)  # fmt: skip
def test_damaged_bands_are_refused_with_the_name_of_their_file(bands, content):
    if isinstance(content, dict):
        change_band(bands, **content)
    else:
        bands.write_bytes(content)
    with pytest.raises(ValueError, match=r"bands\.json is damaged \(.*Restore it: git checkout"):
        claims.band("accuracy", rate=0.1, epochs=5)


def test_the_error_for_a_damaged_file_of_bands_is_short(bands):
    bands.write_bytes(b"\xff" * 10_000)
    with pytest.raises(ValueError, match=r"Restore it: git checkout") as raised:
        claims.read_bands()
    assert len(str(raised.value)) < 300 + len(str(bands))


def test_the_shipped_bands_contain_their_means():
    for entry in json.loads(claims.BANDS.read_text())["bands"]:
        assert 0.5 < entry["lo"] < entry["mean"] < entry["hi"] <= 1
        assert entry["date"] >= "2026"
        assert entry["n"] >= 1


@pytest.mark.parametrize("bet", [67, 0.67, "67 %", "67%", "about 67,0 percent", ".67"])
def test_a_bet_on_a_share_may_be_a_percentage_or_a_fraction(bet):
    ((shown, result, how_close),) = claims.compare_bets({"?": (bet, 0.7, ".0%")}).to_numpy()
    assert (shown, result, how_close) == ("67%", "70%", "off by 3 points")


@pytest.mark.parametrize(
    ("bet", "shown"), [(1, "1.0%"), ("0.5 %", "0.5%"), (100, "100.0%"), ("0,125", "12.5%")]
)
def test_small_shares_and_decimal_commas_are_read_as_they_were_meant(bet, shown):
    assert claims.compare_bets({"?": (bet, 0.5, ".1%")}).loc["?", "your bet"] == shown


@pytest.mark.parametrize(
    ("bet", "close"),
    [
        (84, "right"),
        ("1,084", "off by 1,000"),
        ("1 084", "off by 1,000"),
        (-3, "off by 87"),
        ("83.5 100 images", "off by 0.5"),
        ("84 or 900", "right"),
        ("8.4e1", "right"),
        ("84 errors", "right"),
    ],
)
def test_a_number_can_be_bet_on(bet, close):
    assert claims.compare_bets({"mistakes": (bet, 84)}).loc["mistakes", "how close"] == close


def test_a_small_number_can_be_bet_on_with_an_exponent():
    bets = claims.compare_bets({"rate": ("1e-5", 2e-5, "g")})
    assert bets.loc["rate"].to_list() == ["1e-05", "2e-05", "off by 1e-05"]


@pytest.mark.parametrize("result", [84, np.int64(84), np.float32(84)])
def test_results_may_come_from_numpy(result):
    assert claims.compare_bets({"?": ("84", result)}).loc["?"].to_list() == ["84", "84", "right"]


@pytest.mark.parametrize(
    ("bet", "result", "close"),
    [
        ("9 and 4", "4 / 9", "wrong"),  # "and" is not a class
        ("9,4", "4 / 9", "right"),
        ("TinyVGG", "tiny_vgg", "right"),
        ("shirt / t-shirt/top", "T-shirt/top / Shirt", "right"),
        ("coat", "shirt", "wrong"),
        ("many", 84, "wrong"),  # a word, where a number is expected
    ],
)
def test_bets_in_words_ignore_case_and_order(bet, result, close):
    row = claims.compare_bets({"?": (bet, result)}).loc["?"]
    assert row.to_list() == [bet, result, close]


def test_only_the_questions_with_a_bet_are_shown():
    table = claims.compare_bets({"a": (None, 0.2, ".0%"), "b": (0, 3), "c": (None, "x")})
    assert table.index.to_list() == ["b"]


def test_without_bets_the_table_says_so_whatever_the_results():
    first = claims.compare_bets({"a": (None, 0.2, ".0%"), "b": (None, "x")})
    assert first.equals(claims.compare_bets({"a": (None, 0.9, ".0%"), "b": (None, 3)}))
    assert first.index.to_list() == ["no bet was placed"]
