"""Golden vectors of Gated DeltaNet by numpy in float64: python generate_gated_deltanet.py > gated_deltanet.json

Written from the equations, step by step: nothing here knows chunks. Derivatives are by complex steps, which are exact to rounding: every
function below is analytic. Inputs are rounded to float32 first.
"""

import numpy as np

from complex_step import gelu, golden_case, layer_norm, print_cases, sigmoid


def unit(x):
    return x / np.sqrt((x * x).sum() + 1e-6)


def mixer(c, p, x, matrix, before):
    """One sequence [T, D]; returns outputs, the matrices after it [H K, V] and the last positions [W - 1, C]."""
    heads, kw, vw, width = c["heads"], c["keyWidth"], c["valueWidth"], c["convolution"]
    channels = np.concatenate([before, x @ p["projection.weight"].T])
    outputs, matrix = [], matrix.copy()
    for t in range(len(x)):
        z = sum(p["convolution"][:, j] * channels[t + j] for j in range(width))
        y = z * sigmoid(z)
        gates = p["gates.weight"] @ x[t]
        strength = sigmoid(gates[:heads])
        g = -np.exp(p["rateBias"]) * np.log1p(np.exp(gates[heads:] + p["stepBias"]))
        row = []
        for h in range(heads):
            q, k = unit(y[h * kw:(h + 1) * kw]), unit(y[(heads + h) * kw:(heads + h + 1) * kw])
            v = y[2 * heads * kw + h * vw:2 * heads * kw + (h + 1) * vw]
            s = matrix[h * kw:(h + 1) * kw] * np.exp(g[h])
            u = strength[h] * ((v - s.T @ k) if c["erases"] else v)
            s = s + np.outer(k, u)
            matrix[h * kw:(h + 1) * kw] = s
            o = s.T @ q / np.sqrt(kw)
            row.append(o / np.sqrt((o * o).mean() + 1e-5) * p["outputNorm.weight"])
        gate = p["outputGate.weight"] @ x[t]
        outputs.append(p["output.weight"] @ (np.concatenate(row) * gate * sigmoid(gate)))
    return np.array(outputs), matrix, channels[len(x):]


def core(c, values):
    """Outputs [B, T, D] and, of each layer, the states [B, H K, V] and [B, W - 1, C]."""
    x = values["x"]
    if "core.input.weight" in values:
        x = x @ values["core.input.weight"].T + values["core.input.bias"]
    states = []
    for layer in range(c["layers"]):
        path = f"core.{layer}."
        p = {name[len(path):]: value for name, value in values.items() if name.startswith(path)}
        normal = layer_norm(x, p["mixerNorm.weight"], p["mixerNorm.bias"])
        mixed = [
            mixer(c, p, normal[b], values[f"state.{path}memory"][b], values[f"state.{path}convolution"][b]) for b in range(len(x))
        ]
        x = x + np.array([m[0] for m in mixed])
        states += [np.array([m[1] for m in mixed]), np.array([m[2] for m in mixed])]
        normal = layer_norm(x, p["feedForwardNorm.weight"], p["feedForwardNorm.bias"])
        inner = gelu(normal @ p["feedForward.input.weight"].T + p["feedForward.input.bias"])
        x = x + inner @ p["feedForward.output.weight"].T + p["feedForward.output.bias"]
    return [layer_norm(x, values["core.finalNorm.weight"], values["core.finalNorm.bias"])] + states


def make(name, seed, batch, steps, inputs, **c):
    random = np.random.default_rng(seed)
    heads, kw, vw, width, d, f = c["heads"], c["keyWidth"], c["valueWidth"], c["convolution"], c["width"], c["feedForward"]
    channels = heads * (2 * kw + vw)
    shapes = {"x": (batch, steps, inputs), "core.finalNorm.weight": (d,), "core.finalNorm.bias": (d,)}
    if inputs != d:
        shapes |= {"core.input.weight": (d, inputs), "core.input.bias": (d,)}
    for layer in range(c["layers"]):
        path = f"core.{layer}."
        shapes |= {
            path + "mixerNorm.weight": (d,), path + "mixerNorm.bias": (d,), path + "projection.weight": (channels, d),
            path + "convolution": (channels, width), path + "gates.weight": (2 * heads, d), path + "rateBias": (heads,),
            path + "stepBias": (heads,), path + "outputGate.weight": (heads * vw, d), path + "outputNorm.weight": (vw,),
            path + "output.weight": (d, heads * vw), path + "feedForwardNorm.weight": (d,), path + "feedForwardNorm.bias": (d,),
            path + "feedForward.input.weight": (f, d), path + "feedForward.input.bias": (f,), path + "feedForward.output.weight": (d, f),
            path + "feedForward.output.bias": (d,), f"state.{path}memory": (batch, heads * kw, vw),
            f"state.{path}convolution": (batch, width - 1, channels),
        }
    values = {}
    for key, shape in shapes.items():
        scale = 0.5 if key.endswith(("weight", "memory")) else 1.0
        value = scale * random.standard_normal(shape)
        if key.endswith("rateBias"):
            value = np.log(random.uniform(0.1, 2, shape))
        if key.endswith("stepBias"):
            value = value - 2
        values[key] = value.astype(np.float32).astype(np.float64)
    return golden_case(name, c, lambda v: core(c, v), values, random)


cases = [
    make("two layers", 1, 2, 11, 5, layers=2, width=6, heads=2, keyWidth=3, valueWidth=4, convolution=4, feedForward=7, erases=True),
    make("two chunks", 2, 1, 70, 4, layers=1, width=4, heads=2, keyWidth=4, valueWidth=3, convolution=3, feedForward=5, erases=True),
    make("nothing erased, in steps", 3, 2, 5, 4, layers=1, width=5, heads=1, keyWidth=3, valueWidth=2, convolution=4, feedForward=6, erases=False),
]
print_cases(cases)
