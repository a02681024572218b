"""Plans of sweeps: trials, or an error that names the file; YAML tags create no objects."""

import os

import yaml
from hypothesis import strategies as st

from helpers import headless
from helpers.headless import sweeps
from tests.fuzz import (
    LEAVES,
    NESTED,
    TEXTS,
    Refused,
    altered,
    attempt,
    damaged,
    fuzz,
    quick_and_long,
)

VALID_PLAN = {
    "notebook": "03", "grid": {"seed": "0:3", "dataset": ["mnist"]}, "random": "2",
    "ranges": {"learning_rate": "0.01:0.1:log", "epochs": "1:9"}, "seed": "1",
}  # fmt: skip
BILLION_LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
ODD = (
    "notebook: 03\ngrid: {seed: !!python/object/apply:os.mkdir [made]}\n",
    "!!python/object/apply:os.mkdir [made]\n",
    "notebook: 03\ngrid: {seed: &a [*a]}\n",
    "notebook: 03\ngrid: {seed: 0:99999999999}\n",
    "notebook: 03\nranges: {epochs: 1:9}\nrandom: 99999999999\n",
    f"notebook: 03\nranges: {{epochs: 1:1{'0' * 400}}}\nrandom: 1\n",
    "notebook: 03\nranges: {learning_rate: 0:1e999}\nrandom: 1\n",
    f"{BILLION_LAUGHS}notebook: 03\ngrid: {{seed: *i}}\n",
    f"random: {BILLION_LAUGHS[3:].splitlines()[0]}\nnotebook: 03\n",
    "notebook: 03\ngrid: {seed: 1, seed: 2}\n",
    "notebook: 03\n? [a, b]\n: 1\n",
    "notebook: 03\ngrid: {seed: [0, 0]}\n",
)


@quick_and_long()
def test_a_plan_has_trials_or_is_refused(tmp_path, monkeypatch, tries):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "plan.yaml"
    intact = yaml.safe_dump(VALID_PLAN).encode()

    def check(content: bytes) -> None:
        path.write_bytes(content)
        plan = attempt(lambda: headless.read_plan(path), ValueError)
        assert os.listdir(tmp_path) == ["plan.yaml"]
        if isinstance(plan, Refused):
            assert content != intact
            assert str(path) in plan
        else:
            assert 1 <= len(plan.trials()) <= sweeps.MAX_TRIALS

    texts = altered(VALID_PLAN, TEXTS | st.lists(TEXTS, max_size=3)).map(yaml.safe_dump)
    contents = texts.map(str.encode) | damaged(intact) | st.sampled_from([intact, NESTED])
    fuzz(check, contents | st.sampled_from(ODD).map(str.encode), tries=tries)


@quick_and_long(0.1)
def test_a_parameter_has_the_type_of_its_notebook_or_is_refused(tries):
    known = headless.parameters_of(headless.find_notebook("02"))

    def check(name: str, text: str) -> None:
        assigned = [f"02.{name}={text}"]
        settings = attempt(lambda: headless.settings_for("quick", assigned), ValueError)
        if not isinstance(settings, Refused):
            value = settings["02_train_mnist"][name]
            assert type(value).__name__ == known[name]["inferred_type_name"]

    values = TEXTS | LEAVES.map(str) | st.sampled_from(["(" * 5_000, "{[]: 1}", "-" * 9_000 + "1"])
    fuzz(check, st.sampled_from(["epochs", "learning_rate", "seed"]) | TEXTS, values, tries=tries)
