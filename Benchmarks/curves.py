#!/usr/bin/env python3
"""Learning curves of several runs in one picture: reads their metrics.jsonl, writes NAME.csv and NAME.svg. Needs Python alone.

    mneme train launch/runs/copy-ntm.yaml
    mneme train launch/runs/copy-lstm.yaml
    Benchmarks/curves.py --title "Copy, 1 to 20 vectors of 8 bits" --metric bits_per_sequence \\
        --output Benchmarks/results/copy NTM=checkpoints/copy-ntm LSTM=checkpoints/copy-lstm
"""

import argparse
import csv
import html
import json
import math
import re
from pathlib import Path

COLOURS = ["#1f5fa8", "#d1661b", "#3a8a3a", "#8a3a8a", "#444444"]
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 800, 480, 70, 40, 50, 56


def lanes(directory):
    """The sequences of a step, from the run's resolved configuration."""
    return int(re.search(r"^batch:\n(?:  .*\n)*?  lanes: (\d+)$", (directory / "run.yaml").read_text(), re.M).group(1))


def points(directory, metric):
    """(sequences, value) of every evaluation."""
    count = lanes(directory)
    for line in (directory / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        if f"validation_{metric}" in record:
            yield record["step"] * count, record[f"validation_{metric}"]


def svg(title, metric, curves):
    """A logarithmic picture; zeros stand on its lower edge."""
    values = [value for curve in curves.values() for _, value in curve if value > 0]
    low, high = math.floor(math.log10(max(min(values), 1e-4))), math.ceil(math.log10(max(values)))
    last = max(x for curve in curves.values() for x, _ in curve)

    def x(sequences):
        return LEFT + sequences / last * (WIDTH - LEFT - RIGHT)

    def y(value):
        part = (math.log10(max(value, 10.0**low)) - low) / max(high - low, 1)
        return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="13">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
             f'<text x="{LEFT}" y="26" font-size="17" font-weight="bold" fill="#222222">{html.escape(title)}</text>']
    for power in range(low, high + 1):
        line = y(10.0**power)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{line:.1f}" y2="{line:.1f}" stroke="#dddddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{line + 4:.1f}" text-anchor="end" fill="#444444">{10.0**power:g}</text>')
    for tick in range(0, 6):
        at = last * tick // 5
        parts.append(f'<text x="{x(at):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle" fill="#444444">{at:,}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle" fill="#222222">training sequences</text>')
    parts.append(f'<text transform="translate(18 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle" fill="#222222">'
                 f'{html.escape(metric.replace("_", " "))} (held out)</text>')
    for index, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[index % len(COLOURS)]
        path = "L".join(f"{x(sequences):.1f} {y(value):.1f}" for sequences, value in curve)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{WIDTH - RIGHT - 8}" y="{TOP + 16 + 18 * index}" text-anchor="end" font-weight="bold" fill="{colour}">{html.escape(name)}</text>')
    return "\n".join(parts + ["</svg>\n"])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("runs", nargs="+", metavar="NAME=RUN-DIR")
    p.add_argument("--metric", default="bits_per_sequence", help="a score of metrics.jsonl without validation_ (default: bits_per_sequence)")
    p.add_argument("--title", required=True)
    p.add_argument("--output", required=True, type=Path, help="the path of both files without their suffix")
    options = p.parse_args()
    curves = {name: list(points(Path(directory), options.metric)) for name, _, directory in (run.partition("=") for run in options.runs)}
    with open(options.output.with_suffix(".csv"), "w", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(["run", "sequences", options.metric])
        writer.writerows([name, *point] for name, curve in curves.items() for point in curve)
    options.output.with_suffix(".svg").write_text(svg(options.title, options.metric, curves))


if __name__ == "__main__":
    main()
