"""Distributions that the transformers library samples from, for logits and settings of every kind: writes sampling.json beside itself.

    python3 make_sampling_fixtures.py        (needs torch and transformers; made with transformers 5.23.0)
"""

import json
import pathlib

import torch
from transformers.generation.logits_process import (
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

CASES = [
    # vocabulary, spread, temperature, top-k, top-p, repetition penalty
    (12, 2.0, 1.0, None, None, 1.0),
    (12, 2.0, 0.5, None, None, 1.0),
    (12, 2.0, 1.7, 4, None, 1.0),
    (12, 2.0, 1.0, 1, None, 1.0),
    (12, 2.0, 1.0, 50, None, 1.0),
    (12, 2.0, 1.0, None, 0.8, 1.0),
    (12, 2.0, 1.0, None, 0.05, 1.0),
    (12, 2.0, 0.7, 6, 0.9, 1.0),
    (12, 2.0, 1.0, None, None, 1.3),
    (12, 2.0, 0.8, 5, 0.7, 1.8),
    (12, 0.0, 1.0, 3, None, 1.0),
    (200, 1.0, 1.0, None, 0.95, 1.0),
    (200, 3.0, 1.2, 40, 0.9, 1.2),
    (200, 0.1, 1.0, None, 0.5, 1.0),
]


def distribution(logits, history, temperature, top_k, top_p, penalty):
    scores, ids = logits[None], torch.tensor([history])
    processors = []
    if penalty != 1:
        processors.append(RepetitionPenaltyLogitsProcessor(penalty))
    if temperature != 1:
        processors.append(TemperatureLogitsWarper(temperature))
    if top_k is not None:
        processors.append(TopKLogitsWarper(top_k))
    if top_p is not None:
        processors.append(TopPLogitsWarper(top_p))
    for processor in processors:
        scores = processor(ids, scores)
    return scores[0].double().softmax(-1)


if __name__ == "__main__":
    generator = torch.Generator().manual_seed(77)
    cases = []
    for vocabulary, spread, temperature, top_k, top_p, penalty in CASES:
        logits = torch.randn(vocabulary, generator=generator) * spread
        history = torch.randint(0, vocabulary, (5,), generator=generator).tolist()
        probabilities = distribution(logits, history, temperature, top_k, top_p, penalty)
        case = {"logits": logits.tolist(), "history": history, "temperature": temperature, "repetitionPenalty": penalty}
        case |= {"topK": top_k} if top_k is not None else {}
        case |= {"topP": top_p} if top_p is not None else {}
        case["probabilities"] = [round(p, 9) for p in probabilities.tolist()]
        cases.append(case)
    path = pathlib.Path(__file__).with_name("sampling.json")
    path.write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
