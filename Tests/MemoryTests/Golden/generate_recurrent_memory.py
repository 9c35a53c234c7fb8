"""Golden vectors of recurrent memory transformers by numpy in float64: python generate_recurrent_memory.py > recurrent_memory.json

Written from the equations, one sequence and one memory token after the other. Derivatives are by complex steps, which are exact to rounding; where
the model takes something as a constant, only its real part is used. Inputs are rounded to float32 first.
"""

import numpy as np

from complex_step import gelu, golden_case, layer_norm, print_cases, sigmoid


def rectified(x):
    return np.where(x.real > 0, x, 0)


def features(k):
    """[K] to [6 K]: r times r turned by one, two and three places."""
    r = np.concatenate([rectified(k), rectified(-k)])
    return np.concatenate([r * np.roll(r, places) for places in (1, 2, 3)])


def attention(p, x, heads):
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
            scores = k @ q / np.sqrt(size)
            weights = np.exp(scores - scores.real.max())
            row.append(weights @ v / weights.sum())
        rows.append(np.concatenate(row))
    return np.array(rows) @ p["attention.output.weight"].T + p["attention.output.bias"]


def sequence(c, values, b):
    """Outputs [T, D] of one sequence, and its state behind them."""
    tokens, segment, associative = c["memoryTokens"], c["segment"], c["isAssociative"]
    state = {name[len("state."):]: value[b] for name, value in values.items() if name.startswith("state.")}
    pending = int(state["core.pendingCount"].real)
    steps = np.concatenate([state["core.pending"][:pending].real, values["x"][b]])
    outputs, place = [], 0
    while place < len(steps):
        part = steps[place:place + segment]
        complete = len(part) == segment
        place += len(part)
        if "core.input.weight" in values:
            x = part @ values["core.input.weight"].T + values["core.input.bias"]
        else:
            x = part
        x = x + values["core.positions"][:len(part)]
        first = 0
        if not associative:
            x = np.concatenate([state["core.memory"] + values["core.firstTokens"], x])
            first = tokens
        if complete:
            x = np.concatenate([x, values["core.memoryTokens"]])
        for layer in range(c["layers"]):
            path = f"core.{layer}."
            p = {name[len(path):]: value for name, value in values.items() if name.startswith(path)}
            if associative:
                a, z = state[path + "associations"], state[path + "normalizer"]
                found = []
                for row in x:
                    f = features(p["memoryQuery.weight"] @ row)
                    # A divisor near zero would make float32 another program's numbers.
                    assert (f @ z).real > 0.02
                    found.append(f @ a / (f @ z + 1e-5))
                x = x + np.array(found)
            x = x + attention(p, layer_norm(x, p["attentionNorm.weight"], p["attentionNorm.bias"]), c["heads"])
            normal = layer_norm(x, p["feedForwardNorm.weight"], p["feedForwardNorm.bias"])
            inner = gelu(normal @ p["feedForward.input.weight"].T + p["feedForward.input.bias"])
            x = x + inner @ p["feedForward.output.weight"].T + p["feedForward.output.bias"]
            if complete and associative:
                next_a, next_z = a, z
                for row in x[len(part):]:
                    f = features(p["memoryKey.weight"] @ row)
                    assert (f @ z).real > 0.02
                    strength = sigmoid(p["memoryStrength.weight"] @ row + p["memoryStrength.bias"])
                    change = strength * (p["memoryValue.weight"] @ row - f @ a / (f @ z + 1e-5))
                    share = max(0.0, 1 - float((f.real @ z.real) / (f.real @ f.real + 1e-5)))
                    next_a = next_a + np.outer(f, change)
                    next_z = next_z + share * f
                state[path + "associations"], state[path + "normalizer"] = next_a, next_z
        if complete and not associative:
            state["core.memory"] = x[first + len(part):]
        outputs.append(x[first:first + len(part)])
    result = layer_norm(np.concatenate(outputs)[pending:], values["core.finalNorm.weight"], values["core.finalNorm.bias"])
    rest = len(steps) % segment
    state["core.pending"] = np.concatenate([steps[len(steps) - rest:].real, np.zeros((segment - 1 - rest, steps.shape[1]))])
    state["core.pendingCount"] = np.array(float(rest))
    return result, state


def core(c, values, names):
    """Outputs [B, T, D] and the states in the order of their names."""
    parts = [sequence(c, values, b) for b in range(len(values["x"]))]
    return [np.array([outputs for outputs, _ in parts])] + [np.array([state[name] for _, state in parts]) for name in names]


def make(name, seed, batch, steps, inputs, pending, **c):
    random = np.random.default_rng(seed)
    d, f, tokens, segment, k = c["width"], c["feedForward"], c["memoryTokens"], c["segment"], c["keyWidth"]
    shapes = {
        "x": (batch, steps, inputs), "core.positions": (segment, d), "core.memoryTokens": (tokens, d), "core.finalNorm.weight": (d,),
        "core.finalNorm.bias": (d,), "state.core.pending": (batch, segment - 1, inputs),
    }
    if inputs != d:
        shapes |= {"core.input.weight": (d, inputs), "core.input.bias": (d,)}
    names = []
    for layer in range(c["layers"]):
        path = f"core.{layer}."
        shapes |= {
            path + "attentionNorm.weight": (d,), path + "attentionNorm.bias": (d,), path + "attention.qkv.weight": (3 * d, d),
            path + "attention.qkv.bias": (3 * d,), path + "attention.output.weight": (d, d), path + "attention.output.bias": (d,),
            path + "feedForwardNorm.weight": (d,), path + "feedForwardNorm.bias": (d,), path + "feedForward.input.weight": (f, d),
            path + "feedForward.input.bias": (f,), path + "feedForward.output.weight": (d, f), path + "feedForward.output.bias": (d,),
        }
        if c["isAssociative"]:
            shapes |= {
                path + "memoryQuery.weight": (k, d), path + "memoryKey.weight": (k, d), path + "memoryValue.weight": (d, d),
                path + "memoryStrength.weight": (1, d), path + "memoryStrength.bias": (1,), f"state.{path}associations": (batch, 6 * k, d),
                f"state.{path}normalizer": (batch, 6 * k),
            }
            names += [path + "associations", path + "normalizer"]
    if not c["isAssociative"]:
        shapes |= {"core.firstTokens": (tokens, d), "state.core.memory": (batch, tokens, d)}
        names = ["core.memory"]
    names += ["core.pending", "core.pendingCount"]
    values = {}
    for key, shape in shapes.items():
        value = (0.5 if key.endswith(("weight", "associations")) else 1.0) * random.standard_normal(shape)
        if key.endswith("normalizer"):
            value = 0.5 + np.abs(value)
        values[key] = value.astype(np.float32).astype(np.float64)
    values["state.core.pendingCount"] = np.full(batch, float(pending))
    values["state.core.pending"][:, pending:] = 0
    return golden_case(name, c, lambda v: core(c, v, names), values, random, pending=2)


common = dict(layers=2, width=4, heads=2, memoryTokens=2, keyWidth=4, feedForward=5)
cases = [
    make("associative, two segments and a half", 1, 2, 8, 3, 0, segment=3, isAssociative=True, **common),
    make("associative, from within a segment", 11, 1, 5, 4, 2, segment=3, isAssociative=True, **common),
    make("tokens", 3, 2, 6, 4, 1, segment=3, isAssociative=False, **common),
]
print_cases(cases)
