"""PyTorch's own MNIST example.

Written by us from what is publicly known of it: two convolutions and two linear layers with
dropout, Adadelta with learning rate 1, times 0.7 after each epoch, batches of 64, tests in batches
of 1,000, 14 epochs. The original does not shuffle on the CPU; shuffling here helps it.
"""

import torch
import torch.nn.functional as F
from networks import ExampleNet
from stopwatch import Stopwatch
from torch.utils.data import DataLoader

watch = Stopwatch()
batch_size, epochs = watch.options.batch_size or 64, watch.options.epochs or 14
train, test = watch.torchvision_splits(normalize=True)
train_loader = DataLoader(train, batch_size=batch_size, shuffle=True)
test_loader = DataLoader(test, batch_size=1000)
model = ExampleNet().to(watch.device)
optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0)
schedule = watch.schedule(optimizer, epochs, len(train_loader), gamma=0.7)

for epoch in range(1, epochs + 1):
    model.train()
    for images, targets in train_loader:
        images, targets = images.to(watch.device), targets.to(watch.device)
        optimizer.zero_grad()
        with watch.autocast():
            loss = F.nll_loss(model(images), targets)
        loss.backward()
        optimizer.step()
        schedule.step()
    if epoch % watch.interval(epochs) > 0:
        continue
    model.eval()
    right = 0
    with torch.no_grad(), watch.autocast():
        for images, targets in test_loader:
            images, targets = images.to(watch.device), targets.to(watch.device)
            right += (model(images).argmax(dim=1) == targets).sum().item()
    watch.lap(right / len(test))
watch.finish()
