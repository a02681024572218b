import os
import pickle

import pytest
import torch

from helpers import evaluation, models
from helpers.models import CheckpointError


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return models.build("tiny_vgg", hidden_units=4, mean=0.3, std=0.4)


@pytest.fixture
def path(model, tmp_path):
    return models.save(model, tmp_path / "w.safetensors", dataset="mnist", test_accuracy=0.5)


def test_what_was_saved_comes_back_and_says_the_same(model, path, tiny):
    loaded = models.load(path)
    assert loaded.architecture == model.architecture
    assert loaded.architecture["hidden_units"] == 4
    assert not loaded.training
    logits = [evaluation.predict(m, tiny).logits for m in (model, loaded)]
    assert torch.equal(*logits)
    assert models.read_metadata(path)["notes"] == {"dataset": "mnist", "test_accuracy": 0.5}


def test_weights_in_another_memory_layout_are_saved_alike(model, path, tmp_path):
    other = models.save(
        model.to(memory_format=torch.channels_last), tmp_path / "cl.safetensors"
    )
    assert models.read_metadata(other)["sha256"] == models.read_metadata(path)["sha256"]
    assert torch.equal(
        *(models.load(p).state_dict()["block_2.0.weight"] for p in (path, other))
    )


def test_another_architecture_is_refused(path):
    models.load(path, "tiny_vgg")
    with pytest.raises(CheckpointError, match="holds a 'tiny_vgg', wanted a 'mlp'"):
        models.load(path, "mlp")


def test_weights_from_other_data_are_refused(path):
    models.load(path, dataset="mnist")
    with pytest.raises(CheckpointError, match="was trained on 'mnist', wanted 'fashion_mnist'"):
        models.load(path, dataset="fashion_mnist")


def test_a_compiled_model_is_saved_as_what_it_is(model, tmp_path):
    class Compiled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self._orig_mod = model

    path = models.save(Compiled(), tmp_path / "c.safetensors")
    assert models.load(path, "tiny_vgg")


def test_changing_a_default_spoils_no_checkpoint(tmp_path, monkeypatch):
    path = models.save(models.build("mlp"), tmp_path / "w.safetensors")

    def wider(hidden_units=500, num_classes=10, mean=0.0, std=1.0):
        return models.MLP(hidden_units, num_classes, mean, std)

    monkeypatch.setitem(models.MODELS, "mlp", wider)
    assert models.load(path).classifier.in_features == 128


def test_a_flipped_bit_in_the_weights_is_noticed(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged: its weights have SHA-256"):
        models.load(path)


@pytest.mark.parametrize("keep", [0, 5, 200, 2_000])
def test_a_truncated_file_is_refused(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="not a checkpoint of this project, or was cut short"):
        models.load(path)


def test_a_pickle_is_refused_and_not_run(tmp_path):
    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "pwned"),)

    path = tmp_path / "w.safetensors"
    path.write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(CheckpointError):
        models.load(path)
    assert not (tmp_path / "pwned").exists()


def test_foreign_safetensors_are_refused(tmp_path):
    from safetensors.torch import save_file

    for metadata in (None, {"about": "{}"}, {"about": "[]"}, {"about": "null"}, {"about": "x"}):
        save_file({"x": torch.zeros(2)}, tmp_path / "x.safetensors", metadata=metadata)
        with pytest.raises(CheckpointError, match="not a checkpoint of this project"):
            models.load(tmp_path / "x.safetensors")


def test_what_a_checkpoint_must_say_is_told_where_it_does_not(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "x.safetensors"
    for about in (
        '{"architecture": {}}',
        '{"architecture": {}, "sha256": "", "notes": []}',
        '{"architecture": "linear", "sha256": "", "notes": {}}',
    ):
        save_file({"x": torch.zeros(2)}, path, metadata={"about": about})
        with pytest.raises(CheckpointError, match="architecture, sha256, notes"):
            models.read_metadata(path)


@pytest.mark.parametrize(
    "architecture", [{}, {"name": "resnet", "blocks": [1, 2]}, {"name": "linear", "mean": "grey"}]
)
def test_what_cannot_be_built_is_refused(tmp_path, architecture):
    path = tmp_path / "x.safetensors"
    model = models.build("linear")
    model.architecture = architecture
    models.save(model, path)
    with pytest.raises(CheckpointError, match="does not fit the models of this version"):
        models.load(path)


def test_a_model_that_is_no_longer_known_is_refused(path, monkeypatch):
    monkeypatch.delitem(models.MODELS, "tiny_vgg")
    with pytest.raises(CheckpointError, match="does not fit the models of this version"):
        models.load(path)


def test_a_missing_file_is_named_with_what_there_is(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=r"no checkpoint at .*w\.safetensors.* fashion_mnist/tiny_vgg, .*mnist/tiny_vgg\.",
    ):
        models.load(tmp_path / "w.safetensors")


def test_only_models_that_can_be_built_again_are_saved(tmp_path):
    with pytest.raises(ValueError, match=r"Only models from models\.build"):
        models.save(torch.nn.Linear(2, 2), tmp_path / "w.safetensors")
    assert not list(tmp_path.iterdir())


def test_weights_that_are_not_shipped_are_refused():
    with pytest.raises(
        ValueError, match=r"'mnist/resnet'.*fashion_mnist/tiny_vgg, .*mnist/tiny_vgg"
    ):
        models.load_pretrained("mnist/resnet")
