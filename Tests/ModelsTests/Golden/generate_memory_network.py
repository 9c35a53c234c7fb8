"""Golden vectors of the end-to-end memory network, from an independent program in PyTorch (float64): losses, attention and gradients.

    python3 generate_memory_network.py     writes memory-network.json beside itself

Made with PyTorch 2.x. Each story is read by itself with plain loops; gradients come from PyTorch's own differentiation.
"""
import json
import math
import os

import torch

torch.manual_seed(5)
torch.set_default_dtype(torch.float64)
V, D, M, HOPS = 12, 6, 5, 3
STORIES = [
    ([[1, 2, 3], [4, 2], [5, 6, 7, 8], [9]], [4, 3, 2, 1], [2, 10], 3),
    ([[8, 8, 1]], [1], [4, 5, 6], 7),
    ([[1, 11], [2, 2, 2, 2, 2], [3, 4]], [7, 3, 1], [11], 11),
]
LONGEST = 5
CASES = [
    dict(name="adjacent, position", tying="adjacent", encoding="position", rectifier="none", linear=False, empty=False, transition=False),
    dict(name="adjacent, released position, empty slots", tying="adjacent", encoding="released-position", rectifier="none", linear=False, empty=True, transition=False),
    dict(name="adjacent, linear start", tying="adjacent", encoding="released-position", rectifier="none", linear=True, empty=True, transition=False),
    dict(name="adjacent, all rectified", tying="adjacent", encoding="bag", rectifier="all", linear=False, empty=False, transition=False),
    dict(name="layer-wise, half rectified", tying="layer-wise", encoding="position", rectifier="half", linear=False, empty=False, transition=True),
]


def weights(case, length, places):
    """Rows of weights for the words of a sentence, and for its temporal row."""
    k = torch.arange(1, D + 1.0)
    if case["encoding"] == "bag":
        return [torch.ones(D)] * length, torch.ones(D)
    if case["encoding"] == "position":
        return [(1 - j / length) - (k / D) * (1 - 2 * j / length) for j in range(1, length + 1)], torch.ones(D)
    row = lambda j: 1 + 4 * (k - (D + 1) / 2) * (j - (places + 1) / 2) / (D * places)
    return [row(min(j, places)) for j in range(1, length + 1)], row(places)


def bag(case, table, words, time=None):
    rows, last = weights(case, len(words), LONGEST + 1)
    total = sum(w * table[word] for w, word in zip(rows, words))
    return total if time is None else total + last * time


def run(case):
    adjacent = case["tying"] == "adjacent"
    names = [f"memory.{k}" for k in range(HOPS + 1)] if adjacent else ["memory.input", "memory.output"]
    parameters = {}
    def make(name, *shape):
        value = torch.randn(*shape) * 0.5
        if name.endswith(".words"):
            value[0] = 0
        parameters[name] = value.requires_grad_()
    if not adjacent:
        make("question.words", V, D)
    for name in names:
        make(name + ".words", V, D)
        make(name + ".times", M, D)
    if case["transition"]:
        make("transition", D, D)
    if not adjacent:
        make("output.weight", V, D)
    loss, attention = 0, [[] for _ in range(HOPS)]
    rectified = {"none": 0, "half": D // 2, "all": D}[case["rectifier"]]
    for sentences, ages, question, answer in STORIES:
        u = bag(case, parameters["memory.0.words" if adjacent else "question.words"], question)
        for hop in range(HOPS):
            keys, values = (names[hop], names[hop + 1]) if adjacent else names
            m = torch.stack([bag(case, parameters[keys + ".words"], s, parameters[keys + ".times"][min(a, M) - 1]) for s, a in zip(sentences, ages)])
            c = torch.stack([bag(case, parameters[values + ".words"], s, parameters[values + ".times"][min(a, M) - 1]) for s, a in zip(sentences, ages)])
            score = m @ u
            if case["linear"]:
                p = score
            else:
                blanks = M - len(sentences) if case["empty"] else 0
                p = torch.softmax(torch.cat([score, torch.zeros(blanks)]), 0)[: len(sentences)]
            attention[hop] += p.tolist()
            u = (parameters["transition"] @ u if case["transition"] else u) + p @ c
            if rectified:
                u = torch.cat([u[: D - rectified], torch.relu(u[D - rectified :])])
        scores = (parameters[names[-1] + ".words"] if adjacent else parameters["output.weight"]) @ u
        loss = loss - torch.log_softmax(scores[1:], 0)[answer - 1]
    loss.backward()
    # What float32 cannot hold is written as 0.
    short = lambda x: float(f"{x:.9g}") if abs(x) > 1e-30 else 0.0
    flat = lambda t: [short(x) for x in t.flatten().tolist()]
    return dict(
        case, loss=loss.item(), attention=[short(x) for row in attention for x in row],
        parameters={n: flat(p.detach()) for n, p in parameters.items()}, gradients={n: flat(p.grad) for n, p in parameters.items()})


with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "memory-network.json"), "w") as file:
    json.dump(
        dict(
            vocabulary=V, width=D, slots=M, hops=HOPS, longestSentence=LONGEST, sentences=[s[0] for s in STORIES], ages=[s[1] for s in STORIES],
            questions=[s[2] for s in STORIES], answers=[s[3] for s in STORIES], cases=[run(case) for case in CASES]), file, separators=(",", ":"))
