"""The exercises of chapter 8: data of your own."""

import io
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image
from torch import Tensor

from helpers import data, evaluation
from checks.kinds import Function, Value


@dataclass(frozen=True)
class InFolder:
    """A function that works in a folder, which is made anew for each answer."""

    make: Callable[[Path], Function]

    def hint(self, answer: object) -> str | None:
        """What is wrong with an answer; None if it is right."""
        with TemporaryDirectory() as folder:
            return self.make(Path(folder)).hint(answer)


# 8.1 From tensors to a folder

NAMES = ["stone", "leaf", "shell"]  # not in alphabetical order
LOST, CHANGED, TURNED, EXACT = range(4)  # what became of an image
ELSEWHERE, RENAMED, COLORED = 10, 20, 40  # is added: in another class, in none, in color
EMPTY, NO_FOLDERS, TOO_FEW = [-1] * 30, [-2] * 30, [-3] * 30


def write_pictures(
    folder: Path,
    images: Tensor,
    targets: Tensor,
    names: list[str],
    *,
    file: str = "{i}.png",
    place: str = "{name}",
    mode: str = "L",
) -> None:
    """Store each image; the options make mistakes."""
    for i, (image, target) in enumerate(zip(images, targets.tolist(), strict=True)):
        about = {"i": i, "k": target, "name": names[target]}
        path = folder / place.format(**about) / file.format(**about)
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(image[0].contiguous().numpy())
        if mode == "RGB":  # as a color map would have it
            picture = Image.merge("RGB", [picture, picture.point(lambda x: 255 - x), picture])
        picture.save(path)


def mistaken(**options: str) -> Callable[..., None]:
    return lambda *inputs: write_pictures(*inputs, **options)


def write_turned(folder: Path, images: Tensor, targets: Tensor, names: list[str]) -> None:
    write_pictures(folder, images.transpose(2, 3), targets, names)


def write_by_alphabet(folder: Path, images: Tensor, targets: Tensor, names: list[str]) -> None:
    write_pictures(folder, images, targets, sorted(names))


def fate(images: Tensor, targets: Tensor, names: list[str], read: data.Splits) -> list[int]:
    """What became of each image, by the nearest that was read."""
    splits = (read.train, read.validation, read.test)
    pictures = torch.cat([split.images for split in splits]).double()
    classes = torch.cat([split.targets for split in splits])
    found = []
    for image, target in zip(images[:, 0].double(), targets.tolist(), strict=True):
        distances = (pictures.mean(dim=1) - image).square().mean(dim=(1, 2)).sqrt()
        turned = bool((pictures[:, 0] == image.T).all(dim=(1, 2)).any())
        distance, nearest = distances.min(dim=0)
        code = EXACT if distance == 0 else TURNED if turned else CHANGED if distance < 60 else LOST
        name = read.spec.class_names[classes[nearest]]
        code += ELSEWHERE * (name != names[target]) + RENAMED * (name not in names)
        found.append(code + COLORED * (pictures.shape[1] == 3))
    return found


def written(inputs: tuple[Path, Tensor, Tensor, list[str]], _: object) -> list[int]:
    """Read the folder, and empty it again."""
    folder, images, targets, names = inputs
    try:
        files = [path for path in folder.rglob("*") if path.is_file()]
        if not files:
            return EMPTY
        if not any(path.is_dir() for path in folder.iterdir()):
            return NO_FOLDERS
        if len(files) < len(images):
            return TOO_FEW
        return fate(images, targets, names, data.from_folder(folder, size=images.shape[-1]))
    finally:
        shutil.rmtree(folder)
        folder.mkdir()


def writing(folder: Path) -> Function:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (30, 1, 16, 16), generator=generator, dtype=torch.uint8)
    return Function(
        write_pictures,
        [(folder, images, torch.arange(30) % 3, NAMES)],
        [
            (lambda *inputs: None, "The folder is still empty. Save each image below `folder`."),
            (mistaken(place=""), "All files lie side by side. Each class needs a folder."),
            (
                mistaken(place="{k}"),
                "The folders are named by numbers. The name of a folder is that of its class.",
            ),
            (
                write_by_alphabet,
                "Some images lie in the folder of another class. Is class_names sorted before?",
            ),
            (
                mistaken(file="{k}.png"),
                "There are fewer files than images: a later one replaces an earlier one.",
            ),
            (
                mistaken(file="{i}.jpg"),
                "The pixels have changed a little. JPEG does that; PNG keeps them.",
            ),
            (write_turned, "Rows and columns are exchanged: the pictures lie on their side."),
            (
                mistaken(mode="RGB"),
                "The pictures are in color. plt.imsave does that; save the gray values.",
            ),
        ],
        "Not every image comes back as it was. Look at the folder, and open a file.",
        observe=written,
    )


# 8.2 Back to 256 gray values


def to_uint8(pixels: Tensor) -> Tensor:
    return (255 * pixels).round().clamp(0, 255).to(torch.uint8)


def as_bytes(pixels: Tensor) -> Tensor:
    """Cut the decimals off, and begin anew after 255, as numpy does."""
    return pixels.long().remainder(256).to(torch.uint8)


def stretched(pixels: Tensor) -> Tensor:
    return to_uint8((pixels - pixels.min()) / (pixels.max() - pixels.min()))


def values_and_type(_: object, result: object) -> Tensor:
    found = torch.as_tensor(result)
    return torch.cat([found.double().flatten(), torch.tensor([found.dtype == torch.uint8])])


INSIDE = torch.tensor([[0.0, 1.0, 0.502], [0.2, 0.999, 0.003]])
OUTSIDE = torch.tensor([[-0.1, 1.2, 0.61]])
WRAPS = "Values below 0 or above 255 begin anew at the other end: black turns white."

# 8.3 Hold out a part of each class


def hold_out(targets: Tensor, fraction: float, seed: int) -> Tensor:
    return drawn(targets, lambda n: max(1, round(fraction * n)), seed)


def drawn(targets: Tensor, how_many: Callable[[int], int], seed: int) -> Tensor:
    """So many images of each class, by the number that it has."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(len(targets), dtype=torch.bool)
    for k in targets.unique():
        rows = (targets == k).nonzero().flatten()
        mask[rows[torch.randperm(len(rows), generator=generator)[: how_many(len(rows))]]] = True
    return mask


def of_each_class(inputs: tuple[Tensor, float, int], result: object) -> Tensor:
    """How many images of each class are held out; -1 if the mask is none."""
    mask = torch.as_tensor(result)
    if mask.dtype != torch.bool or mask.shape != inputs[0].shape:
        return torch.full((4,), -1)
    return inputs[0][mask].bincount(minlength=4)


TARGETS = torch.tensor([0] * 40 + [1] * 20 + [2] * 13 + [3] * 2)
COUNTS = Function(
    hold_out,
    [(TARGETS, 0.2, 0)],
    [
        (
            lambda targets, fraction, seed: torch.arange(15),
            "Wanted is a bool for each image, True where it is held out.",
        ),
        (
            lambda targets, fraction, seed: ~hold_out(targets, fraction, seed),
            "True and False are exchanged: True marks what is held out.",
        ),
        (
            lambda targets, fraction, seed: drawn(targets, lambda n: round(fraction * n), seed),
            "A small class has no image held out. Take at least one.",
        ),
        (
            lambda targets, fraction, seed: drawn(targets, lambda n: max(1, int(n / 5)), seed),
            "Round to the nearest number; int() and // cut the decimals off.",
        ),
        (
            lambda targets, fraction, seed: drawn(targets, lambda n: -int(-n // 5), seed),
            "Round to the nearest number, not up.",
        ),
        (
            lambda targets, fraction, seed: drawn(targets, lambda n: 15, seed),
            "You hold out as many of each class. The same *share* of each is wanted.",
        ),
    ],
    "The shares of the classes differ. Draw in each class by itself, not among all images.",
    observe=of_each_class,
)


class HoldOut:
    """The right number of each class, drawn at random by the seed."""

    def hint(self, answer: object) -> str | None:
        """What is wrong with an answer; None if it is right."""
        wrong = COUNTS.hint(answer)
        if wrong:
            return wrong
        with torch.random.fork_rng(devices=[]):
            once, again, other = (
                torch.as_tensor(answer(TARGETS.clone(), 0.2, seed))  # type: ignore[operator]
                for seed in (0, 0, 1)
            )
        if torch.equal(once, again) and not torch.equal(once, other):
            return None
        if not torch.equal(once, again):
            return "The same seed gives other images. The random numbers must follow the seed."
        ends = [(k == TARGETS).nonzero().flatten()[[0, -1]] for k in range(4)]
        if all(once[first] or once[last] for first, last in ends[:3]):
            return "You take the first of each class, or the last, not random ones."
        return "Each seed gives the same images. The seed is not used."


# 8.4 When one class is rare


def recall(matrix: Tensor) -> Tensor:
    return matrix.diag() / matrix.sum(dim=1)


# 8.5 How many pictures must you take?


def images_for(width: float, accuracy: float = 0.9) -> int:
    """How many test images make the interval narrower than `width`."""
    images = 1
    while True:
        low, high = evaluation.accuracy_interval(accuracy, images)
        if high - low < width:
            return images
        images += 1


def about(number: float) -> Callable[[Tensor], bool]:
    return lambda got: got.ndim == 0 and bool(abs(got - number) <= 0.06 * number)


def pictures() -> Value:
    test = images_for(0.1)
    return Value(
        test * 10 / 2,
        [
            (about(test), "So many test images you need. But only a tenth becomes the test split."),
            (about(test * 10), "This is for both classes together. How many of each?"),
            (about(test / 2), "These are test images of each class. Only a tenth is tested."),
            (
                about(images_for(0.2) * 10 / 2),
                "Your interval is twenty points wide, ten to each side. Ten in all are wanted.",
            ),
            (
                about(images_for(0.1, 0.5) * 10 / 2),
                "This is for an accuracy of 50 %, the widest interval. You expect 90 %.",
            ),
            (
                about(test * 20),
                "You multiply by the classes. All pictures are divided among two of them.",
            ),
        ],
        "First the test images, then all pictures, then those of one class.",
        tolerance=0.06,
    )


# 8.6 The same picture on both sides

FILES = {  # which picture is in which file
    "train/cat/1.png": 0, "train/cat/2.png": 1, "train/dog/1.png": 2, "train/dog/5.png": 3,
    "test/cat/1.png": 4, "test/cat/9.png": 0, "test/dog/1.png": 2, "test/dog/7.png": 1,
    "test/dog/8.png": 5, "test/dog/9.png": 5, "test/dog/5.png": 6,
}  # fmt: skip


def place_files(folder: Path) -> None:
    for name, number in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number))


def png(number: int) -> bytes:
    """A picture of one gray value; all such files have the same size."""
    stored = io.BytesIO()
    Image.new("L", (16, 16), 100 + number).save(stored, "PNG")
    return stored.getvalue()


def by_content(folder: Path) -> dict[str, bytes]:
    found = sorted(folder.rglob("*.png"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def like(key: Callable[[str, bytes], object], given: str = "test") -> Callable[[Path], list[str]]:
    """The files of one part whose key also occurs in the other."""

    def leaked(folder: Path) -> list[str]:
        files = by_content(folder)
        other = {key(*pair) for pair in files.items() if not pair[0].startswith(given)}
        return [
            name for name in files if name.startswith(given) and key(name, files[name]) in other
        ]

    return leaked


def repeated(folder: Path) -> list[str]:
    contents = list(by_content(folder).values())
    names = [name for name, content in by_content(folder).items() if contents.count(content) > 1]
    return [name for name in names if name.startswith("test")]


leaked = like(lambda name, content: content)


def named(inputs: tuple[Path], result: Iterable[object]) -> list[int]:
    """For each file its number and its place in the result; below 0 if it is named otherwise."""
    names = [] if isinstance(result, str) else [str(name).replace("\\", "/") for name in result]
    places = []
    for i, name in enumerate(FILES, start=1):
        whole = (inputs[0] / name).as_posix()
        forms = [name, whole, name.split("/", 1)[1], Path(name).name]
        found = [(names.index(form), k) for k, form in enumerate(forms) if form in names]
        place, kind = min(found, default=(-1, 0))
        places.append(20 * i + place - 1000 * kind if found else 0)
    return places


def leaking(folder: Path) -> Function:
    place_files(folder)
    return Function(
        leaked,
        [(folder,)],
        [
            (
                like(lambda name, content: Path(name).name),
                "You compare names. Copies have other names, and different files the same.",
            ),
            (
                like(lambda name, content: name.split("/", 1)[1]),
                "You compare names. Copies have other names, and different files the same.",
            ),
            (
                like(lambda name, content: (Path(name).parent.name, content)),
                "You look in the same class only. A copy may lie in another.",
            ),
            (
                like(lambda name, content: (Path(name).name, content)),
                "A copy may have another name. Compare the content alone.",
            ),
            (
                like(lambda name, content: len(content)),
                "You compare sizes. Different files may be equally large.",
            ),
            (repeated, "Two equal files of the test are no leak, if none is in training."),
            (
                like(lambda name, content: content, given="train"),
                "These are files of the training. Wanted are those of the test.",
            ),
            (
                lambda folder: [str(folder / name) for name in leaked(folder)],
                "The right files. Name them below the folder: path.relative_to(folder).",
            ),
            (
                lambda folder: [Path(name).name for name in leaked(folder)],
                "Name the files with their folders, such as test/cat/7.png.",
            ),
            (
                lambda folder: [name.split("/", 1)[1] for name in leaked(folder)],
                "The names lack test/ at their beginning.",
            ),
            (lambda folder: leaked(folder)[::-1], "The right files. Sort them."),
            (lambda folder: [], "None is found. Do you compare what the files hold?"),
        ],
        "Which contents occur below train? Which files below test have one of them?",
        observe=named,
    )


EXERCISES = {
    "8.1": InFolder(writing),
    "8.2": Function(
        to_uint8,
        [(INSIDE,), (OUTSIDE,)],
        [
            (
                lambda pixels: to_uint8(pixels).long(),
                "The values are right, the dtype is not: torch.uint8 is wanted.",
            ),
            (
                lambda pixels: to_uint8(pixels).float(),
                "The values are right, the dtype is not: torch.uint8 is wanted.",
            ),
            (
                lambda pixels: as_bytes(255 * pixels.clamp(0, 1)),
                "Decimals are cut off, so most pixels are too dark. Round first.",
            ),
            (
                lambda pixels: as_bytes(pixels.clamp(0, 1)),
                "White should be 255. Multiply before you turn numbers into bytes.",
            ),
            (
                lambda pixels: to_uint8(pixels / 255),
                "White should be 255. Multiply before you turn numbers into bytes.",
            ),
            (lambda pixels: as_bytes((256 * pixels).round()), "White is 255, not 256."),
            (lambda pixels: as_bytes(256 * pixels), "White is 255, not 256."),
            (lambda pixels: as_bytes((255 * pixels).round()), WRAPS),
            (lambda pixels: as_bytes(255 * pixels), WRAPS),
            (
                stretched,
                "You stretch each picture from black to white. Gray must stay the same gray.",
            ),
            (
                lambda pixels: to_uint8(pixels / pixels.max()),
                "You divide by the brightest pixel, which makes the picture darker.",
            ),
        ],
        "Three steps: scale, round, and keep within 0 and 255. Then change the dtype.",
        observe=values_and_type,
    ),
    "8.3": HoldOut(),
    "8.4": Function(
        lambda matrix: recall(matrix).mean(),
        [
            (torch.tensor([[5, 3, 2], [0, 20, 0], [10, 10, 80]]),),
            (torch.tensor([[90, 0], [8, 2]]),),
        ],
        [
            (
                lambda matrix: matrix.diag().sum() / matrix.sum(),
                "This is the plain accuracy. A large class counts more in it than a small one.",
            ),
            (
                lambda matrix: (matrix.diag() / matrix.sum(dim=0)).mean(),
                "You divide by columns, the predicted classes. Take the true ones.",
            ),
            (lambda matrix: recall(matrix).sum(), "The sum over the classes. A mean is wanted."),
            (
                recall,
                "These are the shares of all classes. Their mean is wanted, one number.",
            ),
            (lambda matrix: recall(matrix).min(), "This is the worst class. The mean is wanted."),
            (
                lambda matrix: (matrix.diag() / matrix.sum()).mean(),
                "Divide by the images of each class, not by all images.",
            ),
            (
                lambda matrix: matrix.sum(dim=1).max() / matrix.sum(),
                "So good is always naming the largest class. Look at the diagonal.",
            ),
        ],
        "Which share of each row lies on the diagonal?",
    ),
    "8.5": pictures,
    "8.6": InFolder(leaking),
}
