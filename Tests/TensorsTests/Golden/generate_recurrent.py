"""Golden vectors for Mneme's recurrent operations, computed by PyTorch in float64.

Run from this folder:  python generate_recurrent.py > recurrent.json   (PyTorch 2; the version is stored in the file)

PyTorch has no GRU with the reset gate before the product: that one is written out here, from equations 5 to 8 of Cho et al. 2014.

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


def reset_before(x, leaves, width):
    """All states of the GRU with the reset gate before the product, [B, T, H]. It has the input bias alone."""
    hidden = leaves["hidden"] if "hidden" in leaves else torch.zeros(x.shape[0], width).double()
    u_gates, u_candidate = leaves["hiddenWeight"].split([2 * width, width])
    states = []
    for step in range(x.shape[1]):
        from_input = x[:, step] @ leaves["inputWeight"].T + leaves["inputBias"]
        reset, update = torch.sigmoid(from_input[:, :2 * width] + hidden @ u_gates.T).chunk(2, dim=1)
        candidate = torch.tanh(from_input[:, 2 * width:] + (reset * hidden) @ u_candidate.T)
        hidden = (1 - update) * candidate + update * hidden
        states.append(hidden)
    return torch.stack(states, dim=1)


def run(kind, batch, steps, inputs, width, has_state):
    gates = {"lstm": 4, "elman": 1}.get(kind, 3)
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
    if kind == "gru-reset-before":
        del leaves["hiddenBias"]
        outputs = reset_before(leaves["x"], leaves, width)
        return store(kind, [batch, steps, inputs, width], leaves, [outputs, outputs[:, -1]])
    layers = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "elman": torch.nn.RNN}
    layer = layers[kind](inputs, width, batch_first=True).double()
    weights = {f"{name}_l0": leaves[key] for name, key in (
        ("weight_ih", "inputWeight"), ("weight_hh", "hiddenWeight"), ("bias_ih", "inputBias"), ("bias_hh", "hiddenBias"))}
    state = None
    if has_state:
        state = leaves["hidden"].unsqueeze(0)
        if kind == "lstm":
            state = (state, leaves["cell"].unsqueeze(0))
    outputs, last = torch.func.functional_call(layer, weights, (leaves["x"], state))
    store(kind, [batch, steps, inputs, width], leaves, [outputs, *(last if kind == "lstm" else (last,))])


def store(kind, extents, leaves, parts):
    output = torch.cat([part.flatten() for part in parts])
    seed = torch.randn(output.shape).float().double()
    output.backward(seed)
    cases.append({
        "name": kind,
        "attributes": {"extents": extents},
        "inputs": {k: {"shape": list(v.shape), "values": numbers(v)} for k, v in leaves.items()},
        "output": {"shape": list(output.shape), "values": numbers(output)},
        "outputGradient": {"shape": list(output.shape), "values": numbers(seed)},
        "gradients": {k: {"shape": list(v.shape), "values": numbers(v.grad)} for k, v in leaves.items()},
    })


for kind in ("lstm", "gru", "elman", "gru-reset-before"):
    run(kind, 3, 4, 5, 7, True)
    run(kind, 3, 4, 5, 7, False)
    run(kind, 1, 6, 3, 17, True)
    run(kind, 2, 1, 4, 5, True)
    run(kind, 2, 1, 4, 5, False)
    run(kind, 1, 1, 1, 1, True)

json.dump({"torch": torch.__version__, "cases": cases}, sys.stdout, separators=(",", ":"))
sys.stdout.write("\n")
