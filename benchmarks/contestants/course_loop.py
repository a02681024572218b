"""The loop that PyTorch courses teach first, with the TinyVGG of the CNN Explainer.

Written by us from what is publicly known of such courses: torchvision's data set with ToTensor,
a DataLoader with batches of 32, ten hidden units, SGD with learning rate 0.1. Courses stop after
three to five epochs; here it runs for up to twenty.
"""

import torch
from stopwatch import Stopwatch, torchvision_splits
from torch import nn
from torch.utils.data import DataLoader

watch = Stopwatch()
train, test = torchvision_splits(watch.dataset, normalize=False)
train_loader = DataLoader(train, batch_size=32, shuffle=True)
test_loader = DataLoader(test, batch_size=32)


def block(channels_in: int, channels_out: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels_in, channels_out, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(channels_out, channels_out, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
    ]


model = nn.Sequential(*block(1, 10), *block(10, 10), nn.Flatten(), nn.Linear(490, 10))
model.to(watch.device)
loss_of = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

for _ in range(20):
    model.train()
    for images, targets in train_loader:
        images, targets = images.to(watch.device), targets.to(watch.device)
        loss = loss_of(model(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    right = 0
    with torch.inference_mode():
        for images, targets in test_loader:
            images, targets = images.to(watch.device), targets.to(watch.device)
            right += (model(images).argmax(dim=1) == targets).sum().item()
    watch.lap(right / len(test))
watch.finish()
