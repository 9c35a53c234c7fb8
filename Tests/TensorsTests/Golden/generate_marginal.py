"""Golden vectors for Mneme's marginal cross-entropy, computed by NumPy in float64.

Run from this folder:  python generate_marginal.py > marginal.json   (NumPy; the version is stored in the file)

Probabilities are multiplied and added as they stand in the paper's equations (Lewis et al. 2020, section 2.1), no logarithm before the last. Gradients are
complex-step derivatives, exact but for rounding. The form is that of operations.json.
"""

import json
import sys

import numpy as np

random = np.random.default_rng(20261129)
cases = []


def numbers(array):
    return [float(f"{v:.9g}") for v in np.asarray(array, dtype=np.float64).flatten()]


def normal(*shape):
    return random.standard_normal(shape).astype(np.float32).astype(np.float64)


def softmax(values):
    powers = np.exp(values - max(value.real for value in values))
    return powers / powers.sum()


def marginal(logits, scores, targets, form):
    loss, first = 0, 0
    for question, answer in enumerate(targets):
        answer = [token for token in answer if token >= 0]
        if not answer:
            continue
        prior = softmax(scores[question])
        said = [[softmax(logits[first + z * len(answer) + t])[token] for t, token in enumerate(answer)] for z in range(len(prior))]
        first += len(prior) * len(answer)
        if form == "sequence":
            likelihood = sum(prior[z] * np.prod(said[z]) for z in range(len(prior)))
        else:
            likelihood = np.prod([sum(prior[z] * said[z][t] for z in range(len(prior))) for t in range(len(answer))])
        loss = loss - np.log(likelihood)
    return loss


def add(form, records, classes, targets):
    rows = records * sum(token >= 0 for answer in targets for token in answer)
    leaves = {"logits": normal(rows, classes), "scores": normal(len(targets), records)}
    output = marginal(**leaves, targets=targets, form=form)
    gradients = {}
    for leaf, values in leaves.items():
        gradient = np.zeros(values.size)
        for place in range(values.size):
            moved = values.astype(np.complex128).flatten()
            moved[place] += 1e-30j
            gradient[place] = marginal(**{**leaves, leaf: moved.reshape(values.shape)}, targets=targets, form=form).imag / 1e-30
        gradients[leaf] = gradient.reshape(values.shape)
    cases.append({
        "name": f"marginal-{form}",
        "attributes": {"targets": [token for answer in targets for token in answer], "length": [len(targets[0])]},
        "inputs": {k: {"shape": list(v.shape), "values": numbers(v)} for k, v in leaves.items()},
        "output": {"shape": [], "values": numbers(output)},
        "outputGradient": {"shape": [], "values": [1.0]},
        "gradients": {k: {"shape": list(v.shape), "values": numbers(v)} for k, v in gradients.items()},
    })


for form in ["sequence", "token"]:
    add(form, 3, 5, [[1, 4, 0], [2, -1, -1], [-1, -1, -1], [3, 3, -1]])
    add(form, 7, 3, [[0, -1], [-1, 2], [2, 1]])
    add(form, 1, 4, [[3, 0, 1, 2]])
json.dump({"numpy": np.__version__, "cases": cases}, sys.stdout)
