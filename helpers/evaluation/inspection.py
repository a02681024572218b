"""What does each layer of a model do, how much work is that, and by which pixels does it go?"""

import os
from collections.abc import Callable
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from helpers.evaluation.predictions import predict, preserve_train_mode
from helpers.models import count_parameters


def layer_summary(model: nn.Module, images: Tensor) -> list[dict[str, object]]:
    """Send `images` (N, 1, 28, 28), on the model's device, through it, and note what layers do.

    Returns a row for each layer without layers of its own, in the order in which they ran:
    `layer` (its name in the model), `kind`, `output` (its shape), `parameters`.
    """
    rows: list[dict[str, object]] = []

    def note(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def hook(layer: nn.Module, _: object, output: Tensor) -> None:
            rows.append(
                {
                    "layer": name,
                    "kind": type(layer).__name__,
                    "output": tuple(output.shape),
                    "parameters": count_parameters(layer),
                }
            )

        return hook

    leaves = [(name, layer) for name, layer in model.named_modules() if not list(layer.children())]
    handles = [layer.register_forward_hook(note(name)) for name, layer in leaves]
    try:
        with torch.inference_mode():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    return rows


def occlusion(model: nn.Module, image: Tensor, target: int, *, patch: int = 5) -> Tensor:
    """Where the model looks: how much less it believes in a class when a spot is covered.

    A black square of `patch` pixels is centred on each pixel in turn, and the fall of the class's
    log-probability is noted: nats, float32 (H, W) on the CPU, negative where the spot spoke against
    the class. Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014,
    section 4.2. `image` is uint8 (1, H, W), and the square is clipped at its edge. Raises
    ValueError if `patch` is even, since it would have no centre.
    """
    if patch < 1 or patch % 2 == 0:
        raise ValueError(f"A patch has an odd number of pixels, such as 5; got {patch}.")
    height, width = image.shape[-2:]
    down, across = torch.arange(height), torch.arange(width)
    near_row = (down[:, None] - down).abs() <= patch // 2  # (centre, pixel)
    near_column = (across[:, None] - across).abs() <= patch // 2
    covered = near_row[:, None, :, None] & near_column[None, :, None, :]  # (H, W, H, W)
    variants = image.cpu() * ~covered.view(-1, 1, height, width)
    said = predict(model, torch.cat([image.cpu()[None], variants]))
    belief = said.logits.log_softmax(dim=1)[:, target]
    return (belief[0] - belief[1:]).view(height, width)


def count_flops(model: nn.Module) -> int:
    """Multiplications and additions of one forward pass, for one image of 28 × 28 pixels.

    Counted in convolutions and matrix products. A training step costs about three times as many:
    the backward pass computes the gradient of a layer's weights, and of its input unless that is
    the image. What is not counted (normalisation, ReLU, pooling) is memory traffic rather than
    arithmetic.
    """
    image = torch.zeros(1, 1, 28, 28, dtype=torch.uint8, device=next(model.parameters()).device)
    with preserve_train_mode(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(image)
    return counter.get_total_flops()


def profile_ops(work: Callable[[], object]) -> dict[str, float]:
    """In which of torch's operations `work` spends its time: shares in [0, 1], the largest first.

    It is the time of the CPU: on an accelerator, that of launching the operations.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler writes to stderr about itself
    with torch.profiler.profile() as profile:
        work()
    spent = {event.key: event.self_cpu_time_total for event in profile.key_averages()}
    total = sum(spent.values())
    return {
        name: spent[name] / total for name in sorted(spent, key=spent.__getitem__, reverse=True)
    }
