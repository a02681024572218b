"""The network of PyTorch's own MNIST example, which Lightning's example also uses."""

import torch.nn.functional as F
from torch import Tensor, nn


class ExampleNet(nn.Module):
    """conv 32, conv 64, max-pool, dropout, two linear layers. 1,199,882 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.head = nn.Sequential(
            nn.Dropout(0.25),
            nn.Flatten(),
            nn.Linear(64 * 12 * 12, 128),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(128, 10),
        )

    def forward(self, images: Tensor) -> Tensor:  # (N, 1, 28, 28)
        return F.log_softmax(self.head(self.features(images)), dim=1)  # (N, 10)
