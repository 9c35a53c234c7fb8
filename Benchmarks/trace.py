#!/usr/bin/env python3
"""Draws some steps of all ranks, from the traces that `mneme train --trace` has written, as one SVG: who was late is seen at a glance.

    Benchmarks/trace.py RUN --first 8 --steps 4 --output Benchmarks/results/trace.svg

Each rank has two rows: what it does (step, data, save, evaluation, ...), and in which collective it is, which is where it waits for others. A tick marks
when a rank was ready with its own part of a step. Perfetto and Chrome's tracing page open the same files.
"""

import argparse
import html
import json
from pathlib import Path

COLOURS = {"step": "#7fb2e5", "data": "#c9b458", "evaluation": "#9ccc9c", "save": "#e3a587", "publish": "#e3a587", "log": "#cccccc"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--first", type=int, default=1, help="the first step")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    ranks = [json.loads(path.read_text()) for path in sorted(options.run.glob("trace-*.json"), key=lambda path: int(path.stem.split("-")[1]))]
    wanted = range(options.first, options.first + options.steps)
    shown = [[event for event in events if event.get("args", {}).get("step") in wanted and event["ph"] in "Xi"] for events in ranks]
    if not any(shown):
        raise SystemExit(f"{options.run}: no trace has steps {wanted.start} to {wanted.stop - 1}")
    begin = min(event["ts"] for events in shown for event in events)
    end = max(event["ts"] + event.get("dur", 0) for events in shown for event in events)
    width, left, row = 1000, 70, 26
    height = 40 + len(ranks) * (2 * row + 18)

    def x(time):
        return left + (time - begin) / (end - begin) * (width - left - 10)

    body = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="sans-serif" font-size="11">',
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>']
    for number, events in enumerate(shown):
        top = 14 + number * (2 * row + 18)
        body.append(f'<text x="4" y="{top + row}" font-size="13">rank {number}</text>')
        for event in sorted(events, key=lambda event: -event.get("dur", 0)):
            if event["ph"] == "i":
                body.append(f'<path d="M{x(event["ts"]):.1f} {top - 6} v{2 * row + 10}" stroke="#c0392b" stroke-width="1.5"/>')
                continue
            isCollective = event["cat"] == "collective"
            place, size = x(event["ts"]), max(0.6, x(event["ts"] + event["dur"]) - x(event["ts"]))
            colour = "#8e6bbf" if isCollective else COLOURS.get(event["name"], "#dddddd")
            label = html.escape(event["name"] + (f' {event["args"]["step"]}' if event["name"] == "step" else ""))
            body.append(f'<rect x="{place:.1f}" y="{top + (row if isCollective else 0)}" width="{size:.1f}" height="{row - 3}" fill="{colour}">'
                        f'<title>{label}, {event["dur"] / 1e3:.2f} ms</title></rect>')
            if size > 7 * len(label):
                body.append(f'<text x="{place + 4:.1f}" y="{top + (row if isCollective else 0) + 15}">{label}</text>')
    axis = height - 24
    body.append(f'<path d="M{left} {axis} H{width - 10}" stroke="#555"/>')
    for tick in range(6):
        time = begin + (end - begin) * tick / 5
        anchor = "end" if tick == 5 else "middle"
        body.append(f'<text x="{x(time):.0f}" y="{axis + 16}" text-anchor="{anchor}">{(time - begin) / 1e3:.0f} ms</text>')
    options.output.write_text("\n".join(body + ["</svg>"]) + "\n")


if __name__ == "__main__":
    main()
