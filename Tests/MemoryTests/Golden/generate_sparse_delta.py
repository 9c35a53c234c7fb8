"""Golden vectors of Sparse Delta Memory by numpy in float64: python generate_sparse_delta.py > sparse_delta.json

Written from the equations, step by step; the rows that a query stands for are found by sorting the scores of all of them. Derivatives are by complex
steps, which are exact to rounding: every function below is analytic, and rows are chosen by real parts. Inputs are rounded to float32 first.
"""

import numpy as np

from complex_step import gelu, golden_case, layer_norm, print_cases, sigmoid


def address(query, keys, side, count):
    """The best rows of one head, of keys [2 n, K / 2], and their weights."""
    half = len(query) // 2
    scores = (keys[:side] @ query[:half])[:, None] + (keys[side:] @ query[half:])[None, :]
    scores = scores.reshape(-1)
    rows = np.argsort(-scores.real, kind="stable")[:count]
    gaps = np.diff(-np.sort(-scores.real))[:count]
    assert (gaps < -1e-6).all(), "rows are too close to a tie for float32"
    weights = np.exp(scores[rows] - scores[rows[0]].real)
    return rows, weights / weights.sum()


def start(c, p):
    """[H S, V]"""
    if c["start"] == "learned":
        return p["start"]
    if c["start"] == "factorized":
        return p["startRowBias"][:, None] + np.repeat(p["startColumnBias"], c["rows"], axis=0)
    return np.zeros((c["heads"] * c["rows"], c["valueWidth"]))


def mixer(c, p, x, memory, before, resets):
    """One sequence [T, D]; returns outputs, the memory after it [H S, V] and the last positions [W - 1, C]."""
    heads, kw, vw, width, rows = c["heads"], c["keyWidth"], c["valueWidth"], c["convolution"], c["rows"]
    side = round(rows**0.5)
    channels = np.concatenate([before, x @ p["projection.weight"].T])
    first = start(c, p)
    memory = (first if memory is None else memory).astype(channels.dtype)
    outputs = []
    seen = 0
    for t in range(len(x)):
        if resets[t]:
            memory, seen = first.astype(channels.dtype), t + width - 1
        z = sum(p["convolution"][:, j] * channels[t + j] for j in range(width) if t + j >= seen)
        y = z * sigmoid(z)
        gates = p["gates.weight"] @ x[t]
        strength = sigmoid(gates[:heads])
        g = -np.exp(p["rateBias"]) * np.log1p(np.exp(gates[heads:] + p["stepBias"]))
        row = []
        memory = memory.copy()
        for h in range(heads):
            q = layer_norm(y[h * kw:(h + 1) * kw], p["queryNorm.weight"])
            k = layer_norm(y[(heads + h) * kw:(heads + h + 1) * kw], p["keyNorm.weight"])
            v = y[2 * heads * kw + h * vw:2 * heads * kw + (h + 1) * vw]
            keys = p["productKeys"][2 * h * side:2 * (h + 1) * side]
            written, k = address(k, keys, side, c["writes"])
            read, q = address(q, keys, side, c["reads"])
            own = memory[h * rows:(h + 1) * rows]
            own[written] *= np.exp(g[h])
            own[written] += np.outer(k, strength[h] * (v - k @ own[written]))
            o = q @ own[read]
            row.append(o / np.sqrt((o * o).mean() + 1e-5) * p["outputNorm.weight"])
        outputs.append(p["output.weight"] @ (np.concatenate(row) * sigmoid(p["outputGate.weight"] @ x[t])))
    last = channels[len(x):].copy()
    last[:max(0, seen - len(x))] = 0
    return np.array(outputs), memory, last


def core(c, values, resets):
    """Outputs [B, T, D] and, of each layer, the states [B, H S, V] and [B, W - 1, C]."""
    x = values["x"]
    batch, steps = x.shape[:2]
    resets = np.array(resets or [False] * (batch * steps)).reshape(batch, steps)
    if "core.input.weight" in values:
        x = x @ values["core.input.weight"].T + values["core.input.bias"]
    states = []
    for layer in range(c["layers"]):
        path = f"core.{layer}."
        p = {name[len(path):]: value for name, value in values.items() if name.startswith(path)}
        normal = layer_norm(x, p["mixerNorm.weight"], p["mixerNorm.bias"])
        none = np.zeros((c["convolution"] - 1, len(p["convolution"])))
        mixed = [
            mixer(
                c, p, normal[b], values[f"state.{path}memory"][b] if f"state.{path}memory" in values else None,
                values[f"state.{path}convolution"][b] if f"state.{path}memory" in values else none, resets[b])
            for b in range(batch)
        ]
        x = x + np.array([m[0] for m in mixed])
        states += [np.array([m[1] for m in mixed]), np.array([m[2] for m in mixed])]
        normal = layer_norm(x, p["feedForwardNorm.weight"], p["feedForwardNorm.bias"])
        inner = gelu(normal @ p["feedForward.input.weight"].T + p["feedForward.input.bias"])
        x = x + inner @ p["feedForward.output.weight"].T + p["feedForward.output.bias"]
    return [layer_norm(x, values["core.finalNorm.weight"], values["core.finalNorm.bias"])] + states


def make(name, seed, batch, steps, inputs, state, resets=None, **c):
    random = np.random.default_rng(seed)
    heads, kw, vw, width, d, f = c["heads"], c["keyWidth"], c["valueWidth"], c["convolution"], c["width"], c["feedForward"]
    channels, rows, side = heads * (2 * kw + vw), c["rows"], round(c["rows"]**0.5)
    shapes = {"x": (batch, steps, inputs), "core.finalNorm.weight": (d,), "core.finalNorm.bias": (d,)}
    if inputs != d:
        shapes |= {"core.input.weight": (d, inputs), "core.input.bias": (d,)}
    for layer in range(c["layers"]):
        path = f"core.{layer}."
        shapes |= {
            path + "mixerNorm.weight": (d,), path + "mixerNorm.bias": (d,), path + "projection.weight": (channels, d),
            path + "convolution": (channels, width), path + "queryNorm.weight": (kw,), path + "keyNorm.weight": (kw,),
            path + "productKeys": (2 * heads * side, kw // 2), path + "gates.weight": (2 * heads, d), path + "rateBias": (heads,),
            path + "stepBias": (heads,), path + "outputGate.weight": (heads * vw, d), path + "outputNorm.weight": (vw,),
            path + "output.weight": (d, heads * vw), path + "feedForwardNorm.weight": (d,), path + "feedForwardNorm.bias": (d,),
            path + "feedForward.input.weight": (f, d), path + "feedForward.input.bias": (f,), path + "feedForward.output.weight": (d, f),
            path + "feedForward.output.bias": (d,),
        }
        if c["start"] == "learned":
            shapes |= {path + "start": (heads * rows, vw)}
        if c["start"] == "factorized":
            shapes |= {path + "startRowBias": (heads * rows,), path + "startColumnBias": (heads, vw)}
        if state:
            shapes |= {f"state.{path}memory": (batch, heads * rows, vw), f"state.{path}convolution": (batch, width - 1, channels)}
    values = {}
    for key, shape in shapes.items():
        scale = 0.5 if key.endswith(("weight", "memory")) else 1.0
        value = scale * random.standard_normal(shape)
        if key.endswith("rateBias"):
            value = np.log(random.uniform(0.1, 2, shape))
        if key.endswith("stepBias"):
            value = value - 2
        values[key] = value.astype(np.float32).astype(np.float64)
    return golden_case(name, c, lambda v: core(c, v, resets), values, random) | ({"resets": resets} if resets else {})


cases = [
    make(
        "two layers from a state", 1, 2, 7, 5, True, layers=2, width=6, heads=2, rows=9, writes=3, reads=4, keyWidth=4, valueWidth=3,
        convolution=4, feedForward=7, start="zero"),
    make(
        "from a learned start", 2, 3, 6, 4, False, layers=1, width=4, heads=2, rows=16, writes=4, reads=2, keyWidth=6, valueWidth=2,
        convolution=3, feedForward=5, start="learned"),
    make(
        "documents, from a factorised start", 3, 2, 8, 5, True,
        [False, False, True, True, False, False, False, False] + [True] + [False] * 6 + [True], layers=1, width=5, heads=1, rows=4, writes=3,
        reads=3, keyWidth=4, valueWidth=4, convolution=4, feedForward=6, start="factorized"),
]
print_cases(cases)
