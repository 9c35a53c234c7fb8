"""Golden vectors of the key-value memory network, in float64 by PyTorch.

Written from the equations, with padded matrices and masks, unlike the program under test. Run it with a Python that has torch:

    python generate_key_value_memory.py > key-value-memory.json
"""

import json

import torch

torch.set_default_dtype(torch.float64)


def bag_matrix(bags, symbols):
    """Dense [n, V] weights of a list of bags, each a list of (symbol, weight)."""
    matrix = torch.zeros(len(bags), symbols)
    for row, bag in enumerate(bags):
        for symbol, weight in bag:
            matrix[row, symbol] += weight
    return matrix


def random_bag(generator, symbols, size):
    chosen = torch.randperm(symbols, generator=generator)[:size].tolist()
    weights = (0.3 + torch.rand(size, generator=generator)).tolist()
    # What float32 can hold, so that both programs start from the same numbers.
    return [(s, float(torch.tensor(w, dtype=torch.float32))) for s, w in zip(chosen, weights)]


def case(name, seed, shares, maps_last, identity, ranged):
    generator = torch.Generator().manual_seed(seed)
    symbols, width, hops = 17, 6, 3
    rounded = lambda *shape: (0.4 * torch.randn(*shape, generator=generator)).float().double()
    table = rounded(symbols, width).requires_grad_()
    answers_table = table if shares else rounded(symbols, width).requires_grad_()
    maps = [rounded(width, width).requires_grad_() for _ in range(hops if maps_last else hops - 1)]

    fact_counts = [3, 0, 5, 1]
    questions = [random_bag(generator, symbols, n) for n in [3, 2, 1, 4]]
    keys = [random_bag(generator, symbols, 1 + i % 3) for i in range(sum(fact_counts))]
    values = [random_bag(generator, symbols, 1 + i % 2) for i in range(sum(fact_counts))]
    keys[4] = []  # an empty bag is the zero vector
    if ranged:
        first, count = 5, 12
        candidates = [list(range(first, first + count))] * 4
        excluded = [[0], [], [3, 7], [11]]
        right = [[2], [5, 6], [1], []]
    else:
        candidates = [[3, 9, 11, 2], [4, 5], [16, 0, 1, 7, 8, 10], [6, 12, 13]]
        excluded = [[], [], [], []]
        right = [[1], [0], [2, 5], [0, 1, 2]]

    query = bag_matrix(questions, symbols) @ table
    key_rows, value_rows = bag_matrix(keys, symbols) @ table, bag_matrix(values, symbols) @ table
    longest = max(fact_counts)
    attention = []
    for hop in range(hops):
        scores = torch.full((4, longest), float("-inf"))
        reading = torch.zeros(4, width)
        rows, start = [], 0
        for b, n in enumerate(fact_counts):
            if n:
                p = torch.softmax(key_rows[start:start + n] @ query[b], 0)
                rows.append(p.tolist())
                reading = reading + torch.nn.functional.one_hot(torch.tensor(b), 4).double()[:, None] * (p @ value_rows[start:start + n])[None]
            else:
                rows.append([])
            start += n
        attention.append(rows)
        query = query + reading
        if hop < len(maps):
            matrix = maps[hop] + torch.eye(width) if identity else maps[hop]
            query = query @ matrix.T
    loss, each = torch.zeros(()), []
    for b in range(4):
        if not right[b]:
            each.append(0.0)
            continue
        logits = answers_table[candidates[b]] @ query[b]
        keep = torch.ones(len(candidates[b]), dtype=torch.bool)
        keep[excluded[b]] = False
        chosen = torch.zeros(len(candidates[b]), dtype=torch.bool)
        chosen[right[b]] = True
        term = torch.logsumexp(logits[keep], 0) - torch.logsumexp(logits[keep & chosen], 0)
        each.append(float(term))
        loss = loss + term
    loss.backward()
    parameters = {"symbols.weight": table, **{f"hops.{i}.weight": m for i, m in enumerate(maps)}}
    if not shares:
        parameters["answers.weight"] = answers_table
    return {
        "name": name, "symbols": symbols, "width": width, "hops": hops, "shares": shares, "mapsLast": maps_last, "identity": identity,
        "factCounts": fact_counts, "questions": questions, "keys": keys, "values": values,
        "range": [5, 12] if ranged else None, "candidates": candidates, "excluded": excluded, "right": right,
        "parameters": {k: v.detach().flatten().tolist() for k, v in parameters.items()},
        "gradients": {k: v.grad.flatten().tolist() for k, v in parameters.items()},
        "loss": float(loss), "perQuestion": each, "queries": query.detach().flatten().tolist(), "attention": [rows[0] for rows in attention],
    }


print(json.dumps([
    case("shared table, all entities", 1, True, True, True, True),
    case("own table, lists, no map after the last hop", 2, False, False, False, False),
    case("shared table, lists, normal maps", 3, True, True, False, False),
    case("own table, all entities, no map after the last hop", 4, False, False, True, True),
]))
