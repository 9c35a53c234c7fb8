#!/usr/bin/env python3
"""Compares searches among vectors with FAISS: `mneme bench search` and FAISS's flat index and inverted file on the same vectors, in turns, on as many
threads, with as many lists. Both programs report queries a second and recall@10 for several numbers of visited lists; they are compared at equal recall,
by straight lines between those points. Medians over rounds. With --hnsw also hnswlib's graph, which takes long to be made.

Example: Benchmarks/search.py --python venv/bin/python --rounds 5 --output search.json
The Python needs faiss-cpu and numpy, and hnswlib for --hnsw.
"""

import argparse
import datetime
import json
import math
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIMIT, BATCH, PROBES = 10, 8192, [1, 2, 4, 8, 16, 32, 64]
# Candidates that a search of the graph keeps.
WIDTHS = [10, 16, 24, 32, 64, 128, 256]

# Runs in the Python that has FAISS: makes the vectors, then answers each line "measure" with one line of JSON.
PEER = r'''
import json, sys, time
import numpy as np, faiss
rows, dimension, lists, threads, batch, exact_batch, limit, probes, widths = json.loads(sys.argv[1])
faiss.omp_set_num_threads(threads)
M = np.uint64
np.seterr(over="ignore")

def mix(z):
    z = z + M(0x9E3779B97F4A7C15)
    z = (z ^ (z >> M(30))) * M(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> M(27))) * M(0x94D049BB133111EB)
    return z ^ (z >> M(31))

def keys(seed, kind, numbers):
    state = np.array([0x6D6E656D65], dtype=M)
    for key in (M(seed), M(kind)):
        state = mix(state ^ mix(np.array([key], dtype=M)))
    return mix(state ^ mix(numbers.astype(M)))

def draws(key, count):
    return mix(key[:, None] + np.arange(count, dtype=M) * M(0xD1342543DE82EF95))

def normals(numbers, kind):
    """The generator of Sources/VectorSearch/ClusteredVectors.swift: rows by seed 1 and their numbers."""
    bits = draws(keys(1, kind, numbers), 2 * dimension)
    u = ((bits[:, 0::2] >> M(11)).astype(np.float64) + 1) * 2.0 ** -53
    v = (bits[:, 1::2] >> M(11)).astype(np.float64) * 2.0 ** -53
    return (np.sqrt(-2 * np.log(u)) * np.cos(2 * np.pi * v)).astype(np.float32)

clusters = max(1, rows // 500)
centres = normals(np.arange(clusters), 1)

def vectors(first, count):
    parts = []
    for start in range(first, first + count, 20000):
        numbers = np.arange(start, min(first + count, start + 20000), dtype=np.int64)
        draw = (draws(keys(1, 3, numbers), 1)[:, 0] >> M(40)).astype(np.float32) * np.float32(2.0 ** -24)
        cluster = np.minimum(clusters - 1, (draw * draw * np.float32(clusters)).astype(np.int64))
        parts.append(np.float32(0.5) * normals(numbers, 2) + centres[cluster])
    return np.concatenate(parts)

base, queries = vectors(0, rows), vectors(1 << 40, batch)
few = queries[:exact_batch]
flat = faiss.IndexFlatL2(dimension)
flat.add(base)
index = faiss.IndexIVFFlat(faiss.IndexFlatL2(dimension), dimension, lists)
start = time.perf_counter()
index.train(base[np.random.default_rng(1).permutation(rows)[: 128 * lists]])
trained = time.perf_counter()
index.add(base)
added = time.perf_counter()
_, truth = flat.search(few, limit)
graph, graph_seconds = None, 0
if widths:
    import hnswlib
    start = time.perf_counter()
    graph = hnswlib.Index("l2", dimension)
    graph.init_index(rows, M=16, ef_construction=200)
    graph.set_num_threads(threads)
    graph.add_items(base)
    graph_seconds = time.perf_counter() - start

def recall(found):
    return sum(len(set(a) & set(b)) for a, b in zip(found[:exact_batch].tolist(), truth.tolist())) / truth.size

print(json.dumps(dict(version=faiss.__version__, options=faiss.get_compile_options().strip(), training=trained - start,
                      appends=rows / (added - trained), graph=graph_seconds)), flush=True)
for line in sys.stdin:
    start = time.perf_counter()
    flat.search(few, limit)
    result = dict(exact=exact_batch / (time.perf_counter() - start), inverted=[], graph=[])
    for count in probes:
        index.nprobe = count
        start = time.perf_counter()
        _, found = index.search(queries, limit)
        seconds = time.perf_counter() - start
        result["inverted"].append(dict(probes=count, queries_per_second=batch / seconds, recall=recall(found)))
    for width in widths:
        graph.set_ef(width)
        start = time.perf_counter()
        found, _ = graph.knn_query(queries, limit)
        seconds = time.perf_counter() - start
        result["graph"].append(dict(width=width, queries_per_second=batch / seconds, recall=recall(found)))
    print(json.dumps(result), flush=True)
'''


def at_recall(points, wanted):
    """Queries a second at a recall, by a straight line in the logarithm of the rate between the neighbouring points; None outside of them."""
    points = sorted((p["recall"], p["queries_per_second"]) for p in points)
    for (r0, q0), (r1, q1) in zip(points, points[1:]):
        if r0 <= wanted <= r1:
            part = 0 if r1 == r0 else (wanted - r0) / (r1 - r0)
            return math.exp(math.log(q0) * (1 - part) + math.log(q1) * part)
    return None


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--mneme", default=HERE.parent / ".build/release/mneme", type=Path)
    p.add_argument("--python", default=os.environ.get("PEERS_PYTHON", sys.executable), help="a Python that has faiss-cpu (default: PEERS_PYTHON)")
    p.add_argument("--rows", type=int, default=1_000_000)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--precision", default="float32", choices=["float32", "bfloat16"], help="what Mneme's products read; the answers are the same")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--recalls", type=float, nargs="+", default=[0.95, 0.98, 0.99])
    p.add_argument("--hnsw", action="store_true", help="also hnswlib's graph, of 16 neighbours made among 200 candidates")
    p.add_argument("--output", type=Path, help="also write everything as JSON to this file")
    a = p.parse_args()
    lists = 1
    while 2 * lists * lists < a.rows:
        lists *= 2
    arguments = json.dumps([a.rows, 128, lists, a.threads, BATCH, 2048, LIMIT, PROBES, WIDTHS if a.hnsw else []])
    environment = dict(os.environ, OMP_NUM_THREADS=str(a.threads))
    peer = subprocess.Popen([str(a.python), "-c", PEER, arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    facts = json.loads(peer.stdout.readline())
    print(f"FAISS {facts['version']} ({facts['options']}): {lists} lists, trained in {facts['training']:.1f} s, {facts['appends']:.0f} rows/s added"
          + (f"; hnswlib's graph made in {facts['graph']:.0f} s" if a.hnsw else ""), flush=True)
    mneme, faiss = [], []
    for number in range(a.rounds):
        command = [str(a.mneme), "bench", "search", "--json", "--rows", str(a.rows), "--threads", str(a.threads), "--precision", a.precision, "--seconds", "0",
                   "--steps", "1", "--warm-up", "1"]
        mneme.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
        peer.stdin.write("measure\n")
        peer.stdin.flush()
        faiss.append(json.loads(peer.stdout.readline()))
        print(f"round {number + 1} of {a.rounds}, load {os.getloadavg()[0]:.1f}", flush=True)
    peer.stdin.close()
    peer.wait()

    def median(values):
        return statistics.median(values)

    result = dict(date=datetime.date.today().isoformat(), kernel=platform.release(), cores=os.cpu_count(), load=os.getloadavg()[0], rows=a.rows,
                  threads=a.threads, precision=a.precision, lists=lists, faiss=facts, mneme_rounds=mneme, faiss_rounds=faiss)
    print(f"\n| | Mneme | FAISS | ratio, median of {a.rounds} rounds in turns |\n| --- | --- | --- | --- |")
    ours, theirs = [m["exact_queries_per_second"] for m in mneme], [f["exact"] for f in faiss]
    print(f"| exact, queries/s | {median(ours):.0f} | {median(theirs):.0f} | {median([x / y for x, y in zip(ours, theirs)]):.2f} |")
    for recall in a.recalls:
        pairs = [(at_recall(m["inverted"], recall), at_recall(f["inverted"], recall)) for m, f in zip(mneme, faiss)]
        pairs = [pair for pair in pairs if None not in pair]
        if pairs:
            print(f"| inverted file at recall@10 {recall}, queries/s | {median([x for x, _ in pairs]):.0f} | {median([y for _, y in pairs]):.0f} "
                  f"| {median([x / y for x, y in pairs]):.2f} |")
            result[f"ratio_at_{recall}"] = median([x / y for x, y in pairs])
        pairs = [(at_recall(m["inverted"], recall), at_recall(f["graph"], recall)) for m, f in zip(mneme, faiss)] if a.hnsw else []
        pairs = [pair for pair in pairs if None not in pair]
        if pairs:
            print(f"| against hnswlib at recall@10 {recall}, queries/s | {median([x for x, _ in pairs]):.0f} | {median([y for _, y in pairs]):.0f} "
                  f"| {median([x / y for x, y in pairs]):.2f} |")
            result[f"ratio_to_graph_at_{recall}"] = median([x / y for x, y in pairs])
    for place, width in enumerate(WIDTHS if a.hnsw else []):
        points = [f["graph"][place] for f in faiss]
        print(f"hnswlib among {width} candidates: {median([t['queries_per_second'] for t in points]):.0f} queries/s, recall {points[0]['recall']:.4f}")
    print("\n| lists visited | Mneme: queries/s, recall | times exact | FAISS: queries/s, recall |\n| --- | --- | --- | --- |")
    for place, count in enumerate(PROBES):
        theirs = [f["inverted"][place] for f in faiss]
        mine = [m["inverted"][place] for m in mneme if place < len(m["inverted"])]
        text = f"{median([m['queries_per_second'] for m in mine]):.0f}, {mine[0]['recall']:.4f} | {median([m['times_exact'] for m in mine]):.1f}" if mine else "- | -"
        print(f"| {count} | {text} | {median([t['queries_per_second'] for t in theirs]):.0f}, {theirs[0]['recall']:.4f} |")
    first = mneme[0]
    print(f"\nMneme: exact search at {median([m['percent_of_peak'] for m in mneme]):.0f} % of the matrix products' rate; "
          f"{median([m['appends_per_second'] for m in mneme]):.0f} rows/s appended, {median([m['removals_per_second'] for m in mneme]):.0f} removed, "
          f"{median([m['updates_per_second'] for m in mneme]):.0f} updated; recall with {first['churn_probes']} lists {first['recall_before_churn']:.4f}, "
          f"while rows come and go {first['lowest_recall_during_churn']:.4f} at the lowest.")
    if a.output:
        a.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
