"""Answers to the exercises of chapter 6: right ones, and wrong ones with a part of their hint."""

import torch
from sklearn.metrics import average_precision_score, roc_auc_score

JOINT = [[2, 1, 0], [1, 1, 0], [0, 1, 2]]


def noise(pullovers=0.1, coats=None):
    coats = pullovers if coats is None else coats
    matrix = torch.eye(10)
    matrix[2, [2, 4]] = torch.tensor([1 - pullovers, pullovers])
    matrix[4, [4, 2]] = torch.tensor([1 - coats, coats])
    return matrix


def by_loop(scores, wrong):
    found, notes = 0, []
    for rank, row in enumerate(sorted(range(len(scores)), key=lambda i: -scores[i]), start=1):
        if wrong[row]:
            found += 1
            notes.append(found / rank)
    return sum(notes) / len(notes)


def by_loop_from_0(scores, wrong):
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    notes = [
        sum(bool(wrong[i]) for i in order[: rank + 1]) / max(rank, 1)
        for rank, row in enumerate(order)
        if wrong[row]
    ]
    return sum(notes) / len(notes)


def at_every_label(scores, wrong):
    order = scores.argsort(descending=True)
    return sum(wrong[order[:n]].float().mean() for n in range(1, len(order) + 1)) / len(order)


def at_one_place(scores, wrong):
    top = scores.topk(int(wrong.sum())).indices
    return wrong[top].float().mean()


def gathered(probabilities, part):
    index = part.view(1, -1, 1).expand(1, -1, probabilities.shape[2])
    return probabilities.gather(0, index)[0]


def row_by_row(probabilities, part):
    return torch.stack([probabilities[int(m), i] for i, m in enumerate(part)])


def mean_of_trained(probabilities, part):
    rows = []
    for i, m in enumerate(part):
        rows.append(probabilities[[k for k in range(len(probabilities)) if k != m], i].mean(0))
    return torch.stack(rows)


def distances(train, test):
    flat = train.flatten(1).float(), test.flatten(1).float()
    return torch.cdist(flat[1], flat[0]) / flat[0].shape[1] ** 0.5


def by_cdist(train, test, limit):
    return distances(train, test).min(dim=1).values <= limit + 1e-4


def one_by_one(train, test, limit):
    found = []
    for image in test.int():
        squares = [((image - other) ** 2).float().mean() for other in train.int()]
        found.append(bool(min(squares) <= limit**2))
    return found


def in_bytes(train, test, limit):
    squares = torch.stack([(image - train).float().square() for image in test])
    return (squares.mean(dim=(2, 3, 4)).sqrt() <= limit).any(dim=1)


def summed(train, test, limit):
    return distances(train, test).min(dim=1).values * 4 <= limit


def absolute(train, test, limit):
    return ((test.int()[:, None] - train.int()).abs().float().mean(dim=(2, 3, 4)) <= limit).any(1)


RIGHT = {
    "6.1": [JOINT, torch.tensor(JOINT)],
    "6.2": [0.164, torch.tensor(410 / 2500)],
    "6.3": [noise(), noise().double().numpy()],
    "6.4": [by_loop, lambda scores, wrong: average_precision_score(wrong, scores)],
    "6.5": [gathered, row_by_row],
    "6.6": [by_cdist, one_by_one],
}
WRONG = {
    "6.1": [
        (list(zip(*JOINT, strict=True)), "exchanged"),
        ([[4, 0, 0], [2, 1, 0], [0, 1, 2]], "Where are the thresholds"),
        ([[3, 0, 0], [1, 1, 0], [0, 1, 2]], "One limit for all classes"),
        ([[2, 1, 0], [1, 1, 0], [0, 2, 2]], "It counts once"),
        ([[2, 1, 0], [1, 1, 0], [0, 2, 1]], "take the more probable"),
        ([[2, 0, 0], [1, 1, 0], [0, 1, 2]], "Another may reach"),
        (torch.tensor(JOINT) / 8, "Counts are wanted"),
        (torch.tensor(JOINT).float(), "int64"),
    ],
    "6.2": [
        (110 / 1_000, "Scale each row"),
        (110 / 2_500, "reach no threshold"),
        (410, "Which share of all"),
        (16.4, "percentage"),
        (1 - 0.164, "opposite"),
        (0.22, "cannot be added"),
    ],
    "6.3": [
        (noise(0.05), "So, of each class"),
        (noise(0.1, 0.0), "Only pullovers"),
        (0.9 * torch.eye(10) + 0.1 / 9 * (1 - torch.eye(10)), "random noise"),
        (noise(1.0), "exchanges all labels"),
        (noise() * 100, "100 times too large"),
        (noise() - 0.1 * torch.eye(10), "sum to 1"),
        ([[0.9, 0.1], [0.1, 0.9]], "The shape is (2, 2)"),
    ],
    "6.4": [
        (lambda scores, wrong: by_loop([-s for s in scores], wrong), "lowest score"),
        (at_every_label, "every label"),
        (at_one_place, "one place of the list"),
        (by_loop_from_0, "Ranks begin with 1"),
        (lambda scores, wrong: wrong.float().mean(), "random order"),
        (lambda scores, wrong: roc_auc_score(wrong, scores), "under ROC"),
        (lambda scores, wrong: by_loop(range(len(wrong), 0, -1), wrong), "given order"),
        (lambda scores, wrong: 100 * by_loop(scores, wrong), "percentage"),
    ],
    "6.5": [
        (
            lambda probabilities, part: sum(probabilities) / len(probabilities),
            "They know its label",
        ),
        (mean_of_trained, "just the models that were trained"),
        (lambda probabilities, part: probabilities[0], "Model 0"),
        (lambda probabilities, part: probabilities.amax(dim=0), "most confident"),
        (lambda probabilities, part: gathered(probabilities, part).argmax(1), "These are classes"),
        (lambda probabilities, part: probabilities[part], "Index both axes"),
    ],
    "6.6": [
        (in_bytes, "uint8"),
        (absolute, "absolute"),
        (summed, "You sum over the pixels"),
        (lambda train, test, limit: distances(train, test).min(1).values ** 2 <= limit, "root"),
        (lambda train, test, limit: distances(train, test).min(1).values < limit - 1e-3, "at most"),
        (lambda train, test, limit: by_cdist(test, train, limit), "each training image"),
        (lambda train, test, limit: int(by_cdist(train, test, limit).sum()), "how many"),
        (lambda train, test, limit: distances(train, test) <= limit + 1e-4, "every pair"),
        (lambda train, test, limit: by_cdist(train / 255, test / 255, limit), "in [0, 1]"),
    ],
}
