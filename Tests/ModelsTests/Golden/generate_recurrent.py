"""Golden vectors of the recurrent language model with LSTM and GRU layers, computed by PyTorch's own layers in float64.

    python3 generate_recurrent.py [DIRECTORY]

writes lstm.json, lstm.golden, gru.json and gru.golden, in the form that generate_transformers.py describes.
"""

import pathlib
import sys

import torch
import torch.nn.functional as F
from torch import nn

from generate_transformers import IGNORED, Fixture, add_parameters, randomize


class Recurrent(nn.Module):
    """Zaremba et al. 2014 without dropout."""

    def __init__(self, kind, vocabulary, layers, width):
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.layers = (nn.LSTM if kind == "lstm" else nn.GRU)(width, width, layers, batch_first=True)
        self.output = nn.Linear(width, vocabulary)

    def forward(self, tokens):
        return self.output(self.layers(self.token(tokens))[0])


def recurrent(directory, kind, seed):
    vocabulary, layers, width = 61, 3, 23
    batch, length = 3, 11
    generator = torch.Generator().manual_seed(seed)
    model = Recurrent(kind, vocabulary, layers, width).double()
    randomize(model, generator)
    inputs = torch.randint(0, vocabulary, (batch, length), generator=generator)
    targets = torch.randint(0, vocabulary, (batch, length), generator=generator)
    targets[0, 3] = targets[2, 8:] = IGNORED
    smoothing = 0.1
    logits = model(inputs)
    flat = targets.flatten()
    loss = F.cross_entropy(logits.reshape(-1, vocabulary), flat, ignore_index=IGNORED, label_smoothing=smoothing, reduction="sum")
    loss.backward()
    fixture = Fixture()
    fixture.add("input/tokens", inputs)
    fixture.add("input/targets", targets)
    fixture.add("logits", logits)
    fixture.add("loss", loss.reshape(1))
    plain = F.cross_entropy(logits.reshape(-1, vocabulary), flat, ignore_index=IGNORED, reduction="sum")
    fixture.add("negativeLogLikelihood", plain.reshape(1))
    pairs = [("token.weight", "tokenEmbedding.weight")]
    for layer in range(layers):
        for theirs, ours in (("weight_ih", "inputWeight"), ("weight_hh", "hiddenWeight"), ("bias_ih", "inputBias"), ("bias_hh", "hiddenBias")):
            pairs.append((f"layers.{theirs}_l{layer}", f"layers.{layer}.{ours}"))
    pairs += [("output.weight", "output.weight"), ("output.bias", "output.bias")]
    add_parameters(fixture, model, pairs, width)
    configuration = {
        "vocabulary": vocabulary, "context": length, "layers": layers, "width": width, "heads": 1, "feedForward": 4 * width, "labelSmoothing": smoothing,
    }
    fixture.write(directory, kind, configuration)


if __name__ == "__main__":
    directory = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    recurrent(directory, "lstm", 20241)
    recurrent(directory, "gru", 20242)
