"""Weight files and training checkpoints: read correctly, or refused; no code in them runs."""

import hashlib
import io
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import strategies as st

from helpers import models
from helpers.models import CheckpointError
from helpers.training import ResumeError
from helpers.training.history import EpochRecord, History, Progress
from helpers.training.resume import CheckpointManager
from tests.fuzz import NESTED, Refused, attempt, damaged, fuzz, json_files, quick_and_long


class RunsCode:
    """Its pickle creates a folder when loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.folder),)


def with_about(content: bytes, about: bytes) -> bytes:
    """A safetensors file with other metadata."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = {"about": about.decode(errors="replace")}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def with_header(content: bytes, header: bytes) -> bytes:
    """A safetensors file with another header."""
    length = int.from_bytes(content[:8], "little")
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


@quick_and_long(0.5)
def test_weights_are_the_saved_ones_or_refused(tmp_path, tries):
    path = tmp_path / "w.safetensors"
    model = models.build("tiny_vgg", hidden_units=2)
    models.save(model, path, dataset="mnist", class_names=["a", "b"])
    intact, right = path.read_bytes(), model.state_dict()
    about = models.read_metadata(path)
    header = json.loads(intact[8 : 8 + int.from_bytes(intact[:8], "little")])
    code = pickle.dumps(RunsCode(tmp_path / "made"))

    def check(content: bytes) -> None:
        path.write_bytes(content)
        loaded = attempt(lambda: models.load(path), CheckpointError)
        assert not (tmp_path / "made").exists()
        if isinstance(loaded, Refused):
            assert content != intact
            assert "w.safetensors" in loaded
        else:
            assert all(
                torch.equal(tensor, right[name]) for name, tensor in loaded.state_dict().items()
            )

    contents = (
        damaged(intact)
        | json_files(about).map(lambda text: with_about(intact, text))
        | json_files(header).map(lambda text: with_header(intact, text))
        | st.sampled_from([intact, b"", code, NESTED])
    )
    fuzz(check, contents, tries=tries)


# torch warns about odd but readable files
pytestmark = pytest.mark.filterwarnings("ignore")


def manager(folder: Path) -> CheckpointManager:
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    generators = {"order": torch.Generator()}
    return CheckpointManager(
        folder, {"model": model, "optimizer": optimizer}, generators, {"seed": 0}
    )


def named(folder: Path, content: bytes, epoch: int = 1) -> Path:
    """Write a file whose name has the right digest of its content."""
    path = folder / f"epoch-{epoch:04d}-{hashlib.sha256(content).hexdigest()}.pt"
    path.write_bytes(content)
    return path


def packed(state: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


@quick_and_long(0.5)
def test_a_training_resumes_from_its_checkpoint_or_says_why_not(tmp_path, tries):
    record = EpochRecord(1, 0.5, 0.8, 0.4, 0.9, 0.1, 1.5)
    saved = manager(tmp_path)
    saved.save(Progress(History([record], planned_epochs=2), 0.4, None))
    (path,) = tmp_path.glob("*.pt")
    intact = path.read_bytes()
    weights = saved.parts["model"].state_dict()
    code = packed({"format": 3, "settings": RunsCode(tmp_path / "made")})

    def check(content: bytes, is_named: bool, kept: bool) -> None:
        for file in tmp_path.glob("*.pt"):
            file.unlink()
        if kept:
            path.write_bytes(intact)
        if is_named:
            named(tmp_path, content, epoch=2)
        else:
            (tmp_path / path.name.replace("0001", "0002")).write_bytes(content)
        before, restoring = torch.get_rng_state(), manager(tmp_path)
        restored = attempt(restoring.restore, ResumeError)
        torch.set_rng_state(before)
        assert not (tmp_path / "made").exists()
        if isinstance(restored, Refused):
            assert is_named or not kept  # else the intact checkpoint should be restored
            assert content != intact
            assert str(tmp_path) in restored
        elif not is_named or content == intact:
            assert kept or content == intact
            assert restored.history.epochs == [record]
            loaded = restoring.parts["model"].state_dict()
            assert all(torch.equal(tensor, weights[name]) for name, tensor in loaded.items())

    # damaged content of a torch file never has the right digest in its name
    others = st.sampled_from([intact, b"", code, pickle.dumps(RunsCode(tmp_path / "made")), NESTED])
    cut = st.integers(0, len(intact) - 30).map(lambda end: intact[:end])
    named_contents = st.tuples(others | cut | st.binary(max_size=99), st.just(True))
    cases = st.tuples(damaged(intact), st.just(False)) | named_contents
    fuzz(lambda case, kept: check(*case, kept), cases, st.booleans(), tries=tries)


def test_a_link_to_itself_is_not_restored(tmp_path):
    link = tmp_path / f"epoch-0001-{'0' * 64}.pt"
    link.symlink_to(link)
    with pytest.raises((OSError, ResumeError)):
        manager(tmp_path).restore()
