"""Golden vectors of the Neural Turing Machine and the erase/add memory: values and gradients, computed in float64 by PyTorch's automatic
differentiation, step by step from the equations.   python generate_turing_machine.py > turing_machine.json

Layouts are those of Sources/Memory: numbers of a head in the order key, strength, gate, shift, sharpness; heads in the order read, write; then erase and add
vectors of all write heads. Gates of the LSTM in the order input, forget, candidate, output."""
import json

import torch

torch.manual_seed(20)
F = torch.nn.functional


def random(*shape, scale=1.0):
    """Numbers that float32 holds exactly."""
    return (torch.randn(*shape) * scale).float().double().requires_grad_()


def weights(*shape):
    return torch.softmax(torch.randn(*shape), -1).float().double().requires_grad_()


def machine(c, p, s, x):
    n, w, reads, writes, shifts = c["rows"], c["width"], c["readHeads"], c["writeHeads"], c["shifts"]
    heads = reads + writes
    per_head = w + 3 + len(shifts)
    memory, rw, ww, r = s["memory"], s["readWeights"], s["writeWeights"], s["reads"]
    weight = torch.cat([rw, ww], 1)
    h, cell = s.get("hidden"), s.get("cell")
    outputs = []
    for t in range(x.shape[1]):
        z = x[:, t] @ p["core.controller.0.inputWeight"].T + p["core.controller.0.bias"]
        below = r.flatten(1) if h is None else torch.cat([r.flatten(1), h], 1)
        z = z + below @ p["core.controller.0.recurrentWeight"].T
        if c["controller"] == "lstm":
            i, f, g, o = z.chunk(4, 1)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            out = h = o.sigmoid() * cell.tanh()
        else:
            out = z.tanh()
        numbers = out @ p["core.interface.weight"].T + p["core.interface.bias"]
        numbers = numbers.clamp(-c["limit"], c["limit"])
        new = []
        for head in range(heads):
            v = numbers[:, head * per_head:(head + 1) * per_head]
            key, beta, gate = v[:, :w], F.softplus(v[:, w]), v[:, w + 1].sigmoid()
            if c["squashesKeys"]:
                key = key.tanh()
            shift, gamma = v[:, w + 2:w + 2 + len(shifts)].softmax(-1), 1 + F.softplus(v[:, -1])
            cosine = torch.einsum("bnw,bw->bn", memory, key) / (memory.norm(dim=-1) * key.norm(dim=-1, keepdim=True) + c["epsilon"])
            content = (beta[:, None] * cosine).softmax(-1)
            gated = gate[:, None] * content + (1 - gate[:, None]) * weight[:, head]
            moved = sum(shift[:, j:j + 1] * torch.roll(gated, by, dims=1) for j, by in enumerate(shifts))
            sharp = moved.clamp(min=1e-16) ** gamma[:, None]
            new.append(sharp / sharp.sum(-1, keepdim=True))
        weight = torch.stack(new, 1)
        r = weight[:, :reads] @ memory
        rest = numbers[:, heads * per_head:]
        erase, add = rest[:, :writes * w].sigmoid().view(-1, writes, w), rest[:, writes * w:].view(-1, writes, w)
        if c["squashesAdditions"]:
            add = add.tanh()
        keep, plus = 1, 0
        for k in range(writes):
            own = weight[:, reads + k, :, None]
            keep = keep * (1 - own * erase[:, k, None])
            plus = plus + own * add[:, k, None]
        memory = memory * keep + plus
        outputs.append(torch.cat([out, r.flatten(1)], 1))
    last = [memory, weight[:, :reads], weight[:, reads:], r] + ([h, cell] if h is not None else [])
    return [torch.stack(outputs, 1)] + last


def erase_add(c, p, s, x):
    n, w = c["rows"], c["width"]
    memory, h = s["memory"], s["hidden"]
    outputs = []
    for t in range(x.shape[1]):
        z = x[:, t] @ p["core.interface.inputWeight"].T + h @ p["core.interface.hiddenWeight"].T + p["core.interface.bias"]
        weight, erase, value = z[:, :n].softmax(-1), z[:, n:n + w].sigmoid(), z[:, n + w:]
        memory = memory * (1 - weight[:, :, None] * erase[:, None]) + weight[:, :, None] * value[:, None]
        r = torch.einsum("bn,bnw->bw", weight, memory)
        a = torch.cat([r, h], 1) @ p["core.controller.0.recurrentWeight"].T
        h = (a + x[:, t] @ p["core.controller.0.inputWeight"].T + p["core.controller.0.bias"]).tanh()
        outputs.append(torch.cat([h, r], 1))
    return [torch.stack(outputs, 1), memory, h]


def tensor(t):
    return {"shape": list(t.shape), "values": t.detach().flatten().tolist()}


def case(name, function, c, p, s, x):
    results = function(c, p, s, x)
    flat = torch.cat([t.flatten() for t in results])
    seed = torch.randn(flat.shape).float().double()
    flat.backward(seed)
    leaves = {**p, **{f"state.{k}": v for k, v in s.items()}, "x": x}
    return {
        "name": name,
        "configuration": c,
        "inputs": {k: tensor(v) for k, v in leaves.items()},
        "state": list(s),
        "output": tensor(flat),
        "outputGradient": tensor(seed),
        "gradients": {k: tensor(v.grad) for k, v in leaves.items()},
    }


def machine_case(controller, reads, writes, rows=6, width=4, shifts=(-1, 0, 1), limit=20.0, keys=False, additions=True, batch=2, steps=6, inputs=3, units=5):
    c = dict(rows=rows, width=width, readHeads=reads, writeHeads=writes, shifts=list(shifts), limit=limit, epsilon=2.0 ** -20, squashesKeys=keys,
             squashesAdditions=additions, controller=controller, units=units)
    heads, gates = reads + writes, 4 * units if controller == "lstm" else units
    count = heads * (width + 3 + len(shifts)) + 2 * writes * width
    hidden = units if controller == "lstm" else 0
    p = {
        "core.controller.0.inputWeight": random(gates, inputs), "core.controller.0.recurrentWeight": random(gates, reads * width + hidden, scale=0.5),
        "core.controller.0.bias": random(gates), "core.interface.weight": random(count, units), "core.interface.bias": random(count, scale=0.5),
    }
    s = {
        "memory": random(batch, rows, width), "readWeights": weights(batch, reads, rows), "writeWeights": weights(batch, writes, rows),
        "reads": random(batch, reads, width),
    }
    if controller == "lstm":
        s["hidden"], s["cell"] = random(batch, units, scale=0.5), random(batch, units)
    return case("machine", machine, c, p, s, random(batch, steps, inputs))


def erase_add_case(rows=5, width=3, batch=2, steps=6, inputs=4, units=6):
    c = dict(rows=rows, width=width, units=units)
    count = rows + 2 * width
    p = {
        "core.controller.0.inputWeight": random(units, inputs), "core.controller.0.recurrentWeight": random(units, width + units, scale=0.5),
        "core.controller.0.bias": random(units), "core.interface.inputWeight": random(count, inputs), "core.interface.hiddenWeight": random(count, units),
        "core.interface.bias": random(count),
    }
    s = {"memory": random(batch, rows, width), "hidden": random(batch, units, scale=0.5)}
    return case("erase-add", erase_add, c, p, s, random(batch, steps, inputs))


cases = [
    machine_case("lstm", 2, 1), machine_case("lstm", 2, 2, rows=17, keys=True, additions=False), machine_case("feed-forward", 2, 1, keys=True),
    machine_case("feed-forward", 2, 2, shifts=(-2, -1, 0, 1), limit=1.5, additions=False), erase_add_case(),
]
print(json.dumps({"torch": torch.__version__, "cases": cases}))
