"""A stopped and resumed training has the same result, bit for bit, as an uninterrupted one."""

import functools
import hashlib
import io
import pickle
import signal
import threading
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ExponentialLR, OneCycleLR, SequentialLR, StepLR

from helpers import device, models, training
from helpers.data import MNIST, Augmentation, Split
from helpers.files import lock_folder
from helpers.training import Execution, ResumeError, history, resume
from tests.conftest import FIXTURES

EPOCHS = 4


class Stopped(Exception):
    """Simulates a power cut."""


class WithDropout(nn.Module):
    """Uses torch's global generator during training."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(784, 2))

    def forward(self, images):
        return self.layers(images.float() / 255)


def build(name: str = "fast_cnn") -> nn.Module:
    device.seed_everything(0)
    if name == "dropout":
        return WithDropout()
    return models.build(name, width=8, mean=MNIST.mean, std=MNIST.std)


def train(
    tiny, model, folder=None, *, stop_in=None, stop_at=None, signal_at=(0, []), nan_at=None,
    count=None, **changed,
):  # fmt: skip
    """Train as a new process would; `stop_in` is an epoch that is lost by a power cut.

    `stop_at` is the batch that stops it, `signal_at` a batch and the signals in it, `nan_at` one
    that makes a weight nan; `count` counts the batches.
    """
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, nesterov=True)
    settings = {"epochs": EPOCHS, "batch_size": 16, "seed": 3, "validation": tiny[:20]} | changed
    torch.manual_seed(settings.pop("seed"))
    steps = settings["epochs"] * 5
    varied = Augmentation(shift=2)

    def augment(images, generator):
        """Augment; fail in the third batch of the epoch `stop_in`."""
        augment.batches += 1
        if count is not None:
            count["batches"] += 1
        if augment.batches == stop_at:
            raise Stopped
        for number in signal_at[1] if augment.batches == signal_at[0] else []:
            signal.raise_signal(number)
        if augment.batches == nan_at:
            next(model.parameters()).data.fill_(torch.nan)
        if stop_in is not None and augment.batches == (stop_in - augment.from_epoch) * 5 + 3:
            raise Stopped
        return varied(images, generator)

    augment.batches, augment.from_epoch = 0, done(folder)
    return training.fit(
        model,
        optimizer,
        tiny,
        scheduler=OneCycleLR(optimizer, 0.05, total_steps=steps, cycle_momentum=False),
        augment=augment,
        checkpoint=folder,
        **settings,
    )


def done(folder) -> int:
    files = sorted(folder.glob("*.pt")) if folder else []
    return int(files[-1].name.split("-")[1]) if files else 0


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def records(history) -> list[tuple]:
    """All but the seconds."""
    return [(r.epoch, r.train_loss, r.validation_loss, r.learning_rate) for r in history.epochs]


@pytest.mark.parametrize("name", ["fast_cnn", "dropout"])
@pytest.mark.parametrize("epoch", [0, 1, 3])
def test_a_training_stopped_in_any_epoch_ends_as_if_unstopped(tiny, tmp_path, name, epoch):
    uninterrupted = build(name)
    history = train(tiny, uninterrupted)
    with pytest.raises(Stopped):
        train(tiny, build(name), tmp_path, stop_in=epoch)
    torch.rand(17)  # another process has drawn other random numbers
    resumed = build(name)
    resumed_history = train(tiny, resumed, tmp_path)
    assert same(uninterrupted, resumed)
    assert records(resumed_history) == records(history)


def test_float16_resumes_with_the_scale_of_its_gradients(tiny, tmp_path, monkeypatch):
    scales = []

    class Recorded(training.execution.ScaledOptimizer):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            if not scales:  # as after infinite gradients in the first epochs
                self.scaler = torch.amp.GradScaler("cpu", init_scale=64.0)

        def step(self):
            super().step()
            scales.append(self.scaler.get_scale())

    monkeypatch.setattr(training.loop, "ScaledOptimizer", Recorded)
    half = Execution(precision="float16", progress=False)
    with pytest.raises(Stopped):
        train(tiny, build("dropout"), tmp_path, stop_in=1, execution=half)
    train(tiny, build("dropout"), tmp_path, execution=half)
    assert set(scales) == {64.0}


@pytest.mark.parametrize("name", ["fast_cnn", "dropout"])
@pytest.mark.parametrize("batch", [1, 2, 3, 5, 6, 13])
def test_a_training_saved_within_an_epoch_loses_no_step(tiny, tmp_path, monkeypatch, name, batch):
    """It is saved after each step, and stopped in this batch; an epoch has 5."""
    uninterrupted, resumed = build(name), build(name)
    history = train(tiny, uninterrupted)
    monkeypatch.setattr(resume, "SAVE_EVERY", 0)
    with pytest.raises(Stopped):
        train(tiny, build(name), tmp_path, stop_at=batch)
    torch.rand(17)
    seen = Counter()
    resumed_history = train(tiny, resumed, tmp_path, count=seen)
    assert seen["batches"] == EPOCHS * 5 - (batch - 1)
    assert same(uninterrupted, resumed)
    assert records(resumed_history) == records(history)
    assert [r.train_accuracy for r in resumed_history.epochs] == [
        r.train_accuracy for r in history.epochs
    ]


def test_a_training_is_saved_each_minute_of_an_epoch(tiny, tmp_path, monkeypatch):
    """A step takes 25 seconds of this clock, and an epoch has five."""
    seen, saved = Counter(), []
    monkeypatch.setattr(resume.time, "monotonic", lambda: 25 * seen["batches"])
    monkeypatch.setattr(resume, "write_atomic", lambda path, _: saved.append(path.name[:22]))
    train(tiny, build(), tmp_path, epochs=2, count=seen)
    saved_names = [name.rpartition("-")[0] if "step" not in name else name for name in saved]
    assert saved_names == [
        "epoch-0000-step-000003",
        "epoch-0001",
        "epoch-0001-step-000003",
        "epoch-0002",
    ]


@pytest.mark.parametrize("stop_at", [6, 8], ids=["between epochs", "within an epoch"])
def test_the_seconds_of_an_epoch_include_those_before_a_stop(tiny, tmp_path, monkeypatch, stop_at):
    """A step takes ten seconds of this clock, and an epoch has five."""
    monkeypatch.setattr(resume, "SAVE_EVERY", 0)
    seconds = []
    for stopped in (stop_at, None):
        seen = Counter()
        monkeypatch.setattr(history.time, "perf_counter", lambda seen=seen: 10 * seen["batches"])
        with pytest.raises(Stopped) if stopped else nullcontext():
            found = train(tiny, build(), tmp_path, count=seen, stop_at=stopped)
            seconds = [record.seconds for record in found.epochs]
    assert seconds == [50] * EPOCHS


@contextmanager
def on_signal(number: int, handler: Any) -> Iterator[None]:
    """Handle the signal with `handler`."""
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_training_after_the_step(tiny, tmp_path, number):
    uninterrupted, resumed, handled = build(), build(), []
    history = train(tiny, uninterrupted)
    with (
        on_signal(number, lambda number, _: handled.append(number)),
        pytest.raises(
            training.TrainingStopped,
            match=r"epoch 2 of 4\. To use the history of the 1 completed epochs: import sys",
        ),
    ):
        train(tiny, build(), tmp_path, signal_at=(8, [number]))
    assert handled == [number]  # it was passed on, once
    assert len(list(tmp_path.glob("epoch-0001-step-000003-*"))) == 1
    seen = Counter()
    assert records(train(tiny, resumed, tmp_path, count=seen)) == records(history)
    assert (seen["batches"], same(uninterrupted, resumed)) == (EPOCHS * 5 - 8, True)


def test_a_second_ctrl_c_ends_at_once(tiny, tmp_path):
    handler = signal.default_int_handler  # missing where tests run in the background
    with on_signal(signal.SIGINT, handler):
        with pytest.raises(training.TrainingStopped) as stopped:
            train(tiny, build(), tmp_path, signal_at=(8, [signal.SIGINT, signal.SIGINT]))
        assert signal.getsignal(signal.SIGINT) is handler
    assert "augment" in [entry.name for entry in traceback_of(stopped.value.__cause__)]
    assert not list(tmp_path.glob("*step*"))


def traceback_of(error: BaseException) -> list[traceback.FrameSummary]:
    """Where the first error of its chain was raised."""
    while error.__context__ is not None:
        error = error.__context__
    return traceback.extract_tb(error.__traceback__)


@pytest.mark.parametrize("hold", [True, False])
def test_signals_are_not_deferred_without_a_folder_or_in_another_thread(hold):
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    found = []

    def check():
        with resume.hold_signals(hold) as received:
            found.append([signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)])
            assert received() == 0

    if hold:
        thread = threading.Thread(target=check)
        thread.start()
        thread.join()
    else:
        check()
    assert found == [handlers]


def test_a_signal_that_is_ignored_stays_ignored():
    """As Ctrl-C is ignored by a program that a shell has started in the background."""
    with on_signal(signal.SIGINT, signal.SIG_IGN), resume.hold_signals() as received:
        signal.raise_signal(signal.SIGINT)
        assert received() == 0


def test_a_step_with_nan_loss_is_not_saved(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "SAVE_EVERY", 0)
    model = build()
    with pytest.raises(training.NonFiniteLossError, match="epoch 1, step 3"):
        train(tiny, model, tmp_path, nan_at=3)
    assert sorted(path.name[:22] for path in tmp_path.glob("*.pt")) == [
        "epoch-0000-step-000001", "epoch-0000-step-000002",
    ]  # fmt: skip


def test_a_step_with_nan_loss_is_not_saved_though_weights_are_finite(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "SAVE_EVERY", 0)
    model = WithDropout()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    optimizer.step = lambda: None
    with pytest.raises(training.NonFiniteLossError, match="epoch 1, step 1"):
        training.fit(
            model, optimizer, tiny, epochs=1, checkpoint=tmp_path,
            augment=lambda images, _: images.float() * torch.nan,
        )  # fmt: skip
    assert not list(tmp_path.glob("*.pt"))


def test_a_folder_that_another_training_uses_is_refused(tiny, tmp_path):
    with lock_folder(tmp_path), pytest.raises(BlockingIOError, match="Another process uses"):
        train(tiny, build(), tmp_path)


def test_only_the_first_of_several_processes_writes(tmp_path):
    for rank, files in ((1, 0), (0, 1)):
        group = SimpleNamespace(rank=rank)
        resume.CheckpointManager(tmp_path, {}, {}, {}, group).save(history.Progress())
        assert len(list(tmp_path.iterdir())) == files


def test_a_state_of_format_2_is_restored_without_steps(tmp_path, monkeypatch):
    manager = resume.CheckpointManager(tmp_path, {}, {}, {})
    monkeypatch.setattr(resume, "FORMAT", 2)
    manager.save(history.Progress())
    monkeypatch.setattr(resume, "FORMAT", 3)
    progress = manager.restore()
    assert (progress.steps, progress.seconds) == ((), 0.0)


def test_step_lists_of_different_lengths_are_refused(tmp_path):
    manager = resume.CheckpointManager(tmp_path, {}, {}, {})
    manager.save(history.Progress(), (torch.ones(3), torch.ones(2), torch.ones(3)))
    with pytest.raises(ResumeError, match="the steps are not three lists of numbers"):
        manager.restore()


def test_a_training_may_stop_repeatedly(tiny, tmp_path):
    uninterrupted, resumed = build(), build()
    train(tiny, uninterrupted)
    for epoch in (0, 1, 1, 3):
        with pytest.raises(Stopped):
            train(tiny, build(), tmp_path, stop_in=epoch)
    train(tiny, resumed, tmp_path)
    assert same(uninterrupted, resumed)


def test_a_finished_training_is_not_repeated(tiny, tmp_path):
    first = build()
    history = train(tiny, first, tmp_path)
    again = build()
    assert records(train(tiny, again, tmp_path, stop_in=0)) == records(history)
    assert same(first, again)


def test_an_interrupted_training_resumes(tiny, tmp_path):
    def interrupt(record):
        if record.epoch == 2:
            raise KeyboardInterrupt

    uninterrupted, model = build(), build()
    train(tiny, uninterrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tiny, model, tmp_path, on_epoch=interrupt)
    resumed = build()
    assert not train(tiny, resumed, tmp_path).interrupted
    assert same(uninterrupted, resumed)


def test_an_early_stop_is_final(tiny, tmp_path):
    def fit():
        return train(tiny, build(), tmp_path, epochs=30, patience=1)

    history = fit()
    assert history.stopped_early
    assert len(history.epochs) < 30
    assert records(fit()) == records(history)


def test_only_the_last_two_checkpoints_are_kept(tiny, tmp_path):
    train(tiny, build(), tmp_path)
    assert [path.name[:10] for path in sorted(tmp_path.iterdir())] == ["epoch-0003", "epoch-0004"]


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tiny, tmp_path, damage):
    uninterrupted = build()
    train(tiny, uninterrupted)
    with pytest.raises(Stopped):
        train(tiny, build(), tmp_path, stop_in=3)
    newest = max(tmp_path.iterdir())
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes({"flip": content, "cut": content[:-100], "empty": b""}[damage])
    resumed = build()
    train(tiny, resumed, tmp_path)
    assert same(uninterrupted, resumed)


def test_only_damaged_files_are_reported(tiny, tmp_path):
    train(tiny, build(), tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    with pytest.raises(ResumeError, match=r"All 2 files in .* are damaged\. Delete it to train"):
        train(tiny, build(), tmp_path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"epochs": 5}, "epochs is 4 there, 5 here"),
        ({"batch_size": 17}, "batch_size is 16 there, 17 here"),
        ({"seed": 4}, "seed is 3 there, 4 here"),
        ({"validation": None}, "validation images is '[0-9a-f]{12}' there, None here"),
        ({"label_smoothing": 0.1}, "label_smoothing is 0.0 there, 0.1 here"),
        ({"patience": 3}, "patience is None there, 3 here"),
        ({"execution": Execution(precision="bfloat16")}, "precision is 'float32' there, "),
    ],
)
def test_another_training_is_refused_and_says_what_differs(tiny, tmp_path, changed, message):
    train(tiny, build(), tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(ResumeError, match=message):
        train(tiny, build(), tmp_path, **changed)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def stop(images, generator):
    raise Stopped


SHIFT = Augmentation(shift=1)


def fit(train, folder, *, optimizer=torch.optim.SGD, rate=0.1, steps=5, augment=SHIFT) -> None:
    """Train for an epoch of five steps, with a schedule of `steps` steps; 0 means none."""
    model = build()
    made = optimizer(model.parameters(), rate)
    schedule = OneCycleLR(made, 0.1, total_steps=steps, cycle_momentum=False) if steps else None
    training.fit(
        model, made, train, epochs=1, batch_size=16, scheduler=schedule, augment=augment,
        checkpoint=folder,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("steps", "changed", "message"),
    [
        (0, {"optimizer": torch.optim.Adagrad}, r"optimizer is .SGD \[{'lr': .* there, .Adagrad "),
        (0, {"rate": 0.2}, r"optimizer is .*'lr': 0.1, .* there, .*'lr': 0.2, "),
        (5, {"steps": 6}, "schedule is 'OneCycleLR 5' there, 'OneCycleLR 6' here"),
        (5, {"steps": 0}, "schedule is 'OneCycleLR 5' there, 'NoneType' here"),
        (5, {"augment": Augmentation(shift=2)}, "augmentation is .*shift=1.* there, .*shift=2"),
        (5, {"augment": None}, "augmentation is .*shift=1.* there, 'None' here"),
        (5, {"augment": stop}, "augmentation is .*shift=1.* there, 'stop' here"),
    ],
)
def test_another_optimizer_schedule_or_augmentation_is_refused(
    tiny, tmp_path, steps, changed, message
):
    fit(tiny, tmp_path, steps=steps)
    with pytest.raises(ResumeError, match=message):
        fit(tiny, tmp_path, **{"steps": steps} | changed)


def test_another_decay_of_the_rate_or_other_betas_are_refused(tiny, tmp_path):
    def fit_adam(folder, gamma=0.5, betas=(0.9, 0.99), milestones=(1, 2)):
        model = build()
        optimizer = torch.optim.Adam(model.parameters(), 0.01, betas=betas)
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma)
        training.fit(
            model, optimizer, tiny, epochs=1, batch_size=16, scheduler=schedule, checkpoint=folder
        )

    fit_adam(tmp_path)
    fit_adam(tmp_path)  # the same again resumes
    for changed, message in (
        ({"gamma": 0.1}, r"arguments is .*'gamma': 0\.5.* there, .*'gamma': 0\.1"),
        ({"milestones": (1, 3)}, r"arguments is .*\{1: 1, 2: 1\}.* there, .*\{1: 1, 3: 1\}"),
        ({"betas": (0.5, 0.99)}, r"arguments is .*\(0\.9, 0\.99\).* there, .*\(0\.5, 0\.99\)"),
    ):
        with pytest.raises(ResumeError, match=message):
            fit_adam(tmp_path, **changed)


def test_schedules_within_a_schedule_are_compared(tiny, tmp_path):
    def fit_in_parts(gamma, turn):
        model = build()
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        parts = [StepLR(optimizer, 2), ExponentialLR(optimizer, gamma)]
        training.fit(
            model, optimizer, tiny, epochs=1, batch_size=16, checkpoint=tmp_path,
            scheduler=SequentialLR(optimizer, parts, [turn]),
        )  # fmt: skip

    fit_in_parts(0.9, 3)
    for changed in ((0.8, 3), (0.9, 2)):
        with pytest.raises(ResumeError, match=r"arguments is .*SequentialLR"):
            fit_in_parts(*changed)


def test_the_same_call_resumes_when_the_schedule_has_not_changed_the_rate_yet(tiny, tmp_path):
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    schedule = StepLR(optimizer, 50)
    for _ in range(2):
        training.fit(
            model, optimizer, tiny, epochs=1, batch_size=16, scheduler=schedule, checkpoint=tmp_path
        )


def test_a_file_that_lacks_the_arguments_resumes(tiny, tmp_path):
    train(tiny, build(), tmp_path)
    newest = max(tmp_path.iterdir())
    state = torch.load(newest, weights_only=True)
    assert "OneCycleLR" in state["settings"].pop("arguments")
    torch.save(state, content := io.BytesIO())
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    (tmp_path / f"epoch-0004-z-{digest}.pt").write_bytes(content.getvalue())
    train(tiny, build(), tmp_path)


def test_an_object_that_augments_is_known_by_its_address_only(tiny, tmp_path):
    class Erase:
        def __call__(self, images, generator):
            return images

    first, second = Erase(), Erase()  # both alive, else they may have the same address
    fit(tiny, tmp_path, augment=first)
    with pytest.raises(ResumeError, match=r"augmentation is .*Erase object"):
        fit(tiny, tmp_path, augment=second)


def test_a_function_with_fixed_arguments_is_known_by_these(tiny, tmp_path):
    def darken(images, generator, *, by):
        return images // by

    def half(by):
        return partial(lambda images, generator, by: darken(images, generator, by=by), by=by)

    fit(tiny, tmp_path, augment=half(2))
    fit(tiny, tmp_path, augment=half(2))  # another function, at another address in memory
    with pytest.raises(ResumeError, match=r"augmentation is .*by=2.* there, .*by=3"):
        fit(tiny, tmp_path, augment=half(3))


def test_images_are_identified_by_content(tiny, tmp_path):
    again = Split(tiny.images.clone(), tiny.targets.clone())
    fit(tiny, tmp_path)
    fit(again, tmp_path)
    again.targets[0] = 1 - again.targets[0]
    with pytest.raises(ResumeError, match="training images is"):
        fit(again, tmp_path)


def test_settings_name_the_type_of_the_device(tiny):
    for kind in ("cpu", "meta"):
        model = build().to(kind)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        settings = resume.training_settings(model, optimizer, None, tiny, None, None)
        assert settings["device"] == kind


def test_the_best_epoch_is_remembered(tiny, tmp_path):
    history = train(tiny, build(), tmp_path)
    assert history.best_epoch is not None
    assert train(tiny, build(), tmp_path).best_epoch == history.best_epoch


def test_another_model_is_refused(tiny, tmp_path):
    train(tiny, build(), tmp_path)
    with pytest.raises(ResumeError, match=r"model is .*fast_cnn.* there, 'WithDropout"):
        train(tiny, build("dropout"), tmp_path)


class Malicious:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_a_file_that_would_run_code_is_refused(tiny, tmp_path, capsys):
    content = pickle.dumps(Malicious(), protocol=2)
    (tmp_path / f"epoch-0001-{hashlib.sha256(content).hexdigest()}.pt").write_bytes(content)
    with pytest.raises(ResumeError, match="something other than numbers"):
        train(tiny, build(), tmp_path)
    assert "never run" not in capsys.readouterr().out


def test_a_full_disk_changes_no_file(tiny, tmp_path, monkeypatch):
    with pytest.raises(Stopped):
        train(tiny, build(), tmp_path, stop_in=2)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(resume, "write_atomic", full)
        with pytest.raises(OSError, match="No space left"):
            train(tiny, build(), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    uninterrupted, resumed = build(), build()
    train(tiny, uninterrupted)
    device.seed_everything(0)
    train(tiny, resumed, tmp_path)
    assert same(uninterrupted, resumed)


def test_without_a_folder_the_images_are_not_read_for_their_digest(tiny, tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(Split, "digest", property(lambda split: read.append(len(split))))
    train(tiny, build(), epochs=1)
    assert not read
    train(tiny, build(), tmp_path, epochs=1)
    assert read


def test_a_training_on_the_cpu_leaves_the_generators_of_a_gpu_alone(tiny, tmp_path, monkeypatch):
    """Reading their state would initialize CUDA."""
    gpu = mock.Mock(**{"device_count.return_value": 0})
    cuda = torch.device("cuda")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda *_, **__: cuda)
    monkeypatch.setattr(torch, "get_device_module", lambda _: gpu)
    for _ in range(2):
        train(tiny, build(), tmp_path)
    assert not gpu.get_rng_state.called
    assert not gpu.set_rng_state.called


def test_a_folder_may_be_given_as_text(tiny, tmp_path):
    train(tiny, build(), tmp_path / "from-path")
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    training.fit(model, optimizer, tiny, epochs=1, checkpoint=f"{tmp_path}/from-text")
    assert len(list((tmp_path / "from-text").glob("*.pt"))) == 1


def test_a_state_of_version_0_1_is_refused(tiny, tmp_path):
    """It was written by `fit` of that version for a linear model of two classes."""
    (old,) = (FIXTURES / "training-state-v0.1").iterdir()
    (tmp_path / old.name).write_bytes(old.read_bytes())
    model = models.build("linear", num_classes=2, mean=0.4, std=0.4)
    with pytest.raises(ResumeError, match=r"another version of this package\. Delete it to train"):
        training.fit(model, torch.optim.SGD(model.parameters(), 0.01), tiny, epochs=2,
                     checkpoint=tmp_path)  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == [old.name]


@pytest.mark.parametrize(
    "part",
    ["format", "settings", "settings.seed", "parts", "parts.model", "parts.optimizer",
     "parts.optimizer.state", "parts.scheduler", "generators", "generators.order", "random",
     "history", "history.epochs", "best_loss", "best_weights", "steps", "seconds"],
)  # fmt: skip
def test_a_state_with_a_missing_or_mistyped_part_is_refused(tiny, tmp_path, monkeypatch, part):
    """The digest in its name is right."""
    monkeypatch.setattr(resume, "SAVE_EVERY", 0)
    with pytest.raises(Stopped):
        train(tiny, build(), tmp_path, stop_at=7)  # within the second epoch
    newest = max(tmp_path.iterdir())
    *parents, name = part.split(".")
    for altered in ("text", [3], torch.ones(3), None):
        state = torch.load(newest, weights_only=True)
        inside = functools.reduce(dict.__getitem__, parents, state)
        inside[name] = altered
        if altered is None:
            del inside[name]
        torch.save(state, path := tmp_path / "state")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        newer = path.rename(tmp_path / f"epoch-0009-{digest}.pt")
        with pytest.raises(ResumeError, match=r"is damaged: |another (training|version)"):
            train(tiny, build(), tmp_path)
        newer.unlink()


@pytest.mark.parametrize("content", [b"", b"no state", b"PK\x03\x04" + bytes(40), None])
def test_a_file_of_another_kind_is_refused_despite_its_name(tiny, tmp_path, content):
    if content is None:  # a torch file of a list
        torch.save([3], buffer := io.BytesIO())
        content = buffer.getvalue()
    (tmp_path / f"epoch-0001-{hashlib.sha256(content).hexdigest()}.pt").write_bytes(content)
    with pytest.raises(ResumeError, match=r"is not a training checkpoint|holds something other"):
        train(tiny, build(), tmp_path)
