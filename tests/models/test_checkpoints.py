import os
import pickle

import pytest
import safetensors.torch
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


def test_a_saved_model_is_loaded_with_the_same_logits(model, path, tiny):
    loaded = models.load(path)
    assert loaded.architecture == model.architecture
    assert loaded.architecture["hidden_units"] == 4
    assert not loaded.training
    logits = [evaluation.predict(m, tiny).logits for m in (model, loaded)]
    assert torch.equal(*logits)
    assert models.read_metadata(path)["notes"] == {"dataset": "mnist", "test_accuracy": 0.5}


def test_the_memory_layout_does_not_change_the_file(model, path, tmp_path):
    other = models.save(model.to(memory_format=torch.channels_last), tmp_path / "cl.safetensors")
    assert models.read_metadata(other)["sha256"] == models.read_metadata(path)["sha256"]
    assert torch.equal(*(models.load(p).state_dict()["block_2.0.weight"] for p in (path, other)))


@pytest.mark.parametrize(
    "name",
    [
        f"{of}/{name}"
        for of in ("mnist", "fashion_mnist")
        for name in ("tiny_vgg", "compact", "accurate")
    ],
)
def test_shipped_weights_of_version_0_1_are_loaded_under_their_new_names(name, tmp_path):
    stored = safetensors.torch.load((models.PRETRAINED / f"{name}.safetensors").read_bytes())
    assert "normalise.mean" in stored
    model = models.load_pretrained(name)
    loaded = model.state_dict()
    for key, tensor in stored.items():
        new = key.replace("normalise", "normalize").replace("change", "shortcut")
        assert torch.equal(loaded.pop(new), tensor)
    assert not loaded
    path = models.save(model, tmp_path / "new.safetensors")
    assert "normalize.mean" in safetensors.torch.load(path.read_bytes())
    models.load(path)


def test_a_fast_cnn_of_version_0_1_is_loaded(tmp_path, monkeypatch, tiny):
    model = models.build("fast_cnn", width=8)
    old = {
        key.replace("normalize", "normalise").replace("stem", "shrink"): tensor
        for key, tensor in model.state_dict().items()
    }
    assert "shrink.0.weight" in old
    monkeypatch.setattr(model, "state_dict", lambda: old)
    loaded = models.load(models.save(model, tmp_path / "old.safetensors"))
    assert torch.equal(*(evaluation.predict(m, tiny).logits for m in (model, loaded)))


def test_weights_of_another_data_set_are_refused(path):
    models.load(path, dataset="mnist")
    with pytest.raises(CheckpointError, match="was trained on 'mnist', not on 'fashion_mnist'"):
        models.load(path, dataset="fashion_mnist")


def test_a_compiled_model_is_saved_like_the_model_inside(model, path, tmp_path):
    compiled = models.save(torch.compile(model), tmp_path / "c.safetensors")
    assert models.read_metadata(compiled)["sha256"] == models.read_metadata(path)["sha256"]
    assert models.load(compiled).architecture == model.architecture


def test_a_checkpoint_still_loads_when_a_default_has_changed(tmp_path, monkeypatch):
    path = models.save(models.build("mlp"), tmp_path / "w.safetensors")

    def wider(hidden_units=500, num_classes=10, mean=0.0, std=1.0, channels=1, size=28):
        return models.MLP(hidden_units, num_classes=num_classes, mean=mean, std=std)

    monkeypatch.setitem(models.MODELS, "mlp", wider)
    assert models.load(path).classifier.in_features == 128


def test_a_flipped_bit_in_the_weights_is_detected(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    expected = models.read_metadata(path)["sha256"]
    advice = r"Train again, or restore the file\."
    with pytest.raises(CheckpointError, match=f"is damaged.* expected {expected}\\. {advice}"):
        models.load(path)


@pytest.mark.parametrize("keep", [0, 5, 200, 2_000])
def test_a_truncated_file_is_refused(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="not a checkpoint of this project, or is incomplete"):
        models.load(path)


def test_a_pickle_is_refused_and_its_code_does_not_run(tmp_path):
    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "pwned"),)

    path = tmp_path / "w.safetensors"
    path.write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(CheckpointError):
        models.load(path)
    assert not (tmp_path / "pwned").exists()


def test_safetensors_of_other_projects_are_refused(tmp_path):
    nested = "[" * 100_000
    for metadata in (None, *({"about": text} for text in ("{}", "[]", "null", "x", nested))):
        safetensors.torch.save_file(
            {"x": torch.zeros(2)}, tmp_path / "x.safetensors", metadata=metadata
        )
        with pytest.raises(CheckpointError, match="not a checkpoint of this project"):
            models.load(tmp_path / "x.safetensors")


def test_missing_metadata_is_named(tmp_path):
    path = tmp_path / "x.safetensors"
    for metadata in (
        '{"architecture": {}}',
        '{"architecture": {}, "sha256": "", "notes": []}',
        '{"architecture": "linear", "sha256": "", "notes": {}}',
    ):
        safetensors.torch.save_file({"x": torch.zeros(2)}, path, metadata={"about": metadata})
        with pytest.raises(CheckpointError, match="architecture, sha256, notes"):
            models.read_metadata(path)


@pytest.mark.parametrize(
    "architecture",
    [{"name": ""}, {"name": "linear", "mean": "grey"}, {"name": "resnet", "blocks": [1, 2]},
     {"name": "resnet", "blocks": [1, 10**9, 1]}, {"name": "resnet", "blocks": ["1", 1, 1]}],
)  # fmt: skip
def test_a_checkpoint_of_an_unknown_architecture_is_refused(tmp_path, architecture):
    path = tmp_path / "x.safetensors"
    model = models.build("linear")
    model.architecture = architecture
    models.save(model, path)
    with pytest.raises(CheckpointError, match="does not fit the models of this version"):
        models.load(path)


def test_only_the_first_of_many_mismatched_tensors_are_named(tmp_path):
    path, model = tmp_path / "x.safetensors", models.build("tiny_vgg", hidden_units=2)
    model.architecture = dict(models.build("tiny_vgg").architecture)
    models.save(model, path)
    with pytest.raises(CheckpointError, match=r"block_1\.0\.weight: .*block_1\.0\.bias") as caught:
        models.load(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).count(";") == 2


def test_a_checkpoint_of_a_removed_model_is_refused(path, monkeypatch):
    monkeypatch.delitem(models.MODELS, "tiny_vgg")
    with pytest.raises(CheckpointError, match="does not fit the models of this version"):
        models.load(path)


def test_a_missing_file_is_named_with_the_shipped_weights(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=r"no checkpoint at .*w\.safetensors.* fashion_mnist/tiny_vgg, .*mnist/tiny_vgg\.",
    ):
        models.load(tmp_path / "w.safetensors")


def test_weights_of_a_custom_model_are_loaded_into_another_instance(tmp_path):
    def net():
        layers = torch.nn.Flatten(), torch.nn.Linear(784, 10)
        return torch.nn.Sequential(models.Normalize(0.1, 0.3), *layers)

    model, images = net(), torch.randint(256, (4, 1, 28, 28), dtype=torch.uint8)
    path = models.save(model, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"not in this package, Sequential.*into=model"):
        models.load(path)
    assert torch.equal(models.load(path, into=net())(images), model(images))
    with pytest.raises(CheckpointError, match="does not fit"):
        models.load(path, into=models.build("linear"))
    model.architecture = {"name": "net.py:Net"}
    with pytest.raises(CheckpointError, match=r"not in this package, net\.py:Net\. Build"):
        models.load(models.save(model, path))


def test_layers_of_your_own_may_have_the_names_of_old_layers(tmp_path):
    def net(seed):
        torch.manual_seed(seed)
        layers = {"shrink": torch.nn.Linear(4, 3), "change": torch.nn.Linear(3, 2)}
        return torch.nn.ModuleDict(layers | {"normalise": torch.nn.BatchNorm1d(2)})

    saved, loaded = net(0), net(1)
    models.load(models.save(saved, tmp_path / "w.safetensors"), into=loaded)
    for name, weights in saved.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weights), name
    loaded["more"] = torch.nn.Linear(2, 2)
    with pytest.raises(CheckpointError, match=r"Missing key.*more\.weight") as raised:
        models.load(tmp_path / "w.safetensors", into=loaded)
    assert "stem" not in str(raised.value)


def test_layers_that_share_their_weights_are_saved_and_loaded(tmp_path):
    model, other = (torch.nn.Sequential(*2 * [torch.nn.Linear(3, 3)]) for _ in range(2))
    models.load(models.save(model, tmp_path / "w.safetensors"), into=other)
    assert torch.equal(other[0].weight, model[0].weight)
    assert other[0].weight is other[1].weight


def test_weights_that_are_not_shipped_are_refused():
    with pytest.raises(
        ValueError,
        match=r"no shipped model 'mnist/resnet'.*fashion_mnist/tiny_vgg, .*mnist/tiny_vgg",
    ):
        models.load_pretrained("mnist/resnet")


def test_a_file_that_asks_for_a_huge_model_is_refused_before_that_is_built(tmp_path):
    path, model = tmp_path / "x.safetensors", models.build("mlp")
    model.architecture["hidden_units"] = 10**12
    models.save(model, path)
    with pytest.raises(CheckpointError, match="does not fit the models of this version"):
        models.load(path)
