"""Answers to the exercises of chapter 7: right ones, and wrong ones with a part of their hint."""

import numpy as np
import torch

ACCURACIES = np.array([0.9371, 0.9359, 0.9408, 0.9383, 0.9378])
SUMMARY = (100 * ACCURACIES.mean(), 100 * ACCURACIES.std(ddof=1))
ALARMS = {"chance": 1 - 0.95**20, "level": 0.05 / 20}


def chosen(validation, test):
    return int(validation.sum(dim=1).argmax())


def report(validation, test):
    return test[chosen(validation, test)].float().mean().item()


def report_by_loop(validation, test):
    best = max(range(len(validation)), key=lambda m: validation[m].sum())
    return sum(test[best].tolist()) / test.shape[1]


def best_tested(validation, test):
    return max(row.float().mean() for row in test)


def best_of_both(validation, test):
    right = validation.sum(dim=1) + test.sum(dim=1)
    return test[right.argmax()].float().mean()


def by_einsum(gradients, sizes):
    return torch.einsum("pd,p->d", gradients, sizes / sizes.sum())


def by_loop(gradients, sizes):
    total = torch.zeros(gradients.shape[1])
    for gradient, size in zip(gradients, sizes, strict=True):
        total += size * gradient
    return total / sum(sizes)


def sweep(accuracies, costs, by_cost_only=False):
    best, names = -1.0, []
    for name in sorted(costs, key=lambda n: (costs[n], 0 if by_cost_only else -accuracies[n])):
        if accuracies[name] > best:
            best = accuracies[name]
            names.append(name)
    return names


def pairwise(accuracies, costs):
    names = []
    for a in accuracies:
        for b in accuracies:
            no_worse = accuracies[b] >= accuracies[a] and costs[b] <= costs[a]
            if no_worse and (accuracies[b], costs[b]) != (accuracies[a], costs[a]):
                break
        else:
            names.append(a)
    return tuple(sorted(names, key=costs.get))


def strictly_worse(accuracies, costs):
    names = [
        a
        for a in costs
        if all(accuracies[b] <= accuracies[a] or costs[b] >= costs[a] for b in costs)
    ]
    return sorted(names, key=costs.get)


def next_only(accuracies, costs):
    order = sorted(costs, key=lambda n: (costs[n], -accuracies[n]))
    return [n for i, n in enumerate(order) if not i or accuracies[n] > accuracies[order[i - 1]]]


RIGHT = {
    "7.1": [SUMMARY, [93.798, 0.1816]],
    "7.2": [16, torch.tensor(16)],
    "7.3": [ALARMS, {"chance": 0.6415, "level": 1 - 0.95 ** (1 / 20)}],
    "7.4": [report, report_by_loop],
    "7.5": [by_einsum, by_loop],
    "7.6": [sweep, pairwise],
}
WRONG = {
    "7.1": [
        ((SUMMARY[0], 100 * ACCURACIES.std()), "n − 1"),
        ((SUMMARY[0], SUMMARY[1] / 5**0.5), "standard error"),
        ((SUMMARY[0], SUMMARY[1] ** 2), "variance"),
        ((ACCURACIES.mean(), ACCURACIES.std(ddof=1)), "fractions"),
        (SUMMARY[0], "deviation is missing"),
        (SUMMARY[::-1], "The order"),
        ((93.78, SUMMARY[1]), "median"),
        ("93.80 ± 0.18", "text"),
    ],
    "7.2": [
        (30, "square"),
        (15, "few seeds"),
        (60, "before"),
        (233, "You halve the difference"),
        (32, "How many of each"),
        (20, "Ask"),
    ],
    "7.3": [
        ({**ALARMS, "chance": 20 * 0.05}, "chance: Adding"),
        ({**ALARMS, "chance": 0.95**20}, "chance: That none"),
        ({**ALARMS, "chance": 0.05**20}, "chance: That all twenty"),
        ({**ALARMS, "chance": 64.15}, "chance: It is 100 times too large"),
        ({**ALARMS, "level": 0.05}, "level: At this level"),
        ({**ALARMS, "level": 0.95}, "level: This is one minus"),
        ({**ALARMS, "level": None}, "level: There is no answer"),
    ],
    "7.4": [
        (best_tested, "You choose by the test"),
        (lambda validation, test: validation.float().mean(dim=1).max(), "too high"),
        (chosen, "number of the chosen model"),
        (best_of_both, "by both splits"),
        (lambda validation, test: test.float().mean(), "mean of all models"),
        (lambda validation, test: 100 * report(validation, test), "percentage"),
    ],
    "7.5": [
        (lambda gradients, sizes: sum(gradients) / len(gradients), "plain mean"),
        (lambda gradients, sizes: gradients.sum(dim=0), "too large"),
        (lambda gradients, sizes: (sizes[None] @ gradients)[0], "cannot be called"),
        (lambda gradients, sizes: sizes.float() @ gradients, "sum of losses"),
        (lambda gradients, sizes: sizes.float() @ gradients / len(sizes), "Divide by all images"),
        (lambda gradients, sizes: by_einsum(gradients, sizes).mean(), "The shape is ()"),
    ],
    "7.6": [
        (strictly_worse, "equals in the other"),
        (next_only, "next cheaper model only"),
        (lambda accuracies, costs: [max(accuracies, key=accuracies.get)], "The best alone"),
        (lambda accuracies, costs: sweep(accuracies, costs)[::-1], "cheapest comes first"),
        (lambda accuracies, costs: sweep(accuracies, costs)[1:], "cheapest model is missing"),
        (lambda accuracies, costs: sorted(costs, key=costs.get), "These are all models"),
        (lambda accuracies, costs: set(sweep(accuracies, costs)), "no order"),
        (lambda accuracies, costs: [costs[n] for n in sweep(accuracies, costs)], "list with names"),
    ],
}
