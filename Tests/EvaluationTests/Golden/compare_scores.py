"""Compares `mneme score` with the reference programs on random pairs, one process a pair.

Run with sacrebleu 2.6.0, rouge_score 0.1.2 and transformers (whose SQuAD metrics follow the data set's own script) installed:

    python3 Tests/EvaluationTests/Golden/compare_scores.py --mneme .build/release/mneme --pairs 10000

prints a table: pairs, pairs whose scores differ by more than one part in 10^9, and the largest difference. The first pairs that differ are shown, and
the exit code is then 1. `launch/test --campaign scores` runs it.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

from rouge_score import rouge_scorer
from sacrebleu.metrics import BLEU, CHRF
from transformers.data.metrics import squad_metrics

TOLERANCE = 1e-9
WORDS = """the a an cat sat mat running runs easily flies co-operation U.S. 1,000.50 3-4 it's o'clock &quot; &amp; <skipped> Fluß über Brücke naïve café
ΟΔΥΣΣΕΥΣ Σ σας İstanbul K 漢字 汉 かな 한국어 🙂 e\u0301 résumé ﬁne Ǆ ß ΐ ١٢٣ ½ x² … – — “quoted” (brackets) [x] {y} ~ ` ^ _ \\ / | @ # $ % * + = ! ? . , ; :
-5 .5 5. 1990s a.b.c ,,, .... The AN A's the, "the" zero\u200bwidth soft\u00adhyphen عربي हिन्दी ไทย""".split()
SPACES = [" "] * 40 + ["  ", "\t", "\u00a0", "\u2003", "\u3000", "\u2028", "\x0b", "\x0c", "\x1c", "\x85", "\u200b", ""]
LETTERS = [chr(c) for start, end in ((0x20, 0x7F), (0xA0, 0x250), (0x370, 0x400), (0x400, 0x460), (0x2000, 0x2070), (0x3040, 0x3060), (0x1F600, 0x1F610))
           for c in range(start, end)]
BOUNDARY = " <t> "


def text(rng, longest):
    words = [rng.choice(WORDS) if rng.random() < 0.9 else "".join(rng.choices(LETTERS, k=rng.randint(1, 6))) for _ in range(rng.randint(0, longest))]
    return "".join(word + rng.choice(SPACES) for word in words)


def mutated(rng, value):
    """The same text with words left out, doubled, exchanged and changed in case."""
    parts = value.split(" ")
    for _ in range(rng.randint(0, 4)):
        if not parts:
            break
        place = rng.randrange(len(parts))
        choice = rng.randrange(5)
        if choice == 0:
            del parts[place]
        elif choice == 1:
            parts.insert(place, rng.choice(WORDS))
        elif choice == 2:
            other = rng.randrange(len(parts))
            parts[place], parts[other] = parts[other], parts[place]
        elif choice == 3:
            parts[place] = parts[place].upper()
        else:
            parts.insert(place, parts[place])
    return " ".join(parts)


def line(value):
    """One line: what ends a line in a file is not in it."""
    return value.replace("\n", " ").replace("\r", " ")


class Pair:
    """A random case of one scorer: the files, the options, and what the reference program says."""

    def __init__(self, scorer, number, seed):
        rng = random.Random(f"{seed} {scorer} {number}")
        self.scorer, self.number = scorer, number
        self.options, self.files = [], {}
        getattr(self, scorer)(rng)

    def aligned(self, rng, longest=25):
        """Hypotheses and sets of references, one to three segments of each."""
        count, sets = rng.choice([1, 1, 2, 3]), rng.choice([1, 1, 1, 2, 3])
        references = [[line(text(rng, longest)) for _ in range(count)] for _ in range(sets)]
        hypotheses = [line(mutated(rng, references[rng.randrange(sets)][index]) if rng.random() < 0.9 else text(rng, longest)) for index in range(count)]
        self.files = {f"r{index}": "".join(value + "\n" for value in lines) for index, lines in enumerate(references)}
        self.files["h"] = "".join(value + "\n" for value in hypotheses)
        return hypotheses, references

    def bleu(self, rng):
        hypotheses, references = self.aligned(rng)
        tokenizer, lowercase = rng.choice(["13a", "13a", "none", "char"]), rng.random() < 0.3
        self.options = ["--tokenize", tokenizer] + (["--lowercase"] if lowercase else [])
        self.expected = {"score": BLEU(tokenize=tokenizer, lowercase=lowercase).corpus_score(hypotheses, references).score}

    def chrf(self, rng):
        hypotheses, references = self.aligned(rng)
        words, lowercase = rng.choice([0, 2]), rng.random() < 0.3
        self.options = ["--word-order", str(words)] + (["--lowercase"] if lowercase else [])
        self.expected = {"score": CHRF(word_order=words, lowercase=lowercase).corpus_score(hypotheses, references).score}

    def rouge(self, rng):
        sentences = [line(text(rng, 12)) for _ in range(rng.randint(1, 4))]
        answer = [line(mutated(rng, sentence)) for sentence in sentences if rng.random() < 0.9] + ([line(text(rng, 10))] if rng.random() < 0.3 else [])
        rng.shuffle(answer)
        self.files = {"r0": BOUNDARY.join(sentences) + "\n", "h": BOUNDARY.join(answer) + "\n"}
        stemmer = rng.random() < 0.7
        self.options = ["--sentence-separator", BOUNDARY.strip(), "--stemmer" if stemmer else "--no-stemmer"]
        reference, hypothesis = ("\n".join(part.strip(" ") for part in self.files[name][:-1].split(BOUNDARY.strip())) for name in ("r0", "h"))
        scores = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=stemmer).score(reference, hypothesis)
        self.expected = {
            f"{ours}.{part}": getattr(scores[theirs], field)
            for ours, theirs in (("rouge1", "rouge1"), ("rouge2", "rouge2"), ("rouge_l", "rougeL"), ("rouge_lsum", "rougeLsum"))
            for part, field in (("precision", "precision"), ("recall", "recall"), ("f1", "fmeasure"))}

    def squad(self, rng):
        answers = [text(rng, 6).strip() for _ in range(rng.randint(1, 3))]
        answers = [answer for answer in answers if answer] or ["x"]
        prediction = mutated(rng, rng.choice(answers)) if rng.random() < 0.9 else text(rng, 6)
        questions = [{"id": "q", "question": "?", "answers": [{"text": answer, "answer_start": 0} for answer in answers]}]
        data = {"version": "1.1", "data": [{"title": "t", "paragraphs": [{"context": " ".join(answers), "qas": questions}]}]}
        self.files = {"r0": json.dumps(data, ensure_ascii=rng.random() < 0.5), "h": json.dumps({"q": prediction}, ensure_ascii=rng.random() < 0.5)}
        # An answer of which nothing is left to compare does not count where another does (the data set's script of version 2.0); of version 1.1 all count.
        self.expected = {
            "exact_match": 100.0 * max(squad_metrics.compute_exact(answer, prediction) for answer in answers),
            "f1": 100.0 * max(f1(answer, prediction) for answer in answers)}


def f1(answer, prediction):
    """As version 1.1 has it: texts that are empty once normalised have no word in common."""
    if not squad_metrics.get_tokens(answer) or not squad_metrics.get_tokens(prediction):
        return 0.0
    return squad_metrics.compute_f1(answer, prediction)


def measured(options, pair):
    with tempfile.TemporaryDirectory(prefix="mneme-scores-") as folder:
        for name, value in pair.files.items():
            pathlib.Path(folder, name).write_bytes(value.encode("utf-8", "surrogatepass"))
        references = sorted(name for name in pair.files if name != "h")
        command = [options.mneme.resolve(), "score", pair.scorer, "--json", *pair.options, "h", "--references", *references]
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=60)
    if done.returncode:
        return {"error": done.stderr.decode(errors="replace").strip()}
    found = json.loads(done.stdout)
    return {key: found[key.split(".")[0]][key.split(".")[1]] if "." in key else found[key] for key in pair.expected}


def difference(pair, found):
    if "error" in found:
        return float("inf")
    return max(abs(found[key] - value) / max(1, abs(value)) for key, value in pair.expected.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mneme", type=pathlib.Path, default=pathlib.Path(".build/release/mneme"))
    parser.add_argument("--pairs", type=int, default=10_000, help="pairs for each scorer (default: 10000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scorers", default="bleu,chrf,rouge,squad")
    options = parser.parse_args()
    failed = False
    print("| scorer | pairs | differ | largest difference |\n| --- | --- | --- | --- |", flush=True)
    for scorer in options.scorers.split(","):
        def compare(number):
            pair = Pair(scorer, number, options.seed)
            found = measured(options, pair)
            return pair, found, difference(pair, found)

        differing, largest = [], 0.0
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for pair, found, gap in pool.map(compare, range(options.pairs)):
                largest = max(largest, gap)
                if gap > TOLERANCE:
                    differing.append((pair, found))
        print(f"| {scorer} | {options.pairs} | {len(differing)} | {largest:.1e} |", flush=True)
        failed = failed or bool(differing)
        for pair, found in differing[:5]:
            print(f"{scorer} {pair.number} {pair.options}: expected {pair.expected}, found {found}\n  {pair.files}", file=sys.stderr, flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
