#!/usr/bin/env python3
"""Trains the two knowledge runs and measures that answers come out of the memory: with a fact removed, and with it edited.

    MNEME_DATA=... Benchmarks/knowledge.py [--mneme .build/release/mneme] [--output Benchmarks/results/knowledge.json]

Prints JSON. Needs nothing but Python 3. Takes some two minutes.
"""

import argparse
import json
import os
import pathlib
import random
import subprocess
import tempfile
import time

QUESTIONS = {
    "directed by": "who directed [{}]?", "written by": "who wrote [{}]?", "release year": "when was [{}] released?",
    "has genre": "what genre is [{}]?", "in language": "what language is [{}] in?",
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mneme", default=".build/release/mneme")
    parser.add_argument("--output")
    parser.add_argument("--facts", type=int, default=100)
    options = parser.parse_args()

    def mneme(*arguments):
        return subprocess.run([options.mneme, *map(str, arguments)], check=True, capture_output=True, text=True).stdout

    def train(run_file, directory, *overrides):
        start = time.monotonic()
        mneme("train", run_file, "--fresh", "--set", f"run={directory}", *[a for o in overrides for a in ("--set", o)])
        return round(time.monotonic() - start, 1)

    def evaluate(directory):
        scores = json.loads(mneme("evaluate", directory, "--json"))
        return {k: v for k, v in scores.items() if k not in ("run", "task")}

    with tempfile.TemporaryDirectory() as scratch:
        result = {}
        run = f"{scratch}/synthetic"
        result["synthetic"] = {"train_seconds": train("launch/runs/knowledge-synthetic.yaml", run), **evaluate(run)}

        facts = json.loads(mneme("memory", "list", run, "--json"))
        objects = {}
        for fact in facts:
            objects.setdefault(fact["relation"], set()).add(fact["object"])
        chosen = random.Random(1).sample(facts, options.facts)
        files = []
        for number, fact in enumerate(chosen):
            path = pathlib.Path(scratch) / f"question-{number}.txt"
            path.write_text(QUESTIONS[fact["relation"]].format(fact["subject"]) + "\n")
            files.append(path)

        def share(expected):
            answers = json.loads(mneme("answer", run, "--plain", "--json", *files))
            return sum(a["answer"] == e for a, e in zip(answers, expected)) / len(expected)

        old = [f["object"] for f in chosen]
        random_choice = random.Random(2)
        new = [random_choice.choice(sorted(objects[f["relation"]] - {f["object"]})) for f in chosen]
        memory = {"facts": len(chosen), "before": share(old)}
        for fact in chosen:
            mneme("memory", "delete", run, fact["subject"], fact["relation"])
        memory["removed"] = share(old)
        memory["chance_within_relation"] = sum(1 / len(objects[f["relation"]]) for f in chosen) / len(chosen)
        for fact, value in zip(chosen, new):
            mneme("memory", "put", run, fact["subject"], fact["relation"], value)
        memory["edited_old_answer"], memory["edited_new_answer"] = share(old), share(new)
        for fact, value in zip(chosen, old):
            mneme("memory", "put", run, fact["subject"], fact["relation"], value, "--replace")
        memory["restored"] = share(old)
        result["memory"] = memory

        # The same facts as sentences of documents, read by each layout.
        documents = result["documents"] = {}
        for name, layout in [
            ("sentence", ["task.layout=sentence"]), ("window", ["task.layout=window"]), ("window, centre", ["task.layout=window", "task.encodeCentre=true"]),
            ("window and title", ["task.layout=window-and-title"]),
            ("window and title, centre", ["task.layout=window-and-title", "task.encodeCentre=true"]),
        ]:
            run = f"{scratch}/documents"
            common = ["task.window=15", "task.weighting=count", "task.candidates=memory", "model.deviation=0.3"]
            seconds = train("launch/runs/knowledge-synthetic.yaml", run, *common, *layout)
            documents[name] = {"train_seconds": seconds, **{k: v for k, v in evaluate(run).items() if k in ("hits_at_1", "hash_recall")}}

        if os.environ.get("MNEME_DATA"):
            for name, overrides in [("metaqa", []), ("metaqa_all_entities", ["task.candidates=entities"])]:
                run = f"{scratch}/{name}"
                result[name] = {"train_seconds": train("launch/runs/metaqa.yaml", run, *overrides), **evaluate(run)}
    text = json.dumps(result, indent=2) + "\n"
    print(text, end="")
    if options.output:
        pathlib.Path(options.output).write_text(text)


if __name__ == "__main__":
    main()
