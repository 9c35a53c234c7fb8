"""What the generators of cores' golden vectors have in common: layers, and derivatives by complex steps, which are exact to rounding."""

import json
import sys

import numpy as np

STEP = 1e-30


def layer_norm(x, gain, bias=0):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + 1e-5) * gain + bias


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def tensor(a):
    return {"shape": list(a.shape), "values": [float(f"{v:.9g}") for v in a.reshape(-1)]}


def golden_case(name, configuration, core, values, random, pending=0):
    """Inputs, outputs, and the gradients of a random weighted sum of the outputs.

    core: the outputs of the values; random: draws the weights; pending: how many of the last outputs are steps that wait, which have no gradient.
    """
    outputs = core(values)
    seeds = [random.standard_normal(o.shape).astype(np.float32).astype(np.float64) for o in outputs[:len(outputs) - pending]]
    gradients = {}
    for key, value in values.items():
        if "pending" in key:
            continue
        gradient = np.zeros(value.size)
        changed = {k: v.astype(np.complex128) for k, v in values.items()}
        flat = changed[key].reshape(-1)
        for i in range(value.size):
            flat[i] += 1j * STEP
            gradient[i] = sum((o * s).sum() for o, s in zip(core(changed), seeds)).imag / STEP
            flat[i] -= 1j * STEP
        gradients[key] = gradient.reshape(value.shape)
    print(name, file=sys.stderr)
    return {
        "name": name, "configuration": configuration, "inputs": {k: tensor(v) for k, v in values.items()}, "outputs": [tensor(o) for o in outputs],
        "outputGradients": [tensor(s) for s in seeds], "gradients": {k: tensor(v) for k, v in gradients.items()},
    }


def print_cases(cases):
    print(json.dumps({"cases": cases}, separators=(",", ":")))
