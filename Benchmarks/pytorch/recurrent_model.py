"""The LSTM language model of Zaremba et al. 2014, medium: nn.LSTM between an embedding and an output layer, dropout around each layer.

Legend: D width, V vocabulary.
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

# Mneme's parameter names. Those of layer {i} stand beside the ones of nn.LSTM; gates come in the order input, forget, cell, output in both.
EMBEDDING, OUTPUT, OUTPUT_BIAS = "tokenEmbedding.weight", "output.weight", "output.bias"
LAYER = {
    "weight_ih": "layers.{i}.inputWeight",
    "weight_hh": "layers.{i}.hiddenWeight",
    "bias_ih": "layers.{i}.inputBias",
    "bias_hh": "layers.{i}.hiddenBias",
}
# Whether the state goes on from one batch to the next (no gradient flows back through it), or each batch starts from zeros.
CARRIES_STATE = False


class RecurrentLanguageModel:
    """All weights and the biases of the layers start uniform on -1 / sqrt(D) ... 1 / sqrt(D), the output's bias from zero."""

    def __init__(self, c, parameters):
        self.c, self.p = c, parameters
        width, bound = c["width"], 1 / math.sqrt(c["width"])
        parameters.uniform(EMBEDDING, (c["vocabulary"], width), bound)
        self.lstm = nn.LSTM(width, width, c["layers"], dropout=c["dropout"], dtype=parameters.dtype)
        for i in range(c["layers"]):
            for own, name in LAYER.items():
                own, name = getattr(self.lstm, f"{own}_l{i}"), name.format(i=i)
                parameters.uniform(name, tuple(own.shape), bound)
                own.data.copy_(parameters[name].data)
                parameters[name] = own
        parameters.uniform(OUTPUT, (c["vocabulary"], width), bound)
        parameters.constant(OUTPUT_BIAS, (c["vocabulary"],), 0)
        self.state = tuple(torch.zeros(c["layers"], c["batch"], width, dtype=parameters.dtype) for _ in range(2))

    def drop(self, x):
        return F.dropout(x, self.c["dropout"]) if self.c["dropout"] > 0 else x

    def loss(self, source, inputs, targets):
        hidden, state = self.lstm(self.drop(F.embedding(inputs.t(), self.p[EMBEDDING])), self.state)
        if CARRIES_STATE:
            self.state = tuple(part.detach() for part in state)
        logits = F.linear(self.drop(hidden), self.p[OUTPUT], self.p[OUTPUT_BIAS])
        return F.cross_entropy(logits.flatten(0, 1), targets.t().flatten())
