"""Memory models in PyTorch as a user would write them from the papers, with Mneme's parameter names: a Neural Turing Machine, a Differentiable Neural
Computer, an end-to-end memory network.

Legend: B batch, T steps, N memory rows, W memory width, R read heads, C controller width, D width, V words, S sentences, J words of a sentence.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F

from parameters import lane_tokens


def _bits(c, lanes):
    """Inputs [T, B, bits + 1] and targets [A, B, bits]: bits are read, then a mark, then the bits are to be given back for the last A steps."""
    read, steps, bits = c["read"], c["steps"], c["bits"]
    drawn = np.stack([lane_tokens(lane, read * bits, 2).reshape(read, bits) for lane in lanes], axis=1).astype(np.float32)
    inputs = np.zeros((steps, len(lanes), bits + 1), dtype=np.float32)
    inputs[:read, :, :bits] = drawn
    inputs[read, :, bits] = 1
    return torch.from_numpy(inputs), torch.from_numpy(drawn[: steps - read - 1].copy())


class _Recurrent:
    """A controller with a memory, unrolled over the steps; a step is compiled where that is asked for."""

    def __init__(self, c, parameters, interface, bound, compiled):
        self.c, self.p = c, parameters
        units, width, reads, bits = c["controller"], c["width"], c["reads"], c["bits"]
        start = 1 / math.sqrt(units)
        parameters.uniform("core.controller.0.inputWeight", (4 * units, bits + 1), start)
        parameters.uniform("core.controller.0.recurrentWeight", (4 * units, reads * width + units), start)
        parameters.uniform("core.controller.0.bias", (4 * units,), start)
        parameters.uniform("core.interface.weight", (interface, units), bound)
        parameters.constant("core.interface.bias", (interface,), 0)
        outputs = units + reads * width
        parameters.uniform("output.weight", (bits, outputs), 1 / math.sqrt(outputs))
        parameters.uniform("output.bias", (bits,), 1 / math.sqrt(outputs))
        inputs, targets = _bits(c, range(c["batch"]))
        self.inputs, self.targets = inputs.to(parameters.dtype), targets.to(parameters.dtype)
        self.run_step = torch.compile(self.step, dynamic=False) if compiled else self.step

    def zeros(self, *shape):
        return torch.zeros(*shape, dtype=self.p.dtype)

    def control(self, x, reads, h, cell):
        p = self.p
        gates = F.linear(x, p["core.controller.0.inputWeight"], p["core.controller.0.bias"])
        gates = gates + F.linear(torch.cat([reads.flatten(1), h], 1), p["core.controller.0.recurrentWeight"])
        i, f, g, o = gates.chunk(4, 1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        h = o.sigmoid() * cell.tanh()
        return h, cell, F.linear(h, p["core.interface.weight"], p["core.interface.bias"]).clamp(-20, 20)

    def answer(self, h, reads):
        return F.linear(torch.cat([h, reads.flatten(1)], 1), self.p["output.weight"], self.p["output.bias"])

    def loss(self):
        state, outputs = self.start(), []
        for x in self.inputs:
            output, *state = self.run_step(x, *state)
            outputs.append(output)
        return F.binary_cross_entropy_with_logits(torch.stack(outputs[-len(self.targets):]).float(), self.targets.float())


def _cosine(memory, keys, epsilon):
    """[B, heads, N] of memory [B, N, W] and keys [B, heads, W]."""
    products = keys @ memory.transpose(1, 2)
    return products / (keys.norm(dim=-1)[:, :, None] * memory.norm(dim=-1)[:, None] + epsilon)


class TuringMachine(_Recurrent):
    """One read and one write head; reads are of the memory before the write."""

    def __init__(self, c, parameters, compiled):
        width = c["width"]
        count = 2 * (width + 6) + 2 * width
        super().__init__(c, parameters, count, math.sqrt(6 / (count + c["controller"])), compiled)

    def start(self):
        c = self.c
        weights = self.zeros(c["batch"], 2, c["rows"])
        weights[:, :, 0] = 1
        memory = self.zeros(c["batch"], c["rows"], c["width"]) + 1e-6
        return memory, weights, self.zeros(c["batch"], 1, c["width"]), self.zeros(c["batch"], c["controller"]), self.zeros(c["batch"], c["controller"])

    def step(self, x, memory, weights, reads, h, cell):
        width = self.c["width"]
        h, cell, v = self.control(x, reads, h, cell)
        heads = v[:, : 2 * (width + 6)].view(-1, 2, width + 6)
        keys, strength, gate = heads[..., :width], F.softplus(heads[..., width:width + 1]), heads[..., width + 1:width + 2].sigmoid()
        shifts, sharpness = heads[..., width + 2:width + 5].softmax(-1), 1 + F.softplus(heads[..., width + 5:])
        erase, add = v[:, 2 * (width + 6):-width].sigmoid(), v[:, -width:].tanh()
        content = (strength * _cosine(memory, keys, 1e-6)).softmax(-1)
        gated = gate * content + (1 - gate) * weights
        moved = shifts[..., :1] * gated.roll(-1, -1) + shifts[..., 1:2] * gated + shifts[..., 2:] * gated.roll(1, -1)
        sharp = moved.clamp(min=1e-16) ** sharpness
        weights = sharp / sharp.sum(-1, keepdim=True)
        reads = weights[:, :1] @ memory
        written = weights[:, 1, :, None]
        memory = memory * (1 - written * erase[:, None]) + written * add[:, None]
        return self.answer(h, reads), memory, weights, reads, h, cell


class NeuralComputer(_Recurrent):
    """As in the paper; strengths are oneplus."""

    def __init__(self, c, parameters, compiled):
        reads, width = c["reads"], c["width"]
        self.parts = [reads * width, width, width, width, reads, 1, 1, reads, 1, 3 * reads]
        self.off_diagonal = 1 - torch.eye(c["rows"], dtype=parameters.dtype)
        super().__init__(c, parameters, sum(self.parts), 1 / math.sqrt(c["controller"]), compiled)

    def start(self):
        b, n, w, r, units = (self.c[key] for key in ("batch", "rows", "width", "reads", "controller"))
        shapes = [(b, n, w), (b, n), (b, n), (b, n, n), (b, n), (b, r, n), (b, r, w), (b, units), (b, units)]
        return [self.zeros(*shape) for shape in shapes]

    def step(self, x, memory, usage, precedence, links, written, weights, reads, h, cell):
        r, w = self.c["reads"], self.c["width"]
        h, cell, v = self.control(x, reads, h, cell)
        read_keys, write_key, vector, erase, free, allocation_gate, write_gate, read_strengths, write_strength, modes = v.split(self.parts, 1)
        read_keys, free = read_keys.view(-1, r, w), free.sigmoid()
        read_strengths, write_strength = 1 + F.softplus(read_strengths), 1 + F.softplus(write_strength)
        modes = modes.view(-1, r, 3).softmax(-1)
        retention = (1 - free[:, :, None] * weights).prod(1)
        usage = (usage + written - usage * written) * retention
        bounded = 1e-6 + (1 - 1e-6) * usage
        ascending, order = bounded.sort(dim=-1, stable=True)
        before = torch.cat([torch.ones_like(ascending[:, :1]), ascending.cumprod(-1)[:, :-1]], 1)
        allocation = torch.zeros_like(usage).scatter(1, order, (1 - ascending) * before)
        content = (write_strength[:, :, None] * _cosine(memory, write_key[:, None], 1e-6)).softmax(-1)[:, 0]
        gate = allocation_gate.sigmoid()
        written = write_gate.sigmoid() * (gate * allocation + (1 - gate) * content)
        memory = memory * (1 - written[:, :, None] * erase.sigmoid()[:, None]) + written[:, :, None] * vector[:, None]
        links = ((1 - written[:, :, None] - written[:, None]) * links + written[:, :, None] * precedence[:, None]) * self.off_diagonal
        precedence = (1 - written.sum(1, keepdim=True)) * precedence + written
        forward, backward = weights @ links.transpose(1, 2), weights @ links
        looked_up = (read_strengths[:, :, None] * _cosine(memory, read_keys, 1e-6)).softmax(-1)
        weights = modes[..., :1] * backward + modes[..., 1:2] * looked_up + modes[..., 2:] * forward
        reads = weights @ memory
        return self.answer(h, reads), memory, usage, precedence, links, written, weights, reads, h, cell


class EndToEndMemory:
    """Adjacent tying: the output memory of a hop is the input memory of the next, the first reads the question, the last scores the answers."""

    def __init__(self, c, parameters, compiled):
        self.c, self.p = c, parameters
        d, v, s, j, hops = c["width"], c["vocabulary"], c["sentences"], c["words"], c["hops"]
        for k in range(hops + 1):
            parameters.padded_normal(f"memory.{k}.words", (v, d), 0.1)
        for k in range(hops + 1):
            parameters.normal(f"memory.{k}.times", (s, d), 0.1)
        unit, place = torch.arange(1, d + 1.0)[None], torch.arange(1, j + 1.0)[:, None]
        self.encoding = (1 - place / j - (unit / d) * (1 - 2 * place / j)).to(parameters.dtype)
        drawn = np.stack([lane_tokens(lane, (s + 1) * j + 1, v - 1) + 1 for lane in range(c["batch"])])
        self.stories = torch.from_numpy(drawn[:, : s * j].reshape(-1, s, j).copy())
        self.questions = torch.from_numpy(drawn[:, s * j:-1].copy())
        self.answers = torch.from_numpy(drawn[:, -1].copy())
        self.padding = torch.zeros(v, dtype=parameters.dtype)
        self.padding[0] = -1e30
        self.run = torch.compile(self.forward) if compiled else self.forward

    def loss(self):
        return self.run(self.stories, self.questions, self.answers)

    def forward(self, stories, questions, answers):
        p, hops = self.p, self.c["hops"]

        def table(k):  # the latest sentence, which stands last, has age 1
            return (F.embedding(stories, p[f"memory.{k}.words"]) * self.encoding).sum(2) + p[f"memory.{k}.times"].flip(0)

        state = (F.embedding(questions, p["memory.0.words"]) * self.encoding).sum(1)
        memory = table(0)
        for k in range(hops):
            values = table(k + 1)
            attention = (memory @ state[:, :, None]).squeeze(2).softmax(-1)
            state = state + (attention[:, None] @ values).squeeze(1)
            memory = values
        return F.cross_entropy(F.linear(state, p[f"memory.{hops}.words"], self.padding), answers)


MODELS = {"turing-machine": TuringMachine, "neural-computer": NeuralComputer, "end-to-end": EndToEndMemory}
