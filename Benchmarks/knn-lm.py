#!/usr/bin/env python3
"""Measures what a language model gains from a datastore (kNN-LM) and a continuous cache, on books and on dictionaries.

    MNEME_DATA=... Benchmarks/knn-lm.py prepare SCRATCH     texts, tokenizer, corpora: books, and the dictionaries of Debian's
                                                            dict-gcide and dict-wn, which apt-get download fetches
    Benchmarks/knn-lm.py train SCRATCH                      the small decoder of launch/runs/knn-lm-books.yaml, on the books
    Benchmarks/knn-lm.py measure SCRATCH [--output FILE]    banks, and all tables, as JSON

Each stage leaves what the next one reads in SCRATCH; a stage whose output is there is passed over. Options of all: --mneme PROGRAM
(.build/release/mneme). Needs Python 3, and apt-get and dpkg-deb for the dictionaries.
"""

import argparse
import gzip
import json
import os
import pathlib
import subprocess
import time

DOMAINS = ["books", "gcide", "wn"]
TRAIN_BYTES = {"books": 4_500_000, "gcide": 2_200_000, "wn": 2_200_000}
HELD_OUT_BYTES = 240_000


def base64_number(text):
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    value = 0
    for letter in text:
        value = value * 64 + digits.index(letter)
    return value


def unwrapped(text):
    """Paragraphs on one line each, as a language model reads them: line ends inside a paragraph are the typesetter's."""
    paragraphs = (" ".join(part.split()) for part in text.replace("\r", "").split("\n\n"))
    return "\n".join(part for part in paragraphs if part) + "\n"


def books(part):
    for path in sorted(pathlib.Path(os.environ["MNEME_DATA"], "books", part).glob("*.txt.gz")):
        yield path.name.removesuffix(".txt.gz"), unwrapped(gzip.decompress(path.read_bytes()).decode())


def entries(name, folder):
    """The entries of a dictionary of Debian's, in the order of the file, each once."""
    package = f"dict-{name}"
    if not (folder / name).exists():
        subprocess.run(["apt-get", "download", package], check=True, cwd=folder)
        archive = next(folder.glob(f"{package}_*.deb"))
        subprocess.run(["dpkg-deb", "-x", archive, folder / name], check=True)
    home = folder / name / "usr/share/dictd"
    data = gzip.decompress((home / f"{name}.dict.dz").read_bytes())
    places = set()
    for line in (home / f"{name}.index").read_text().splitlines():
        word, start, length = line.split("\t")[:3]
        if not word.startswith("00database"):
            places.add((base64_number(start), base64_number(length)))
    for start, length in sorted(places):
        yield unwrapped(data[start:start + length].decode("utf-8", "replace"))


def prepare(scratch, mneme):
    texts = scratch / "texts"
    if not texts.exists():
        partial = scratch / "texts.partial"
        for domain in DOMAINS:
            for part in ["train", "valid", "test"]:
                (partial / domain / part).mkdir(parents=True, exist_ok=True)
        # Books: whole ones to learn from, evenly over the alphabet of authors; the middle of each held-out one.
        train = list(books("train"))
        size = 0
        for number in (i * 37 % len(train) for i in range(len(train))):
            name, text = train[number]
            if size + len(text.encode()) > TRAIN_BYTES["books"]:
                break
            (partial / "books/train" / f"{name}.txt").write_text(text)
            size += len(text.encode())
        for part in ["valid", "test"]:
            held_out = list(books(part))
            for name, text in held_out:
                middle, count = len(text) // 2, HELD_OUT_BYTES // len(held_out)
                start = text.index("\n", middle) + 1
                (partial / "books" / part / f"{name}.txt").write_text(text[start:text.index("\n", start + count) + 1])
        # Dictionaries: stretches of 64 entries, evenly over the alphabet.
        for domain in DOMAINS[1:]:
            (scratch / "packages").mkdir(exist_ok=True)
            every = list(entries(domain, scratch / "packages"))
            stretches = ["".join(every[start:start + 64]) for start in range(0, len(every), 64)]
            for part, first, wanted in [
                    ("valid", 3, HELD_OUT_BYTES), ("test", 7, HELD_OUT_BYTES), ("train", None, TRAIN_BYTES[domain])]:
                mine = [i for i in range(len(stretches)) if (i % 10 == first if first is not None else i % 10 not in (3, 7))]
                total = sum(len(stretches[i].encode()) for i in mine)
                keep = max(1, round(len(mine) * wanted / total))
                taken = [mine[k * len(mine) // keep] for k in range(keep)]
                for i in taken:
                    (partial / domain / part / f"{i:05}.txt").write_text(stretches[i])
        partial.rename(texts)
    tokenizer = scratch / "shared.model"
    if not tokenizer.exists():
        mneme("tokenizer", "train", "--kind", "bpe", "--vocabulary", 4096, "--document", "file", "--output", tokenizer,
              *(texts / domain / "train" for domain in DOMAINS))
    for domain in DOMAINS:
        for part in ["train", "valid", "test"]:
            corpus = scratch / "corpora" / f"{domain}-{part}"
            if not corpus.exists():
                corpus.parent.mkdir(exist_ok=True)
                mneme("corpus", "shard", "--format", "text", "--document", "file", "--tokenizer", tokenizer,
                      "--output", corpus, texts / domain / part)


def train(scratch, mneme):
    if not (scratch / "runs/books/session.json").exists():
        mneme("train", "launch/runs/knn-lm-books.yaml", "--fresh", "--set", f"run={scratch}/runs/books",
              "--set", f"corpus.shards={scratch}/corpora/books-train", "--set", f"corpus.validation={scratch}/corpora/books-valid")


def measure(scratch, mneme, options):
    run, bank = scratch / "runs/books", scratch / "bank"
    results = {"builds": {}, "tables": {}}

    def corpus(domain, part):
        return scratch / "corpora" / f"{domain}-{part}"

    def evaluate(domain, *arguments):
        start = time.monotonic()
        found = json.loads(mneme("evaluate", run, "--corpus", corpus(domain, "test"), "--json", *arguments))
        kept = ["perplexity", "model_perplexity", "lambda", "temperature", "hit_rate", "read_entropy", "cache_lambda", "cache_theta",
                "cache_hit_rate", "tokens", "records"]
        return {**{k: found[k] for k in kept if k in found}, "seconds": round(time.monotonic() - start, 1)}

    for domain in DOMAINS:
        start = time.monotonic()
        receipt = json.loads(mneme("memory", "build", bank, run, "--corpus", corpus(domain, "train"), "--namespace", domain,
                                   "--limit", options.limit, "--json"))
        results["builds"][domain] = {"tokens": receipt["tokens"], "created": receipt["created"],
                                     "seconds": round(time.monotonic() - start, 1)}
        print(json.dumps({domain: results["builds"][domain]}), flush=True)

    if options.probe:
        start = time.monotonic()
        mneme("memory", "index", bank)
        results["index_seconds"] = round(time.monotonic() - start, 1)
    search = ["--neighbors", options.neighbors] + (["--probe", options.probe] if options.probe else [])
    for name, domain, arguments in [
            ("cache alone", "books", ["--cache", options.cache, "--tune-on", corpus("books", "valid")]),
            ("bank and cache", "books", ["--bank", bank, "--namespace", "books", *search, "--cache", options.cache,
                                         "--tune-on", corpus("books", "valid")])]:
        results["tables"][name] = evaluate(domain, *arguments)
        print(json.dumps({name: results["tables"][name]}), flush=True)
    # The weight of a bank is tuned on the validation text of the domain that is measured.
    for domain in DOMAINS:
        for namespace in DOMAINS:
            name = f"{domain} test, bank of {namespace}"
            results["tables"][name] = evaluate(domain, "--bank", bank, "--namespace", namespace, *search, "--tune-on", corpus(domain, "valid"))
            print(json.dumps({name: results["tables"][name]}), flush=True)
    text = json.dumps(results, indent=1)
    print(text)
    if options.output:
        options.output.write_text(text + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("stage", choices=["prepare", "train", "measure"])
    parser.add_argument("scratch", type=pathlib.Path)
    parser.add_argument("--mneme", default=".build/release/mneme")
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("--limit", type=int, default=2_000_000, help="tokens of each domain that go into its bank")
    parser.add_argument("--neighbors", type=int, default=256)
    parser.add_argument("--probe", type=int, help="lists of an inverted file that are searched; without it the search is exact")
    parser.add_argument("--cache", type=int, default=2000)
    options = parser.parse_args()
    options.scratch.mkdir(parents=True, exist_ok=True)

    def mneme(*arguments):
        return subprocess.run([options.mneme, *map(str, arguments)], check=True, capture_output=True, text=True).stdout

    if options.stage == "prepare":
        prepare(options.scratch, mneme)
    elif options.stage == "train":
        train(options.scratch, mneme)
    else:
        measure(options.scratch, mneme, options)


if __name__ == "__main__":
    main()
