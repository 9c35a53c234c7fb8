"""Learning rates of PyTorch's own ReduceLROnPlateau, for the schedule of kind plateau.

    python3 plateau.py     writes plateau.json beside itself

Made with PyTorch 2.x. The losses stall, improve by less and by more than the threshold, get worse, and are not a number once.
"""
import json
import math
import os
import random

import torch

random.seed(4)
CASES = [
    dict(base=0.5, factor=0.5, patience=2, threshold=1e-4, floor=0.0),
    dict(base=0.01, factor=1 / 1.5, patience=0, threshold=1e-4, floor=0.0),
    dict(base=1.0, factor=0.1, patience=1, threshold=0.01, floor=2e-3),
    dict(base=0.3, factor=0.7, patience=3, threshold=0.0, floor=0.05),
]


def run(case):
    losses, loss = [], 6.0
    for index in range(40):
        # Falls quickly, then hardly, then rises.
        loss += random.uniform(-0.3, 0.05) if index < 12 else random.uniform(-0.01, 0.01) if index < 25 else random.uniform(-0.02, 0.06)
        losses.append(loss)
    losses[18] = math.nan
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=case["base"])
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=case["factor"], patience=case["patience"], threshold=case["threshold"], min_lr=case["floor"], eps=0)
    rates = []
    for loss in losses:
        scheduler.step(loss)
        rates.append(optimizer.param_groups[0]["lr"])
    return dict(case, losses=[None if math.isnan(loss) else loss for loss in losses], rates=rates)


with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "plateau.json"), "w") as file:
    json.dump([run(case) for case in CASES], file, separators=(",", ":"))
