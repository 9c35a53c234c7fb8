"""Golden vectors of Memformers by numpy in float64: python generate_memformer.py > memformer.json

Written from the equations, one sequence, one head and one slot after the other. Derivatives are by complex steps, which are exact to rounding. Inputs
are rounded to float32 first.
"""

import numpy as np

from complex_step import gelu, golden_case, layer_norm, print_cases


def softmax(scores):
    weights = np.exp(scores - scores.real.max())
    return weights / weights.sum()


def unit_length(m):
    return m / np.sqrt((m * m).sum(-1, keepdims=True) + 1e-8)


def self_attention(p, x, heads):
    """Causal attention of one sequence [n, D]."""
    d = x.shape[1]
    size = d // heads
    packed = x @ p["attention.qkv.weight"].T + p["attention.qkv.bias"]
    rows = []
    for t in range(len(x)):
        row = []
        for h in range(heads):
            q = packed[t, h * size:(h + 1) * size]
            k = packed[:t + 1, d + h * size:d + (h + 1) * size]
            v = packed[:t + 1, 2 * d + h * size:2 * d + (h + 1) * size]
            row.append(softmax(k @ q / np.sqrt(size)) @ v)
        rows.append(np.concatenate(row))
    return np.array(rows) @ p["attention.output.weight"].T + p["attention.output.bias"]


def read(p, x, slots, heads):
    """What positions [n, D] find in slots [k, D]."""
    d = x.shape[1]
    size = d // heads
    queries = x @ p["slotAttention.query.weight"].T + p["slotAttention.query.bias"]
    both = np.sqrt(d) * slots @ p["slotAttention.keyValue.weight"].T + p["slotAttention.keyValue.bias"]
    rows = []
    for q in queries:
        row = []
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            row.append(softmax(both[:, :d][:, part] @ q[part] / np.sqrt(size)) @ both[:, d:][:, part])
        rows.append(np.concatenate(row))
    return np.array(rows) @ p["slotAttention.output.weight"].T + p["slotAttention.output.bias"]


def write(values, hidden, slots, heads, temperature):
    """The slots after a segment of hidden states [S, D]."""
    d = hidden.shape[1]
    size = d // heads
    x = layer_norm(hidden, values["core.slotNorm.weight"], values["core.slotNorm.bias"])
    keys, taken = x @ values["core.slotKey.weight"].T, x @ values["core.slotValue.weight"].T
    result = []
    for slot, bias in zip(slots, values["core.slotBias"]):
        u = np.sqrt(d) * slot
        query, own = values["core.slotQuery.weight"] @ u, values["core.slotKey.weight"] @ u
        parts = []
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            scores = np.concatenate([[query[part] @ own[part]], keys[:, part] @ query[part]])
            weights = softmax(scores / (temperature * np.sqrt(size)))
            parts.append(weights[0] * slot[part] + weights[1:] @ taken[:, part])
        result.append(unit_length(np.concatenate(parts) + bias))
    return np.array(result)


def sequence(c, values, b):
    """Outputs [T, D] of one sequence, and its state behind them."""
    segment = c["segment"]
    if "state.core.slots" in values:
        slots, pending = values["state.core.slots"][b], int(values["state.core.pendingCount"][b].real)
        steps = np.concatenate([values["state.core.pending"][b, :pending].real, values["x"][b]])
    else:
        slots, pending, steps = unit_length(values["core.slotBias"]), 0, values["x"][b]
    outputs, place = [], 0
    while place < len(steps):
        part = steps[place:place + segment]
        place += len(part)
        x = part
        if "core.input.weight" in values:
            x = x @ values["core.input.weight"].T + values["core.input.bias"]
        x = x + values["core.positions"][:len(part)]
        for layer in range(c["layers"]):
            path = f"core.{layer}."
            p = {name[len(path):]: value for name, value in values.items() if name.startswith(path)}
            x = x + self_attention(p, layer_norm(x, p["attentionNorm.weight"], p["attentionNorm.bias"]), c["heads"])
            x = x + read(p, layer_norm(x, p["slotAttentionNorm.weight"], p["slotAttentionNorm.bias"]), slots, c["heads"])
            normal = layer_norm(x, p["feedForwardNorm.weight"], p["feedForwardNorm.bias"])
            inner = gelu(normal @ p["feedForward.input.weight"].T + p["feedForward.input.bias"])
            x = x + inner @ p["feedForward.output.weight"].T + p["feedForward.output.bias"]
        if len(part) == segment:
            slots = write(values, x, slots, c["heads"], c["temperature"])
        outputs.append(x)
    result = layer_norm(np.concatenate(outputs)[pending:], values["core.finalNorm.weight"], values["core.finalNorm.bias"])
    rest = len(steps) % segment
    left = np.concatenate([steps[len(steps) - rest:].real, np.zeros((segment - 1 - rest, steps.shape[1]))])
    return result, {"core.slots": slots, "core.pending": left, "core.pendingCount": np.array(float(rest))}


NAMES = ["core.slots", "core.pending", "core.pendingCount"]


def core(c, values):
    """Outputs [B, T, D] and the states."""
    parts = [sequence(c, values, b) for b in range(len(values["x"]))]
    return [np.array([outputs for outputs, _ in parts])] + [np.array([state[name] for _, state in parts]) for name in NAMES]


def make(name, seed, batch, steps, inputs, pending, **c):
    """With `pending` None sequences begin."""
    random = np.random.default_rng(seed)
    d, f, k, segment = c["width"], c["feedForward"], c["slots"], c["segment"]
    shapes = {"x": (batch, steps, inputs), "core.positions": (segment, d)}
    if inputs != d:
        shapes |= {"core.input.weight": (d, inputs), "core.input.bias": (d,)}
    for layer in range(c["layers"]):
        path = f"core.{layer}."
        shapes |= {
            path + "attentionNorm.weight": (d,), path + "attentionNorm.bias": (d,), path + "attention.qkv.weight": (3 * d, d),
            path + "attention.qkv.bias": (3 * d,), path + "attention.output.weight": (d, d), path + "attention.output.bias": (d,),
            path + "slotAttentionNorm.weight": (d,), path + "slotAttentionNorm.bias": (d,), path + "slotAttention.query.weight": (d, d),
            path + "slotAttention.query.bias": (d,), path + "slotAttention.keyValue.weight": (2 * d, d),
            path + "slotAttention.keyValue.bias": (2 * d,), path + "slotAttention.output.weight": (d, d),
            path + "slotAttention.output.bias": (d,), path + "feedForwardNorm.weight": (d,), path + "feedForwardNorm.bias": (d,),
            path + "feedForward.input.weight": (f, d), path + "feedForward.input.bias": (f,), path + "feedForward.output.weight": (d, f),
            path + "feedForward.output.bias": (d,),
        }
    shapes |= {
        "core.slotNorm.weight": (d,), "core.slotNorm.bias": (d,), "core.slotQuery.weight": (d, d), "core.slotKey.weight": (d, d),
        "core.slotValue.weight": (d, d), "core.slotBias": (k, d), "core.finalNorm.weight": (d,), "core.finalNorm.bias": (d,),
    }
    if pending is not None:
        shapes |= {"state.core.slots": (batch, k, d), "state.core.pending": (batch, segment - 1, inputs)}
    values = {}
    for key, shape in shapes.items():
        value = (0.5 if key.endswith("weight") else 1.0) * random.standard_normal(shape)
        if key == "state.core.slots":
            value = unit_length(value)
        values[key] = value.astype(np.float32).astype(np.float64)
    if pending is not None:
        values["state.core.pendingCount"] = np.full(batch, float(pending))
        values["state.core.pending"][:, pending:] = 0
    return golden_case(name, c, lambda v: core(c, v), values, random, pending=2)


common = dict(layers=2, width=4, heads=2, slots=3, feedForward=5, segment=3)
cases = [
    make("two segments and a half", 1, 2, 8, 3, None, temperature=0.5, **common),
    make("from within a segment", 11, 1, 5, 4, 2, temperature=0.25, **common),
]
print_cases(cases)
