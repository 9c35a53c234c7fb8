"""The LSTM language model of Zaremba et al. 2014, medium: nn.LSTM between an embedding and an output layer, dropout around each layer.

Legend: B sequences, T positions, D width.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

# Mneme's parameter names and how each starts: (name, shape, bound of a uniform distribution). {i} is the layer; D, V, L stand for the sizes.
EMBEDDING = "embedding.weight"
INPUT, HIDDEN, BIAS = "layers.{i}.input.weight", "layers.{i}.hidden.weight", "layers.{i}.bias"
OUTPUT, OUTPUT_BIAS = "output.weight", "output.bias"
BOUND = 0.05
BIAS_START = 0.0


class RecurrentLanguageModel:
    """Gates in the order input, forget, cell, output, as nn.LSTM has them. The state goes on from step to step; no gradient flows back through it."""

    def __init__(self, c, parameters):
        self.c, self.p = c, parameters
        width, layers = c["width"], c["layers"]
        parameters.uniform(EMBEDDING, (c["vocabulary"], width), BOUND)
        for i in range(layers):
            parameters.uniform(INPUT.format(i=i), (4 * width, width), BOUND)
            parameters.uniform(HIDDEN.format(i=i), (4 * width, width), BOUND)
            parameters.constant(BIAS.format(i=i), (4 * width,), BIAS_START)
        parameters.uniform(OUTPUT, (c["vocabulary"], width), BOUND)
        parameters.constant(OUTPUT_BIAS, (c["vocabulary"],), 0)
        # nn.LSTM adds two biases; Mneme has one, so the second one is zero and is not trained.
        self.lstm = nn.LSTM(width, width, layers, dropout=c["dropout"]).to(parameters.dtype)
        for i in range(layers):
            for own, name in (("weight_ih", INPUT), ("weight_hh", HIDDEN), ("bias_ih", BIAS)):
                parameter = getattr(self.lstm, f"{own}_l{i}")
                parameter.data.copy_(parameters[name.format(i=i)].data)
                parameters[name.format(i=i)] = parameter
            second = getattr(self.lstm, f"bias_hh_l{i}")
            second.data.zero_()
            second.requires_grad_(False)
        self.state = tuple(torch.zeros(layers, c["batch"], width, dtype=parameters.dtype) for _ in range(2))

    def drop(self, x):
        return F.dropout(x, self.c["dropout"]) if self.c["dropout"] > 0 else x

    def loss(self, source, inputs, targets):
        hidden, state = self.lstm(self.drop(F.embedding(inputs.t(), self.p[EMBEDDING])), self.state)
        self.state = tuple(part.detach() for part in state)
        logits = F.linear(self.drop(hidden), self.p[OUTPUT], self.p[OUTPUT_BIAS])
        return F.cross_entropy(logits.flatten(0, 1), targets.t().flatten())
