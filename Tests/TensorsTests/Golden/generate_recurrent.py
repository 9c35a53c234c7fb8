"""Golden vectors for Mneme's recurrent operations, computed by PyTorch's own layers in float64.

Run from this folder:  python generate_recurrent.py > recurrent.json   (PyTorch 2; the version is stored in the file)

The form is that of operations.json. The output of a case is the outputs of all steps, the last hidden state and, for an LSTM, the last cell, one after
another, so that a gradient arrives at each of them.
"""

import json
import sys

import torch

torch.manual_seed(20240911)
cases = []


def numbers(tensor):
    return [float(f"{v:.9g}") for v in tensor.detach().double().flatten().tolist()]


def normal(*shape, scale=1.0):
    return (torch.randn(*shape) * scale).float().double()


def run(kind, batch, steps, inputs, width, has_state):
    gates = 4 if kind == "lstm" else 3
    leaves = {
        "x": normal(batch, steps, inputs),
        "inputWeight": normal(gates * width, inputs, scale=0.6),
        "hiddenWeight": normal(gates * width, width, scale=0.6),
        "inputBias": normal(gates * width, scale=0.5),
        "hiddenBias": normal(gates * width, scale=0.5),
    }
    if has_state:
        leaves["hidden"] = normal(batch, width)
        if kind == "lstm":
            leaves["cell"] = normal(batch, width)
    leaves = {key: value.requires_grad_(True) for key, value in leaves.items()}
    layer = (torch.nn.LSTM if kind == "lstm" else torch.nn.GRU)(inputs, width, batch_first=True).double()
    weights = {f"{name}_l0": leaves[key] for name, key in (
        ("weight_ih", "inputWeight"), ("weight_hh", "hiddenWeight"), ("bias_ih", "inputBias"), ("bias_hh", "hiddenBias"))}
    state = None
    if has_state:
        state = leaves["hidden"].unsqueeze(0)
        if kind == "lstm":
            state = (state, leaves["cell"].unsqueeze(0))
    outputs, last = torch.func.functional_call(layer, weights, (leaves["x"], state))
    parts = [outputs, *(last if kind == "lstm" else (last,))]
    output = torch.cat([part.flatten() for part in parts])
    seed = torch.randn(output.shape).float().double()
    output.backward(seed)
    cases.append({
        "name": kind,
        "attributes": {"extents": [batch, steps, inputs, width]},
        "inputs": {k: {"shape": list(v.shape), "values": numbers(v)} for k, v in leaves.items()},
        "output": {"shape": list(output.shape), "values": numbers(output)},
        "outputGradient": {"shape": list(output.shape), "values": numbers(seed)},
        "gradients": {k: {"shape": list(v.shape), "values": numbers(v.grad)} for k, v in leaves.items()},
    })


for kind in ("lstm", "gru"):
    run(kind, 3, 4, 5, 7, True)
    run(kind, 3, 4, 5, 7, False)
    run(kind, 1, 6, 3, 17, True)
    run(kind, 2, 1, 4, 5, True)
    run(kind, 2, 1, 4, 5, False)
    run(kind, 1, 1, 1, 1, True)

json.dump({"torch": torch.__version__, "cases": cases}, sys.stdout, separators=(",", ":"))
sys.stdout.write("\n")
