"""Which data sets are there, and what is known of them before they are loaded?"""

import hashlib
from dataclasses import dataclass

from helpers import archives


@dataclass(frozen=True)
class DatasetSpec:
    """What there is to know about a data set before it is loaded."""

    name: str  # what people call it here
    title: str  # what people read
    folder: str  # torchvision's class, and its folder under data/
    class_names: tuple[str, ...]  # by target, 0..K-1
    mean: float  # of the 60,000 training images, pixels scaled to [0, 1]; see pixel_statistics
    std: float

    @property
    def digest(self) -> str:
        """Twelve hex digits that stand for the content of all four files."""
        together = "".join(digest for _, digest in sorted(archives.DIGESTS[self.folder].items()))
        return hashlib.sha256(together.encode()).hexdigest()[:12]


MNIST = DatasetSpec(
    name="mnist",
    title="MNIST",
    folder="MNIST",
    class_names=tuple("0123456789"),
    mean=0.1307,
    std=0.3081,
)
FASHION_MNIST = DatasetSpec(
    name="fashion_mnist",
    title="Fashion-MNIST",
    folder="FashionMNIST",
    class_names=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    mean=0.2860,
    std=0.3530,
)
SPECS = {spec.name: spec for spec in (MNIST, FASHION_MNIST)}


def spec(name: str) -> DatasetSpec:
    """Look a data set up by name. Raises ValueError if there is none of that name."""
    if name not in SPECS:
        raise ValueError(f"There is no data set {name!r}. Choose one of: {', '.join(SPECS)}.")
    return SPECS[name]
