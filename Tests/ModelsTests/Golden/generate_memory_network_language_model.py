"""Golden vectors of the end-to-end memory network as a language model, from an independent program in PyTorch (float64): losses, attention, gradients.

    python3 generate_memory_network_language_model.py     writes memory-network-language-model.json beside itself

Made with PyTorch 2.x. The memories of every position are gathered by themselves, word by word; gradients come from PyTorch's own differentiation.
"""
import json
import os

import torch

torch.manual_seed(9)
torch.set_default_dtype(torch.float64)
V, D = 11, 7
INPUTS = [[3, 1, 4, 1, 5, 9, 2, 6, 5], [0, 0, 7, 10, 8, 2, 8, 1, 8], [2, 7, 1, 8, 2, 8, 1, 8, 2]]
TARGETS = [[1, 4, 1, 5, 9, 2, 6, 5, 3], [0, 7, 10, 8, 2, 8, 1, 8, -1], [7, 1, 8, -1, -1, 8, 1, 8, 2]]
# What each sequence has read before, the latest last.
BEFORE = [[6, 2, 8, 3, 1, 8, 5, 3, 0, 7, 1, 7, 9], [4, 10], []]
CASES = [
    dict(name="layer-wise", tying="layer-wise", transition=True, rectifier="half", hops=3, memory=5, carried=True),
    dict(name="layer-wise, nothing remembered", tying="layer-wise", transition=True, rectifier="half", hops=3, memory=5, carried=False),
    dict(name="adjacent", tying="adjacent", transition=False, rectifier="none", hops=3, memory=4, carried=True),
    dict(name="adjacent with transition, all rectified", tying="adjacent", transition=True, rectifier="all", hops=2, memory=12, carried=True),
    dict(name="a window longer than the text", tying="layer-wise", transition=False, rectifier="half", hops=2, memory=14, carried=False),
    dict(name="one word, one hop", tying="layer-wise", transition=True, rectifier="none", hops=1, memory=1, carried=True),
]


def run(case):
    hops, window = case["hops"], case["memory"]
    adjacent = case["tying"] == "adjacent"
    names = [f"memory.{k}" for k in range(hops + 1)] if adjacent else ["memory.input", "memory.output"]
    parameters = {}
    def make(name, *shape):
        parameters[name] = (torch.randn(*shape) * 0.5).requires_grad_()
    for name in names:
        make(name + ".words.weight", V, D)
        make(name + ".times", window, D)
    if case["transition"]:
        make("transition", D, D)
    if not adjacent:
        make("output.weight", V, D)
    output = parameters[names[-1] + ".words.weight" if adjacent else "output.weight"]
    rectified = {"none": 0, "half": D // 2, "all": D}[case["rectifier"]]
    loss, attention = 0, []
    for inputs, targets, before in zip(INPUTS, TARGETS, BEFORE):
        text = (before if case["carried"] else []) + inputs
        for position, target in enumerate(targets):
            end = len(text) - len(inputs) + position
            ages = range(1, min(window, end + 1) + 1)
            u = torch.full((D,), 0.1)
            for hop in range(hops):
                keys, values = (names[hop], names[hop + 1]) if adjacent else names
                m = torch.stack([parameters[keys + ".words.weight"][text[end - a + 1]] + parameters[keys + ".times"][a - 1] for a in ages])
                c = torch.stack([parameters[values + ".words.weight"][text[end - a + 1]] + parameters[values + ".times"][a - 1] for a in ages])
                p = torch.softmax(m @ u, 0)
                u = (parameters["transition"] @ u if case["transition"] else u) + p @ c
                if rectified:
                    u = torch.cat([u[: D - rectified], torch.relu(u[D - rectified :])])
                if inputs is INPUTS[0] and position == len(inputs) - 1:
                    attention.append(p.flip(0).tolist())
            if target >= 0:
                loss = loss - torch.log_softmax(output @ u, 0)[target]
    loss.backward()
    # What float32 cannot hold is written as 0.
    short = lambda x: float(f"{x:.9g}") if abs(x) > 1e-30 else 0.0
    flat = lambda t: [short(x) for x in t.flatten().tolist()]
    return dict(
        case, loss=loss.item(), attention=[[short(x) for x in row] for row in attention],
        parameters={n: flat(p.detach()) for n, p in parameters.items()}, gradients={n: flat(p.grad) for n, p in parameters.items()})


with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "memory-network-language-model.json"), "w") as file:
    json.dump(
        dict(vocabulary=V, width=D, inputs=INPUTS, targets=TARGETS, before=BEFORE, cases=[run(case) for case in CASES]), file, separators=(",", ":"))
