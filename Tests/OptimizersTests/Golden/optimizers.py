"""Writes optimizers.json: ten steps of torch.optim's rules on seeded values and gradients.

Made with PyTorch 2.15 on the CPU, single-tensor implementation. Run: python3 optimizers.py
The first DECAYING parameters take weight decay, the others do not.
"""
import json
import pathlib

import torch

COUNT, DECAYING, STEPS = 45, 30, 10

CASES = [
    ("adamw", dict(lr=1e-3), {}),
    ("adamw", dict(lr=7e-4, betas=(0.9, 0.98), eps=1e-9, weight_decay=0.1), dict(betas=[0.9, 0.98], epsilon=1e-9, weightDecay=0.1)),
    ("sgd", dict(lr=0.1), {}),
    ("sgd", dict(lr=0.05, momentum=0.9, weight_decay=1e-2), dict(momentum=0.9, weightDecay=1e-2)),
    ("sgd", dict(lr=0.05, momentum=0.9, weight_decay=1e-2, nesterov=True), dict(momentum=0.9, weightDecay=1e-2, nesterov=True)),
    ("rmsprop", dict(lr=1e-2), {}),
    ("rmsprop", dict(lr=1e-4, alpha=0.95, momentum=0.9, eps=1e-10, weight_decay=1e-2),
     dict(smoothing=0.95, momentum=0.9, epsilon=1e-10, weightDecay=1e-2)),
    ("adagrad", dict(lr=1e-2), {}),
    ("adagrad", dict(lr=0.1, initial_accumulator_value=0.1, eps=1e-6, weight_decay=1e-2),
     dict(initialAccumulator=0.1, epsilon=1e-6, weightDecay=1e-2)),
]
RULES = dict(adamw=torch.optim.AdamW, sgd=torch.optim.SGD, rmsprop=torch.optim.RMSprop, adagrad=torch.optim.Adagrad)

torch.manual_seed(7)
initial = torch.randn(COUNT)
gradients = torch.randn(STEPS, COUNT) * torch.logspace(-4, 1, COUNT)
cases = []
for kind, options, ours in CASES:
    decaying, plain = initial[:DECAYING].clone().requires_grad_(), initial[DECAYING:].clone().requires_grad_()
    rule = RULES[kind]([dict(params=[decaying]), dict(params=[plain], weight_decay=0.0)], foreach=False, **options)
    values = []
    for step in range(STEPS):
        decaying.grad, plain.grad = gradients[step, :DECAYING].clone(), gradients[step, DECAYING:].clone()
        rule.step()
        values.append(torch.cat([decaying.detach(), plain.detach()]).tolist())
    cases.append(dict(kind=kind, learningRate=options["lr"], options=ours, values=values))

target = pathlib.Path(__file__).with_name("optimizers.json")
target.write_text(json.dumps(dict(decaying=DECAYING, initial=initial.tolist(), gradients=gradients.tolist(), cases=cases)) + "\n")
