#!/usr/bin/env python3
"""Times sharding (read, clean, tokenise, write) against SentencePiece's own encoding of the same lines with the same model, on one core, and
sharding on two ranks against one. Programs take turns; wall-clock time of whole programs, start-up included, for Mneme; of the encode call alone
for SentencePiece.

Example: Benchmarks/compare-sharding.py --python venv/bin/python --data DATA --work /var/tmp/sharding
DATA holds the corpora that the tests read (MNEME_DATA): their WMT, news and Multi30k text is repeated to --megabytes.
"""

import argparse
import datetime
import gzip
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TEXTS = ["wmt-ende-opennmt/src-train.txt", "wmt-ende-opennmt/tgt-train.txt", "news-commentary-fren/nc-5k.en", "news-commentary-fren/nc-5k.fr",
         "multi30k/task1/raw/train.en.gz", "multi30k/task1/raw/train.de.gz"]
ENCODE = """
import sys, time, json, sentencepiece
lines = open(sys.argv[2], encoding="utf-8").read().splitlines()
size = sum(len(line.encode()) + 1 for line in lines)
tokenizer = sentencepiece.SentencePieceProcessor(model_file=sys.argv[1])
tokenizer.encode(lines[:1000], num_threads=1)
start = time.perf_counter()
ids = tokenizer.encode(lines, out_type=int, num_threads=1)
seconds = time.perf_counter() - start
print(json.dumps(dict(seconds=seconds, megabytes=size / 1e6, tokens=sum(map(len, ids)), version=sentencepiece.__version__)))
"""


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--mneme", default=HERE.parent / ".build/release/mneme", type=Path)
    p.add_argument("--python", default=os.environ.get("PEERS_PYTHON", sys.executable), help="a Python that has sentencepiece (default: PEERS_PYTHON)")
    p.add_argument("--data", default=os.environ.get("MNEME_DATA"), type=Path, help="default: MNEME_DATA")
    p.add_argument("--work", required=True, type=Path, help="directory for texts, tokenizers and corpora")
    p.add_argument("--megabytes", type=float, default=64)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--output", type=Path, help="also write everything as JSON to this file")
    a = p.parse_args()
    if a.data is None:
        p.error("--data (or MNEME_DATA) is missing")
    a.work.mkdir(parents=True, exist_ok=True)
    once = b"".join((gzip.open if name.endswith(".gz") else open)(a.data / name, "rb").read() for name in TEXTS)
    (a.work / "once.txt").write_bytes(once)
    text = a.work / "text.txt"
    text.write_bytes(once * max(1, round(a.megabytes * 1e6 / len(once))))
    size = text.stat().st_size / 1e6
    print(f"{size:.1f} MB of text, repeated from {len(once) / 1e6:.1f} MB; load {os.getloadavg()[0]:.1f}", flush=True)
    results = dict(date=datetime.date.today().isoformat(), cores=os.cpu_count(), kernel=platform.release(), megabytes=size, kinds={})
    for kind in ("unigram", "bpe"):
        model = a.work / f"{kind}.model"
        if not model.exists():
            subprocess.run([a.mneme, "tokenizer", "train", "--kind", kind, "--vocabulary", "8000", "--output", model, a.work / "once.txt"], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def shard(ranks):
            output = a.work / f"corpus-{kind}"
            shutil.rmtree(output, ignore_errors=True)
            arguments = ["corpus", "shard", "--format", "text", "--document", "line", "--tokenizer", model, "--output", output, "--shard-size",
                         str(4 << 20), "--json", text]
            # One rank is started by mpirun too where it is compared with two.
            command = [a.mneme] + arguments if ranks == 0 else [HERE.parent / "launch/mpirun", str(ranks)] + arguments
            start = time.perf_counter()
            done = subprocess.run([str(part) for part in command], env=dict(os.environ, MNEME=str(a.mneme)), stdout=subprocess.PIPE, check=True)
            seconds = time.perf_counter() - start
            return dict(seconds=seconds, rate=size / seconds, report=json.loads(done.stdout))

        rates = {"sentencepiece": [], "mneme": [], "mneme, mpirun -n 1": [], "mneme, mpirun -n 2": []}
        loads = []
        for _ in range(a.rounds):
            loads.append(os.getloadavg()[0])
            done = subprocess.run([a.python, "-c", ENCODE, str(model), str(text)], stdout=subprocess.PIPE, text=True, check=True)
            peer = json.loads(done.stdout)
            rates["sentencepiece"].append(peer["megabytes"] / peer["seconds"])
            alone = shard(0)
            rates["mneme"].append(alone["rate"])
            rates["mneme, mpirun -n 1"].append(shard(1)["rate"])
            rates["mneme, mpirun -n 2"].append(shard(2)["rate"])
        median = {name: statistics.median(values) for name, values in rates.items()}
        results["kinds"][kind] = dict(rates=rates, median=median, load=loads, sentencepiece_python=peer["version"], peer_tokens=peer["tokens"],
                                      report=alone["report"])
        best = {name: max(values) for name, values in rates.items()}
        print(f"| {kind}, 8,000 pieces, MB/s | median of {a.rounds} rounds | ratio | best round | ratio |\n|---|---|---|---|---|")
        for name, base in (("sentencepiece", "sentencepiece"), ("mneme", "sentencepiece"), ("mneme, mpirun -n 1", "mneme, mpirun -n 1"),
                           ("mneme, mpirun -n 2", "mneme, mpirun -n 1")):
            label = f"SentencePiece {peer['version']} encode, 1 thread" if name == "sentencepiece" else name.replace("mneme", "mneme corpus shard")
            print(f"| {label} | {median[name]:.2f} | {median[name] / median[base]:.2f} | {best[name]:.2f} | {best[name] / best[base]:.2f} |")
        print(f"load averages before the turns: {', '.join(f'{load:.1f}' for load in loads)}\n", flush=True)
    if a.output:
        a.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
