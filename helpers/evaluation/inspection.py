"""Inspect a model: output shapes of its layers, FLOPs, time per operation, and occlusion."""

import os
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from helpers.evaluation.predictions import predict, preserve_train_mode
from helpers.models import count_parameters


def layer_summary(model: nn.Module, images: Tensor) -> list[dict[str, object]]:
    """Run uint8 `images` (N, C, S, S), on the model's device, through `model` in evaluation mode.

    Returns a row for each leaf module, in the order in which they ran: `layer` (its name in the
    model), `kind` (its class), `output` (the shape) and `parameters` (their number).
    """
    rows: list[dict[str, object]] = []
    names = {layer: name for name, layer in model.named_modules() if not list(layer.children())}

    def record(layer: nn.Module, _: object, output: Tensor) -> None:
        about = {"layer": names[layer], "kind": type(layer).__name__}
        rows.append(about | {"output": tuple(output.shape), "parameters": count_parameters(layer)})

    with ExitStack() as hooks, preserve_train_mode(model), torch.inference_mode():
        for layer in names:
            hooks.enter_context(layer.register_forward_hook(record))
        model.eval()(images)
    return rows


def occlusion(model: nn.Module, image: Tensor, target: int, *, patch: int = 5) -> Tensor:
    """How much the log-probability of the class `target` falls when a part of the image is covered.

    A black square of `patch` × `patch` pixels is centered on each pixel of `image` uint8 (C, H, W);
    at the edge it is clipped. Returns the falls in nats, float32 (H, W), on the CPU; a negative
    fall means that the covered pixels were evidence against the class. Zeiler and Fergus,
    "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.2. Raises
    ValueError unless `patch` is odd, so that it has a center, and positive.
    """
    if patch < 1 or patch % 2 == 0:
        raise ValueError(f"patch must be an odd number of pixels, such as 5, got {patch}.")
    height, width = image.shape[-2:]
    rows, columns = torch.arange(height), torch.arange(width)
    near_row = (rows[:, None] - rows).abs() <= patch // 2  # (center, pixel)
    near_column = (columns[:, None] - columns).abs() <= patch // 2
    covered = near_row[:, None, :, None] & near_column[None, :, None, :]  # (H, W, H, W)
    variants = image.cpu() * ~covered.view(-1, 1, height, width)
    predictions = predict(model, torch.cat([image.cpu()[None], variants]))
    log_probability = predictions.logits.log_softmax(dim=1)[:, target]
    return (log_probability[0] - log_probability[1:]).view(height, width)


def count_flops(model: nn.Module, shape: tuple[int, int, int] = (1, 28, 28)) -> int:
    """The number of floating-point operations of a forward pass for one image of `shape` (C, H, W).

    Multiplications and additions of convolutions and matrix products count. Normalization, ReLU and
    pooling do not: their time goes into memory access. A training step takes about three times as
    many, since the backward pass computes two gradients for each layer, of weights and of input.
    """
    image = torch.zeros(1, *shape, dtype=torch.uint8, device=next(model.parameters()).device)
    with preserve_train_mode(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(image)
    return counter.get_total_flops()


def profile_ops(function: Callable[[], object]) -> dict[str, float]:
    """The fraction of the time of a call, in [0, 1], by operation of torch, largest first.

    CPU time is measured; for an accelerator, that is only the time to launch operations.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # keeps the profiler's own log off stderr
    with torch.profiler.profile() as profile:
        function()
    times = Counter({event.key: event.self_cpu_time_total for event in profile.key_averages()})
    return {name: time / times.total() for name, time in times.most_common()}
