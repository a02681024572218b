"""Answers to the exercises of chapter 8: right ones, and wrong ones with a part of their hint."""

import filecmp
import hashlib
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from sklearn.metrics import balanced_accuracy_score
from torchvision.transforms.functional import to_pil_image


def by_pillow(folder, images, targets, class_names):
    for k, name in enumerate(class_names):
        (folder / name).mkdir()
        for i in (targets == k).nonzero().flatten().tolist():
            Image.fromarray(images[i].squeeze().numpy()).save(folder / name / f"picture {i}.bmp")


def by_torchvision(folder, images, targets, class_names):
    for i, k in enumerate(targets.tolist()):
        path = folder / class_names[k] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        to_pil_image(images[i]).save(path)


def save_each(folder, images, targets, class_names, name, transposed=False):
    """Store all images by a function of their number and class."""
    for i, image in enumerate(images):
        path = folder / name(i, int(targets[i]), class_names)
        path.parent.mkdir(exist_ok=True)
        Image.fromarray((image[0].T if transposed else image[0]).numpy().copy()).save(path)


def writing(name, **options):
    return lambda *inputs: save_each(*inputs, name=name, **options)


def as_in_class(i, k, names):
    return f"{names[k]}/{i}.png"


def by_imsave(folder, images, targets, class_names):
    for i, image in enumerate(images):
        (folder / class_names[targets[i]]).mkdir(exist_ok=True)
        plt.imsave(folder / class_names[targets[i]] / f"{i}.png", image[0].numpy())


def by_rint(pixels):
    return torch.from_numpy(np.clip(np.rint(pixels.numpy() * 255), 0, 255).astype(np.uint8))


def by_half(pixels):
    return (pixels.clamp(0, 1) * 255 + 0.5).floor().byte()


def cut_off(pixels):
    return (pixels.clamp(0, 1) * 255).byte()


def wrapped(pixels):
    return (255 * pixels).round().long().numpy().astype(np.uint8)


def stretched(pixels):
    lowest, highest = pixels.min(), pixels.max()
    return by_rint((pixels - lowest) / (highest - lowest))


def draw(targets, fraction, seed, count=lambda n, fraction: max(1, round(n * fraction))):
    generator = np.random.default_rng(seed)
    mask = np.zeros(len(targets), dtype=bool)
    for k in np.unique(targets):
        rows = np.flatnonzero(targets.numpy() == k)
        mask[generator.choice(rows, count(len(rows), fraction), replace=False)] = True
    return torch.from_numpy(mask)


def by_sorting(targets, fraction, seed):
    torch.manual_seed(seed)
    order, seen = torch.rand(len(targets)).argsort(), {}
    mask = torch.zeros(len(targets), dtype=torch.bool)
    for i in order.tolist():
        k = int(targets[i])
        seen[k] = seen.get(k, 0) + 1
        mask[i] = seen[k] <= max(1, round(fraction * int((targets == k).sum())))
    return mask


def first_of_each(targets, fraction, seed):
    return torch.stack([
        (targets[:i] == k).sum() < max(1, round(fraction * int((targets == k).sum())))
        for i, k in enumerate(targets)
    ])  # fmt: skip


def among_all(targets, fraction, seed):
    mask = torch.zeros(len(targets), dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    mask[torch.randperm(len(targets), generator=generator)[: round(fraction * len(targets))]] = True
    return mask


def by_sklearn(matrix):
    true, predicted = [], []
    for i, row in enumerate(matrix.tolist()):
        for j, n in enumerate(row):
            true += n * [i]
            predicted += n * [j]
    return balanced_accuracy_score(true, predicted)


def mean_recall(matrix):
    return sum(float(matrix[k, k]) / float(matrix[k].sum()) for k in range(len(matrix))) / len(
        matrix
    )


def plain_accuracy(matrix):
    return matrix.diagonal().sum() / matrix.sum()


def by_digest(folder):
    def digests(part):
        return {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in (folder / part).glob("*/*")}

    trained = set(digests("train").values())
    return sorted(str(p.relative_to(folder)) for p, d in digests("test").items() if d in trained)


def by_pixels(folder):
    trained = [np.asarray(Image.open(path)) for path in folder.glob("train/*/*.png")]
    return [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.glob("test/*/*.png"))
        if any((np.asarray(Image.open(path)) == other).all() for other in trained)
    ]


def by_name(folder):
    names = {path.name for path in folder.glob("train/*/*")}
    return sorted(
        f"test/{p.parent.name}/{p.name}" for p in folder.glob("test/*/*") if p.name in names
    )


def in_same_class(folder):
    return [
        f"test/{p.parent.name}/{p.name}"
        for p in sorted(folder.glob("test/*/*"))
        if any(filecmp.cmp(p, q, shallow=False) for q in folder.glob(f"train/{p.parent.name}/*"))
    ]


def by_size(folder):
    sizes = {path.stat().st_size for path in folder.glob("train/*/*")}
    found = [path for path in folder.glob("test/*/*") if path.stat().st_size in sizes]
    return sorted(path.relative_to(folder).as_posix() for path in found)


def any_twice(folder):
    seen = [path.read_bytes() for path in folder.rglob("*.png")]
    found = [p for p in folder.glob("test/*/*") if seen.count(p.read_bytes()) > 1]
    return sorted(path.relative_to(folder).as_posix() for path in found)


RIGHT = {
    "8.1": [by_pillow, by_torchvision],
    "8.2": [by_rint, by_half],
    "8.3": [draw, by_sorting],
    "8.4": [by_sklearn, mean_recall],
    "8.5": [705, 700],
    "8.6": [by_digest, by_pixels],
}
WRONG = {
    "8.1": [
        (writing(lambda i, k, names: f"{names[k]} {i}.png"), "side by side"),
        (writing(lambda i, k, names: f"{k}/{i}.png"), "named by numbers"),
        (writing(lambda i, k, names: f"{names[k]}/picture.png"), "fewer files"),
        (writing(lambda i, k, names: f"{names[k]}/{i}.jpeg"), "JPEG"),
        (writing(as_in_class, transposed=True), "on their side"),
        (writing(lambda i, k, names: f"{sorted(names)[k]}/{i}.png"), "folder of another class"),
        (by_imsave, "in color"),
        (lambda folder, images, targets, class_names: images.sum(), "still empty"),
    ],
    "8.2": [
        (cut_off, "Decimals"),
        (wrapped, "begin anew"),
        (stretched, "You stretch"),
        (lambda pixels: by_rint(pixels).int(), "dtype"),
        (lambda pixels: pixels.clamp(0, 1).byte(), "White should be 255"),
        (lambda pixels: (pixels * 256).long().numpy().astype(np.uint8), "not 256"),
    ],
    "8.3": [
        (among_all, "Draw in each class"),
        (first_of_each, "first of each class"),
        (lambda t, f, s: draw(t, f, s).nonzero().flatten(), "a bool for each image"),
        (lambda t, f, s: ~draw(t, f, s), "exchanged"),
        (lambda t, f, s: draw(t, f, s, lambda n, f: round(n * f)), "at least one"),
        (lambda t, f, s: draw(t, f, s, lambda n, f: max(1, int(n * f))), "cut the decimals"),
        (lambda t, f, s: draw(t, f, 5), "seed is not used"),
        (lambda t, f, s: draw(t, f, None), "must follow the seed"),
    ],
    "8.4": [
        (plain_accuracy, "plain accuracy"),
        (lambda matrix: mean_recall(matrix.T), "columns"),
        (lambda matrix: mean_recall(matrix) * len(matrix), "A mean is wanted"),
        (lambda matrix: 100 * mean_recall(matrix), "percentage"),
        (lambda matrix: matrix.diagonal() / matrix.sum(1), "shares of all classes"),
        (lambda matrix: (matrix.diagonal() / matrix.sum()).mean(), "not by all images"),
    ],
    "8.5": [
        (141, "only a tenth becomes"),
        (1_410, "both classes together"),
        (70, "test images of each class"),
        (170, "twenty points wide"),
        (1_905, "50 %"),
        (2_820, "You multiply"),
    ],
    "8.6": [
        (by_name, "You compare names"),
        (in_same_class, "same class only"),
        (by_size, "sizes"),
        (any_twice, "Two equal files"),
        (lambda folder: [str(folder / name) for name in by_digest(folder)], "relative_to"),
        (lambda folder: [Path(name).name for name in by_digest(folder)], "with their folders"),
        (lambda folder: [], "None is found"),
        (lambda folder: by_digest(folder)[::-1], "Sort them"),
    ],
}
