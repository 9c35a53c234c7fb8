#!/usr/bin/env python3
"""Facts in the weights against facts in a bank: bits recalled, deleted and put.

    Benchmarks/facts.py edit --people 10000 --scratch DIR     trains launch/runs/biographies-lookup.yaml with its bank, deletes 100 people, puts 100 new ones
    Benchmarks/facts.py heart --people 10000 --scratch DIR    trains launch/runs/biographies-by-heart.yaml for 100 exposures of every person
    Benchmarks/facts.py table --people 10000 --scratch DIR    the same with launch/runs/biographies-engram.yaml, which reads what n-grams own in a table
    Benchmarks/facts.py picture --scratch DIR --output FILE   draws bits recalled against the number of facts, of all runs in DIR

The decoder is the same everywhere: two layers of width 64, 0.25 million parameters beside a table's rows. Bits are those of evaluation over all people: by heart, of every attribute its
bits less the mean cross-entropy of its value; by lookup, its bits times the share that is right. Exit code 1: a figure that must hold does not.
"""

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHANCE = (1 / (28 * 12 * 200) + 1 / 200 + 1 / 300 + 1 / 100 + 1 / 263 + 1 / 200 + 1 / 2) / 7


def mneme(options, *words, **more):
    result = subprocess.run([str(options.mneme), *map(str, words)], capture_output=True, text=True, **more)
    if result.returncode:
        sys.exit(f"mneme {' '.join(map(str, words[:4]))} ended with {result.returncode}: {result.stderr.strip()}")
    return result.stdout


def evaluated(options, run, *words):
    return json.loads(mneme(options, "evaluate", run, "--json", *words))


def learned(options, kind, file):
    run = options.scratch / f"{kind}-{options.people}"
    mneme(options, "train", HERE.parent / "launch/runs" / file, "--set", f"run={run}", "--set", f"task.people={options.people}",
          "--set", f"steps={math.ceil(options.people * options.exposures / 128)}")
    print(json.dumps(evaluated(options, run)))


def edit(options):
    run, bank = options.scratch / f"lookup-{options.people}", options.scratch / f"lookup-{options.people}/banks/facts"
    mneme(options, "train", HERE.parent / "launch/runs/biographies-lookup.yaml", "--set", f"run={run}", "--set", f"task.people={options.people}")
    count = options.people

    def evaluated_all():
        # Every question is compared with every key: of many people some are asked.
        return evaluated(options, run, *(["--people", f"0-{options.sample - 1}"] if count > options.sample else []))

    before = evaluated_all()

    # The same people by number, wherever they are asked for.
    def people(first, last, name):
        mneme(options, "corpus", "simulate", "biographies", "--people", f"{first}-{last}", "--output", options.scratch / name, "--force")
        return options.scratch / name / "records.jsonl"

    gone = [json.loads(line)["id"] for line in people(0, 99, "gone").read_text().splitlines()]
    mneme(options, "memory", "delete", bank, *gone, "--namespace", "people", "--reason", "100 people leave")
    deleted, others = evaluated(options, run, "--people", "0-99"), evaluated_all()
    mneme(options, "memory", "import", bank, people(count, count + 99, "newcomers"), "--reason", "100 people come")
    put, after = evaluated(options, run, "--people", f"{count}-{count + 99}"), evaluated_all()
    print(f"""people {count}, facts {7 * count}
recall of all                                      {before['recall']:.4f}, in other words {before['recall_in_other_words']:.4f}
100 people deleted: recall of their facts          {deleted['recall']:.4f} (chance {CHANCE:.4f})
  of the others' facts                             {others['recall_of_facts_in_the_bank']:.4f}
  loss of the text without facts, before and after {before['loss']!r} {others['loss']!r}
100 people put, without training: their recall     {put['recall']:.4f}, in other words {put['recall_in_other_words']:.4f}
  loss of the text without facts, after            {after['loss']!r}""")
    holds = (before["recall"] >= 0.95 and deleted["recall"] <= CHANCE + 0.02
             and abs(others["recall_of_facts_in_the_bank"] - before["recall"]) <= 0.005
             and before["loss"] == others["loss"] == after["loss"] and put["recall"] >= 0.95)
    print("all figures hold" if holds else "A FIGURE DOES NOT HOLD")
    sys.exit(0 if holds else 1)


def picture(options):
    kinds = {"heart": "by heart", "table": "in rows that n-grams own", "lookup": "looked up in a bank"}
    points = {kind: [] for kind in kinds.values()}
    rows = []
    for path in sorted(options.scratch.glob("*-*/metrics.jsonl"), key=lambda path: int(path.parent.name.split("-")[-1])):
        kind = kinds.get(path.parent.name.split("-")[0])
        if kind is None:
            continue
        count = int(path.parent.name.split("-")[-1])
        # The first hundred were deleted from the banks.
        figures = evaluated(options, path.parent, "--people", f"100-{min(options.sample + 100, count) - 1}")
        points[kind].append((count, max(1, figures["bits_recalled"])))
        rows.append((count, kind, figures))
    print("| people | million bits | facts are | bits recalled | share | recall | in other words |\n| --- | --- | --- | --- | --- | --- | --- |")
    for count, kind, figures in rows:
        bits = 47.5916 * count
        print(f"| {count:,} | {bits / 1e6:.3f} | {kind} | {figures['bits_recalled'] / 1e6:.3f} million | {figures['bits_recalled'] / bits:.1%} | "
              f"{figures['recall']:.1%} | {figures['recall_in_other_words']:.1%} |")
    options.output.write_text(svg(points))


def svg(points):
    width, height, left, right, top, bottom = 800, 480, 80, 30, 50, 56
    everything = [point for curve in points.values() for point in curve]
    low, high = math.log10(min(x for x, _ in everything)) - 0.1, math.log10(max(x for x, _ in everything)) + 0.1
    floor, ceiling = math.log10(min(y for _, y in everything)) - 0.2, math.log10(max(y for _, y in everything)) + 0.2

    def place(x, y):
        return (left + (math.log10(x) - low) / (high - low) * (width - left - right),
                height - bottom - (math.log10(y) - floor) / (ceiling - floor) * (height - top - bottom))

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="sans-serif" font-size="13">',
             f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
             f'<text x="{left}" y="26" font-size="17" font-weight="bold" fill="#222222">Bits recalled by one small decoder, against the number of people</text>']
    for power in range(math.ceil(floor), math.floor(ceiling) + 1):
        y = place(10 ** low, 10.0 ** power)[1]
        parts.append(f'<line x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>'
                     f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#444444">{10.0 ** power:,.0f}</text>')
    for x in sorted({x for x, _ in everything}):
        parts.append(f'<text x="{place(x, 10 ** floor)[0]:.1f}" y="{height - bottom + 20}" text-anchor="middle" fill="#444444">{x:,}</text>')
    parts.append(f'<text x="{(left + width - right) / 2}" y="{height - 12}" text-anchor="middle" fill="#222222">people, 47.6 bits each</text>')
    whole = sorted({x for x, _ in everything})
    line = "L".join("{:.1f} {:.1f}".format(*place(x, 47.5916 * x)) for x in whole)
    parts.append(f'<path d="M{line}" fill="none" stroke="#999999" stroke-dasharray="5 4"/>'
                 f'<text x="{place(whole[-1], 1)[0] - 6:.1f}" y="{place(whole[-1], 47.5916 * whole[-1])[1] - 10:.1f}" text-anchor="end" fill="#777777">all there is</text>')
    for index, (name, curve) in enumerate(points.items()):
        if not curve:
            continue
        colour = ["#d1661b", "#2b8a3e", "#1f5fa8"][index]
        line = "L".join("{:.1f} {:.1f}".format(*place(*point)) for point in curve)
        parts.append(f'<path d="M{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for point in curve:
            x, y = place(*point)
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
        x, y = place(*curve[-1])
        parts.append(f'<text x="{min(x, width - right - 10):.1f}" y="{y + 40:.1f}" text-anchor="end" font-weight="bold" fill="{colour}">{name}</text>')
    return "\n".join(parts + ["</svg>\n"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["heart", "table", "edit", "picture"])
    parser.add_argument("--mneme", default=HERE.parent / ".build/release/mneme", type=Path, help="the program (default: the release build)")
    parser.add_argument("--people", type=int, default=10000)
    parser.add_argument("--exposures", type=int, default=100, help="how often each person is learned by heart (default: 100)")
    parser.add_argument("--sample", type=int, default=10000, help="ask about at most so many people (default: 10000)")
    parser.add_argument("--scratch", type=Path, required=True, help="a folder for the runs")
    parser.add_argument("--output", type=Path, default=Path("facts.svg"))
    options = parser.parse_args()
    {"heart": lambda options: learned(options, "heart", "biographies-by-heart.yaml"),
     "table": lambda options: learned(options, "table", "biographies-engram.yaml"), "edit": edit, "picture": picture}[options.what](options)


main()
