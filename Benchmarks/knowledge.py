#!/usr/bin/env python3
"""Trains the two knowledge runs and measures that answers come out of the memory: with a fact removed, and with it edited.

    MNEME_DATA=... Benchmarks/knowledge.py [--mneme .build/release/mneme] [--only metaqa] [--output Benchmarks/results/knowledge.json]

Prints JSON. Needs nothing but Python 3. Takes some minutes.
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
    parser.add_argument("--only", choices=["synthetic", "documents", "metaqa"], help="one part alone")
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

    def synthetic(scratch, result):
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

    def documents(scratch, result):
        """The same facts as sentences of documents, read by each layout."""
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

    def metaqa(scratch, result):
        run = f"{scratch}/metaqa"
        result["metaqa"] = {"train_seconds": train("launch/runs/metaqa.yaml", run), **evaluate(run)}
        result["metaqa_edits"] = edited(run)
        if not options.only:
            run = f"{scratch}/metaqa-all-entities"
            seconds = train("launch/runs/metaqa.yaml", run, "task.candidates=entities")
            result["metaqa_all_entities"] = {"train_seconds": seconds, **evaluate(run)}

    def edited(run):
        """Edits facts behind test questions that are answered right and have one answer: another object of the relation in the place of it."""
        facts = json.loads(mneme("memory", "list", run, "--json"))
        objects, held = {}, {}
        for fact in facts:
            objects.setdefault(fact["relation"], set()).add(fact["object"])
            held.setdefault(fact["subject"], []).append(fact)
        chosen = []
        for number in range(10_000):
            if len(chosen) == options.facts:
                break
            shown = json.loads(mneme("memory", "show", run, "--example", number, "--json"))
            name = shown["input"][-1].partition("[")[2].partition("]")[0]
            about = [f for f in held.get(name, []) if f["object"] == shown["expected"]]
            if shown["answer"] != shown["expected"] or len(about) != 1:
                continue
            if sum(f["relation"] == about[0]["relation"] for f in held[name]) == 1 and about[0] not in [f for f, _ in chosen]:
                chosen.append((about[0], shown["input"][-1]))
        looked_at = number
        choice = random.Random(3)
        new = [choice.choice(sorted(objects[f["relation"]] - {f["object"]})) for f, _ in chosen]
        files = []
        for number, (_, question) in enumerate(chosen):
            path = pathlib.Path(run) / f"question-{number}.txt"
            path.write_text(question + "\n")
            files.append(path)

        def share(expected):
            answers = json.loads(mneme("answer", run, "--plain", "--json", *files))
            return sum(a["answer"] == e for a, e in zip(answers, expected))

        def put(values):
            start = time.monotonic()
            for (fact, _), value in zip(chosen, values):
                mneme("memory", "put", run, fact["subject"], fact["relation"], value, "--replace")
            return round((time.monotonic() - start) / len(chosen), 2)

        old = [f["object"] for f, _ in chosen]
        figures = {"facts": len(chosen), "examples_looked_at": looked_at, "old_answers_before": share(old), "seconds_an_edit": put(new)}
        figures |= {"old_answers": share(old), "new_answers": share(new), "hits_at_1_with_edits": evaluate(run)["hits_at_1"]}
        put(old)
        return figures | {"old_answers_restored": share(old), "hits_at_1_restored": evaluate(run)["hits_at_1"]}

    with tempfile.TemporaryDirectory() as scratch:
        result = {}
        parts = [("synthetic", synthetic), ("documents", documents)] + ([("metaqa", metaqa)] if os.environ.get("MNEME_DATA") else [])
        for name, part in parts:
            if options.only in (None, name):
                part(scratch, result)
    text = json.dumps(result, indent=2) + "\n"
    print(text, end="")
    if options.output:
        pathlib.Path(options.output).write_text(text)


if __name__ == "__main__":
    main()
