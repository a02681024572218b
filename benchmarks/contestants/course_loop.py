"""The loop that PyTorch courses teach first, with the TinyVGG of the CNN Explainer.

Written by us from what is publicly known of such courses: torchvision's data set with ToTensor,
a DataLoader with batches of 32, ten hidden units, SGD with learning rate 0.1. Courses stop after
three to five epochs; here it runs for up to twenty.
"""

import torch
from stopwatch import Stopwatch
from torch import nn
from torch.utils.data import DataLoader

watch = Stopwatch()
batch_size, epochs = watch.options.batch_size or 32, watch.options.epochs or 20
train, test = watch.torchvision_splits(normalize=False)
train_loader = DataLoader(train, batch_size=batch_size, shuffle=True)
test_loader = DataLoader(test, batch_size=batch_size)


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
schedule = watch.schedule(optimizer, epochs, len(train_loader))

for epoch in range(1, epochs + 1):
    model.train()
    for images, targets in train_loader:
        images, targets = images.to(watch.device), targets.to(watch.device)
        with watch.autocast():
            loss = loss_of(model(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    if epoch % watch.interval(epochs) > 0:
        continue
    model.eval()
    right = 0
    with torch.inference_mode(), watch.autocast():
        for images, targets in test_loader:
            images, targets = images.to(watch.device), targets.to(watch.device)
            right += (model(images).argmax(dim=1) == targets).sum().item()
    watch.lap(right / len(test))
watch.finish()
