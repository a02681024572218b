import copy
import math
from dataclasses import fields

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from helpers import evaluation, messages, models, training
from helpers.data import Augmentation, Split, batches
from helpers.training import SINGLE_PROCESS, EpochRecord, Execution, NonFiniteLossError
from helpers.training.history import StepStats


def linear(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return models.build("linear", num_classes=2, mean=0.4, std=0.4)


def sgd(model: nn.Module, **settings) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), **{"lr": 0.01, **settings})


def fit(model: nn.Module, train: Split, **settings) -> training.History:
    """Fit with defaults; options of Execution and a seed may be given as well."""
    torch.manual_seed(settings.pop("seed", 0))
    names = [field.name for field in fields(Execution)]
    how = {name: settings.pop(name) for name in names if name in settings}
    settings = {"epochs": 2, "batch_size": 32, "execution": Execution(**how), **settings}
    return training.fit(model, settings.pop("optimizer", None) or sgd(model), train, **settings)


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()]).clone()


def test_fit_equals_a_plain_training_loop(tiny):
    """The weights equal those of the loop below, bit for bit; the last batch is smaller."""
    model, reference = linear(), linear()
    fit(model, tiny, seed=3)
    optimizer, order = sgd(reference), torch.Generator().manual_seed(3)
    for _ in range(2):
        for images, targets in batches(tiny, 32, generator=order):
            loss = F.cross_entropy(reference(images), targets)
            reference.zero_grad()
            loss.backward()
            optimizer.step()
    assert torch.equal(weights(model), weights(reference))


def test_step_stats_have_a_loss_and_two_counts_for_each_step():
    """Logits of 0 and 0 for both classes: a loss of ln 2, and class 0 is predicted."""
    stats = StepStats()
    for targets in (torch.tensor([0, 0, 1]), torch.tensor([1, 0])):
        logits = torch.zeros(len(targets), 2, requires_grad=True)
        stats.add(F.cross_entropy(logits, targets), logits, targets)
    losses, correct, sizes = stats.tensors(SINGLE_PROCESS.all_reduce_stats)
    torch.testing.assert_close(losses, torch.full((2,), math.log(2)))
    assert (correct.tolist(), sizes.tolist()) == ([2, 1], [3, 2])
    assert [t.dtype for t in (losses, correct, sizes)] == [torch.float32, torch.int64, torch.int64]
    assert not losses.requires_grad


def test_without_settings_it_is_plain_training_in_batches_of_32(tiny, monkeypatch):
    """Seed 0, no smoothing, nothing compiled, and the best epoch kept."""
    script_validation_losses(monkeypatch, [1.0, 2.0])
    monkeypatch.setattr(torch, "compile", None)
    model, reference, after_each = linear(), linear(), []
    training.fit(
        model, sgd(model), tiny, validation=tiny, epochs=2,
        on_epoch=lambda record: after_each.append(weights(model)),
    )  # fmt: skip
    assert torch.equal(weights(model), after_each[0])
    fit(reference, tiny, epochs=1, batch_size=32, seed=0, label_smoothing=0.0)
    assert torch.equal(weights(model), weights(reference))


def test_a_model_can_overfit_one_batch():
    torch.manual_seed(0)
    noise = Split(torch.randint(256, (32, 1, 28, 28), dtype=torch.uint8), torch.randint(10, (32,)))
    model = models.build("tiny_vgg", mean=0.5, std=0.3)
    history = fit(model, noise, epochs=150, optimizer=torch.optim.Adam(model.parameters(), lr=0.01))
    assert history.epochs[-1].train_accuracy == 1
    assert history.epochs[-1].train_loss < 0.05


def test_the_record_averages_over_images_not_batches(tiny):
    """With a learning rate of 0, the training metrics equal an evaluation of the same model."""
    model = linear()
    model.classifier[1].weight.data.mul_(20)  # so that the losses of the batches differ
    record = fit(model, tiny, epochs=1, optimizer=sgd(model, lr=0.0)).epochs[0]
    predictions = evaluation.predict(model, tiny)
    assert record.train_loss == pytest.approx(evaluation.loss(predictions), rel=1e-5)
    assert record.train_accuracy == pytest.approx(evaluation.accuracy(predictions))
    assert math.isnan(record.validation_loss)


def test_validation_uses_the_model_at_the_end_of_the_epoch(tiny):
    model = linear()
    history = fit(model, tiny[:50], validation=tiny[50:], epochs=1)
    predictions = evaluation.predict(model, tiny[50:])
    assert history.epochs[0].validation_loss == pytest.approx(evaluation.loss(predictions))
    assert history.epochs[0].validation_accuracy == evaluation.accuracy(predictions)


def test_the_seed_decides_order_and_augmentation(tiny):
    def trained(seed: int) -> torch.Tensor:
        model = linear()
        fit(model, tiny, seed=seed, augment=Augmentation(shift=2))
        return weights(model)

    assert torch.equal(trained(1), trained(1))
    assert not torch.equal(trained(1), trained(2))


def test_order_and_augmentation_do_not_use_the_global_generator(tiny):
    """They have generators with the seed of torch's global generator, which only dropout uses."""
    drawn = []

    def draw(images, generator):
        drawn.append(torch.rand((), generator=generator).item())
        return images

    model = linear()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    training.fit(model, sgd(model), tiny, epochs=1, augment=draw)
    assert torch.equal(torch.get_rng_state(), before)
    assert drawn == torch.rand(3, generator=torch.Generator().manual_seed(5)).tolist()


def test_augmentation_touches_training_images_only(tiny):
    seen = []

    def blacken(images, generator):
        seen.append(len(images))
        return torch.zeros_like(images)

    model = linear()
    before = evaluation.predict(model, tiny).logits
    record = fit(
        model, tiny, epochs=1, augment=blacken, validation=tiny, optimizer=sgd(model, lr=0.0)
    ).epochs[0]
    assert seen == [32, 32, 6]
    assert record.validation_loss == pytest.approx(F.cross_entropy(before, tiny.targets).item())
    assert record.train_loss != pytest.approx(record.validation_loss)


def test_the_scheduler_steps_once_a_batch(tiny):
    model = linear()
    optimizer = sgd(model, lr=1.0)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    history = fit(model, tiny, optimizer=optimizer, scheduler=scheduler, epochs=2)
    assert [record.learning_rate for record in history.epochs] == [0.5**3, 0.5**6]


def script_validation_losses(monkeypatch, losses: list[float]) -> None:
    remaining = iter(losses)
    monkeypatch.setattr(evaluation, "loss", lambda predictions: next(remaining))


def test_the_best_weights_are_kept(tiny, monkeypatch):
    script_validation_losses(monkeypatch, [3.0, 1.0, 2.0])
    model, after_each = linear(), []
    history = fit(
        model, tiny, validation=tiny, epochs=3,
        on_epoch=lambda record: after_each.append(weights(model)),
    )  # fmt: skip
    assert history.best_epoch == 2
    assert torch.equal(weights(model), after_each[1])
    assert not torch.equal(after_each[1], after_each[2])


def test_without_validation_the_last_weights_are_kept(tiny):
    model, after_each = linear(), []
    fit(model, tiny, epochs=2, on_epoch=lambda record: after_each.append(weights(model)))
    assert torch.equal(weights(model), after_each[-1])


def test_it_stops_early_when_validation_no_longer_improves(tiny, monkeypatch):
    script_validation_losses(monkeypatch, [3.0, 2.0, 2.5, 2.0, 2.1, 0.0])
    history = fit(linear(), tiny, validation=tiny, epochs=6, patience=3)
    assert len(history.epochs) == 5
    assert history.stopped_early
    assert history.best_epoch == 2


def test_a_patience_of_1_stops_at_the_first_epoch_without_improvement(tiny, monkeypatch):
    script_validation_losses(monkeypatch, [3.0, 2.0, 2.0, 0.0])
    assert len(fit(linear(), tiny, validation=tiny, epochs=4, patience=1).epochs) == 3


def test_patience_also_stops_a_training_of_infinite_losses(tiny, monkeypatch):
    script_validation_losses(monkeypatch, [math.inf] * 5)
    history = fit(linear(), tiny, validation=tiny, epochs=5, patience=2)
    assert len(history.epochs) == 2
    assert history.best_epoch is None


def test_without_early_stopping_it_runs_to_the_end(tiny):
    history = fit(linear(), tiny, validation=tiny, epochs=3)
    assert [record.epoch for record in history.epochs] == [1, 2, 3]
    assert not history.stopped_early
    assert not history.interrupted
    assert all(record.seconds > 0 for record in history.epochs)


def test_a_nan_loss_stops_training_and_its_step_is_reported(tiny):
    model = linear()

    def make_nan(images, generator):
        make_nan.calls += 1
        return images.float() * (math.nan if make_nan.calls == 5 else 1)

    make_nan.calls = 0
    with pytest.raises(
        NonFiniteLossError, match=r"epoch 2, step 2\. Try a tenth of the learning rate, and b"
    ) as caught:
        fit(model, tiny, validation=tiny, epochs=3, augment=make_nan)
    assert len(caught.value.history.epochs) == 1
    assert weights(model).isfinite().all()  # those of the best epoch


@pytest.mark.parametrize("validated", [True, False])
def test_nan_weights_after_the_last_step_are_detected(tiny, validated):
    model, validation = linear(), tiny if validated else None
    optimizer = sgd(model)
    step = optimizer.step

    def step_to_nan() -> None:
        step()
        model.classifier[1].weight.data.fill_(math.nan)

    optimizer.step = step_to_nan
    with pytest.raises(NonFiniteLossError, match="epoch 1, step 1"):
        fit(model, tiny, validation=validation, epochs=1, batch_size=70, optimizer=optimizer)


def test_a_nan_prediction_on_validation_is_detected(tiny):
    class NanInEvaluation(nn.Linear):
        def forward(self, images):
            logits = super().forward(images.flatten(1).float() / 255)
            return logits if self.training else logits * math.nan

    with pytest.raises(NonFiniteLossError, match="epoch 1, step 3"):
        fit(NanInEvaluation(784, 2), tiny, validation=tiny)


MEMORY_ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory."),
    MemoryError(),
    RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("GET was unable to find an engine to execute this computation"),
]


@pytest.mark.parametrize("error", MEMORY_ERRORS, ids=lambda error: type(error).__name__)
def test_out_of_memory_names_the_batch_size_and_keeps_the_checkpoint(tiny, tmp_path, error):
    def fill(images, generator):
        if len(list(tmp_path.glob("*.pt"))):
            raise error
        return images

    with pytest.raises(training.OutOfMemoryError, match=r"batch_size=32\. Halve it") as caught:
        fit(linear(), tiny, epochs=2, augment=fill, checkpoint=tmp_path)
    assert len(caught.value.history.epochs) == 1
    assert len(list(tmp_path.glob("*.pt"))) == 1


@pytest.mark.parametrize("kept", [True, False])
def test_any_other_error_notes_what_is_saved_and_restores_the_mode(tiny, tmp_path, kept):
    model = linear().eval()

    def fail(record):
        raise KeyError("a mistake of one's own")

    folder = tmp_path / "kept" if kept else None
    with pytest.raises(KeyError, match="a mistake of one's own") as caught:
        fit(model, tiny, epochs=2, on_epoch=fail, checkpoint=folder)
    (note,) = caught.value.__notes__
    assert note.startswith("The training stopped in epoch 2. ")
    assert (str(tmp_path) in note) == kept
    assert ("Pass `checkpoint=<folder>`" in note) != kept
    assert not model.training


@pytest.mark.parametrize("epoch", [1, 3])
def test_ctrl_c_stops_training_and_the_exception_has_the_model_and_history(tiny, epoch):
    seen, after_each = [], []

    def interrupt(images, generator):
        seen.append(len(images))
        if len(seen) == 3 * (epoch - 1) + 2:  # the second of three batches
            raise KeyboardInterrupt
        return images

    model = linear().eval()
    with pytest.raises(KeyboardInterrupt, match=f"stopped in epoch {epoch} of 5") as stopped:
        fit(
            model, tiny, validation=tiny, epochs=5, augment=interrupt,
            on_epoch=lambda record: after_each.append(weights(model)),
        )  # fmt: skip
    history = stopped.value.history
    assert stopped.value.model is model
    assert (history.interrupted, history.planned_epochs) == (True, 5)
    assert len(history.epochs) == epoch - 1
    assert list(history.frame()["epoch"]) == list(range(1, epoch))
    assert not model.training
    if history.best_epoch:
        assert torch.equal(weights(model), after_each[history.best_epoch - 1])


@pytest.mark.parametrize("mode", [True, False])
def test_the_mode_is_left_as_it_was(tiny, mode):
    model = linear().train(mode)
    fit(model, tiny, validation=tiny)
    assert model.training is mode


@pytest.mark.parametrize(
    ("options", "dtype", "layout"),
    [
        ({}, torch.float32, torch.contiguous_format),
        ({"channels_last": True}, torch.float32, torch.channels_last),
        ({"precision": "bfloat16"}, torch.bfloat16, torch.contiguous_format),
        ({"precision": "float16"}, torch.float16, torch.contiguous_format),
    ],
)
def test_hardware_options_take_effect_and_barely_change_the_result(tiny, options, dtype, layout):
    torch.manual_seed(0)
    model = models.build("tiny_vgg", mean=0.4, std=0.4)
    seen = []
    model.block_1[2].register_forward_hook(lambda *call: seen.append(call[2].dtype))
    reference = copy.deepcopy(model)
    fit(model, tiny, epochs=1, **options)
    assert set(seen[1:]) == {dtype}  # the first call checks the model before the training
    assert model.block_1[2].weight.is_contiguous(memory_format=layout)
    assert model.block_1[2].weight.dtype == torch.float32
    before = weights(reference)
    fit(reference, tiny, epochs=1)
    update = (weights(reference) - before).abs().max()
    assert (weights(model) - weights(reference)).abs().max() < update / 20


class CountsReads(TorchDispatchMode):
    """Counts how often a number is read from the device, which makes the program wait for it."""

    def __init__(self):
        super().__init__()
        self.reads = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.reads += operation is torch.ops.aten._local_scalar_dense.default
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_no_step_waits_for_the_device(tiny, precision):
    """A hundred more steps read no additional numbers."""

    def reads(batch_size: int) -> int:
        model = linear()
        settings = {"optimizer": sgd(model, fused=True), "augment": Augmentation(shift=1)}
        with CountsReads() as counted:
            fit(model, tiny, batch_size=batch_size, precision=precision, **settings)
        return counted.reads

    assert reads(1) == reads(70) > 0


def test_float16_training_matches_float32_training(tiny):
    model, reference = linear(), linear()
    fit(model, tiny, epochs=1, precision="float16", optimizer=sgd(model, lr=0.1))
    fit(reference, tiny, epochs=1, optimizer=sgd(reference, lr=0.1))
    torch.testing.assert_close(weights(model), weights(reference), atol=2e-3, rtol=0)


def test_float16_gradients_that_would_vanish_are_kept(tiny):
    """Logits of 1e-7: unscaled gradients are far below the range of float16."""

    class Faint(nn.Linear):
        def forward(self, images):
            return 1e-7 * super().forward(images.flatten(1).float() / 255).float()

    model = Faint(784, 2)
    before = weights(model)
    fit(model, tiny, epochs=1, batch_size=70, precision="float16", optimizer=sgd(model, lr=1e6))
    update = (weights(model) - before)[:-2].abs()  # the gradients of the bias add up in float32
    assert update.max() > 1e-4


def test_a_step_whose_scaled_gradients_overflow_is_skipped(tiny, monkeypatch):
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60)
    monkeypatch.setattr(torch.amp, "GradScaler", lambda *_, **__: scaler)
    model = linear()
    before = weights(model)
    fit(model, tiny, epochs=1, batch_size=70, precision="float16")
    assert torch.equal(weights(model), before)
    assert scaler.get_scale() == 2.0**59


def test_label_smoothing_follows_its_formula(tiny):
    model, reference = linear(), linear()
    fit(model, tiny, epochs=1, batch_size=70, label_smoothing=0.2, seed=1)
    ((images, targets),) = batches(tiny, 70, generator=torch.Generator().manual_seed(1))
    smoothed = 0.8 * F.one_hot(targets, 2) + 0.2 / 2  # Szegedy et al. 2016, section 7
    (-(smoothed * reference(images).log_softmax(dim=1)).sum(dim=1).mean()).backward()
    sgd(reference).step()
    torch.testing.assert_close(weights(model), weights(reference))


def test_compile_calls_torch_compile(tiny, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda model: compiled.append(model) or model)
    model = linear()
    fit(model, tiny, compile=True)
    assert compiled == [model]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number of at least 1, got 0"),
        ({"epochs": -2}, "epochs must be a whole number of at least 1, got -2"),
        ({"epochs": 1.5}, "epochs must be a whole number of at least 1, got 1.5"),
        ({"epochs": math.nan}, "epochs must be a whole number of at least 1"),
        ({"epochs": math.inf}, "epochs must be a whole number of at least 1"),
        ({"batch_size": 0}, r"batch_size must be in \[1, 70\].*got 0"),
        ({"batch_size": 71}, r"batch_size must be in \[1, 70\].*got 71"),
        ({"batch_size": 2.5}, "batch_size must be in"),
        ({"patience": 0}, "patience must be a whole number of at least 1"),
        ({"patience": math.nan}, "patience must be a whole number of at least 1"),
        ({"patience": 2}, "pass a validation split"),
        ({"label_smoothing": math.nan}, r"label_smoothing must be in \[0, 1\], got nan"),
        ({"label_smoothing": 1.1}, r"label_smoothing must be in \[0, 1\], got 1.1"),
        ({"precision": "float8"}, "'float8'"),
    ],
)
def test_invalid_settings_are_refused(tiny, settings, message):
    model = linear()
    before = weights(model)
    with pytest.raises(ValueError, match=message):
        fit(model, tiny, **settings)
    assert torch.equal(weights(model), before)


@pytest.mark.parametrize("rate", [math.nan, math.inf])
def test_a_nan_or_infinite_learning_rate_is_refused(tiny, rate):
    model = linear()
    with pytest.raises(ValueError, match="learning rate must be a finite number"):
        fit(model, tiny, optimizer=sgd(model, lr=rate))


def test_the_optimizer_of_another_model_is_refused(tiny):
    with pytest.raises(ValueError, match="does not hold all of this model's parameters"):
        fit(linear(), tiny, optimizer=sgd(linear()))


def test_a_schedule_that_is_too_short_is_refused_before_training(tiny):
    model = linear()
    optimizer = sgd(model)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=5)
    before = weights(model)
    with pytest.raises(ValueError, match="The scheduler has 5 steps, but this training needs 6"):
        fit(model, tiny, optimizer=optimizer, scheduler=schedule, epochs=2)
    assert torch.equal(weights(model), before)


def test_frozen_weights_need_no_optimizer(tiny):
    model = linear()
    model.classifier[1].bias.requires_grad_(False)
    fit(model, tiny, optimizer=torch.optim.SGD([model.classifier[1].weight], lr=0.01))


def test_a_bar_is_shown_on_request_and_nothing_is_printed_otherwise(tiny, capsys):
    fit(linear(), tiny, progress=False)
    assert capsys.readouterr() == ("", "")
    fit(linear(), tiny, progress=True)
    shown = capsys.readouterr().err
    assert "epoch 2/2" in shown
    assert "/140 [" in shown  # two epochs of 70
    assert " images/s]" in shown
    assert shown.endswith("\r")  # it is erased at the end


@pytest.mark.parametrize("interactive", [True, False])
def test_by_default_a_bar_is_shown_in_an_interactive_session(
    tiny, capsys, monkeypatch, interactive
):
    monkeypatch.setattr(messages, "is_interactive", lambda: interactive)
    fit(linear(), tiny)
    assert ("epoch 1/2" in capsys.readouterr().err) == interactive


def test_the_history_has_lines_and_a_data_frame(tiny):
    history = fit(linear(), tiny, validation=tiny)
    line = str(EpochRecord(3, 0.51234, 0.8125, 0.4, 0.9, 0.1, 12.34))
    assert line.split("   ") == [
        "epoch  3",
        "training loss 0.512, accuracy 81.25%",
        "validation loss 0.400, accuracy 90.00%",
        "12.3 s",
    ]
    assert str(EpochRecord(1, 1.0, 0.5, math.nan, math.nan, 0.1, 1.0)).count("loss") == 1
    frame = history.frame()
    assert frame["epoch"].tolist() == [1, 2]
    assert frame["train_loss"].tolist() == [record.train_loss for record in history.epochs]
    assert history.seconds == pytest.approx(frame["seconds"].sum())
