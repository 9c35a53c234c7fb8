#!/usr/bin/env python3
"""Times Mneme and PyTorch in turns on this machine, each in all of its modes, and prints the table of their ratios.

Both programs compute the same thing from the same numbers first: losses, or translations, must agree before anything is timed. Results are written to
the output folder after every row, as Markdown and JSON; a mode that fails is noted there and costs no other figure.

Examples:
  Benchmarks/compare.py --python venv/bin/python                       every row, about half an hour
  Benchmarks/compare.py --python venv/bin/python --rows gpt-small-1,lstm --rounds 5
  Benchmarks/compare.py --python venv/bin/python --quick               every row once, with few steps
  Benchmarks/compare.py --python venv/bin/python --check               only whether both compute the same
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import report
from modes import MEMORY_ROWS, PRECISIONS, ROWS, TORCH_MODES, WORKLOADS, Turns
from preload import TunedLibraries

HERE = Path(__file__).resolve().parent
# Both programs choose their own BLAS kernels, as for a user who sets nothing.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("OPENBLAS_", "MKL_", "OMP_", "MNEME_", "LD_PRELOAD"))}
# The largest difference of losses, and of log probabilities in proportion.
TOLERANCE = 1e-3


class Failure(Exception):
    pass


def run(command, preload=(), limit=1200):
    """The last line that a command prints, as JSON."""
    environment = dict(ENVIRONMENT, LD_PRELOAD=":".join(map(str, preload))) if preload else ENVIRONMENT
    try:
        done = subprocess.run([str(part) for part in command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=limit)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failure(str(error)) from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        message = next((line for line in lines if line.lower().startswith(("error", "mneme: error"))), lines[-1])
        raise Failure(f"exit code {done.returncode}: {message}")
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError) as error:
        raise Failure(f"no JSON came back: {error}") from error


class Comparison:
    """The measurements of some rows. Rows of one workload and thread count share them."""

    def __init__(self, options, scratch):
        self.options = options
        self.folder = options.output
        self.folder.mkdir(parents=True, exist_ok=True)
        self.tuned = TunedLibraries(scratch)
        self.results = dict(
            title=options.title, date=datetime.date.today().isoformat(), command=command_line(options), rounds=options.rounds,
            cpu=report.cpu_name(), cores=os.cpu_count(), memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            kernel=platform.release(), notes=list(self.tuned.notes), checks={}, turns=[], rows=[])

    def write(self):
        name = f"{self.options.name}-{self.results['date']}"
        for suffix, text in ((".json", json.dumps(self.results, indent=1) + "\n"), (".md", report.markdown(self.results))):
            partial = self.folder / (name + suffix + ".partial")
            partial.write_text(text)
            partial.rename(self.folder / (name + suffix))

    def note(self, text):
        if text not in self.results["notes"]:
            self.results["notes"].append(text)
            print(f"note: {text}", file=sys.stderr, flush=True)

    def mneme(self, workload, threads, *arguments):
        return run([self.options.mneme, "bench", workload, "--json", "--threads", threads, *arguments])

    def torch(self, workload, threads, mode, *arguments):
        command = [self.options.python, HERE / "pytorch/run.py", workload, "--threads", threads, "--precision", mode.precision, *arguments]
        return run(command + (["--compile"] if mode.is_compiled else []), preload=self.tuned.libraries if mode.is_tuned else ())

    def check(self, workload):
        """Whether both programs compute the same in float32 from the same numbers. Done once for a workload."""
        if workload in self.results["checks"]:
            return self.results["checks"][workload]["is_equal"]
        steps = WORKLOADS[workload].check_steps
        arguments = ["--dropout", 0, "--seconds", 0, "--warm-up", 0, "--steps", steps]
        try:
            mine = self.mneme(workload, 1, *arguments)
            theirs = self.torch(workload, 1, TORCH_MODES["fp32"], "--exact", *arguments)
        except Failure as error:
            self.results["checks"][workload] = dict(is_equal=False, error=str(error))
            self.note(f"{workload}: not compared, not timed: {error}")
            return False
        outcome = self.results["checks"][workload] = dict(steps=steps, **differences(mine, theirs))
        try:  # to be seen, not to be judged: bfloat16 may differ
            outcome["bfloat16"] = differences(mine, self.mneme(workload, 1, *arguments, "--precision", "bfloat16"))
        except Failure as error:
            self.note(f"{workload}: bfloat16 was not compared with float32: {error}")
        print(f"{workload}: {report.check_text(outcome)}", flush=True)
        if not outcome["is_equal"]:
            self.note(f"{workload}: both programs do not compute the same, so nothing was timed: {report.check_text(outcome)}")
        return outcome["is_equal"]

    def measure(self, workload, threads, precisions, modes):
        """The turns of every mode, alternating. After the first round only the tuned modes that can be the best go on."""
        size = WORKLOADS[workload]
        turns = Turns(workload, threads)
        self.results["turns"].append(turns.values)
        steps = 2 if self.options.quick else self.options.steps or size.steps
        arguments = ["--warm-up", 1 if self.options.quick else size.warm_up, "--steps", steps, "--seconds", 0 if self.options.quick else size.seconds]
        candidates = [("Mneme " + precision, None, precision) for precision in precisions]
        candidates += [("PyTorch " + name, TORCH_MODES[name], None) for name in modes if self.tuned.libraries or not TORCH_MODES[name].is_tuned]
        for round_number in range(self.options.rounds):
            for name, mode, precision in candidates:
                if turns.is_out(name, mode):
                    continue
                load = os.getloadavg()[0]
                try:
                    if mode is None:
                        turn = self.mneme(workload, threads, "--precision", precision, *arguments)
                    else:
                        turn = self.torch(workload, threads, mode, *arguments)
                except Failure as error:
                    turns.fail(name, str(error))
                    self.note(f"{workload}, {threads} thread(s), {name}: left out: {error}")
                    continue
                turns.add(name, turn, load)
                print(f"{workload}, {threads} thread(s), round {round_number + 1}, {name}: {turns.rates(name)[-1]:.2f} a second, "
                      f"{turn['peak_resident_bytes'] / 1e6:.0f} MB, load {load:.1f}", file=sys.stderr, flush=True)
            self.write()
        return turns

    def run(self, rows):
        self.results["doctor"] = run([self.options.mneme, "doctor", "--json"])
        groups = {}
        for row in rows:
            groups.setdefault((row.workload, row.threads), []).append(row)
        is_complete = True
        for (workload, threads), members in groups.items():
            is_equal = self.check(workload)
            is_complete &= is_equal
            self.write()
            if not is_equal or self.options.check:
                continue
            precisions = [precision for precision in PRECISIONS if any(precision in row.precisions for row in members)]
            modes = [name for name in TORCH_MODES if any(name in row.modes for row in members)]
            turns = self.measure(workload, threads, precisions, modes)
            for row in members:
                self.results["rows"].append(row.figures(turns))
                print(report.row_text(self.results["rows"][-1]), flush=True)
            self.write()
        print(f"\n{report.table(self.results)}\nwritten to {self.folder}", flush=True)
        return is_complete


def command_line(options):
    """The command as it can be repeated elsewhere, without this machine's paths."""
    parts = ["Benchmarks/compare.py"]
    for name in ("rows", "rounds", "steps", "quick", "check"):
        value = getattr(options, name)
        if value is True:
            parts.append(f"--{name}")
        elif value and value != "all":
            parts.append(f"--{name} {value}")
    return " ".join(parts)


def differences(mine, theirs):
    """How far the outcomes of both programs lie apart."""
    if "losses" in mine:
        difference = max(abs(x - y) for x, y in zip(mine["losses"], theirs["losses"], strict=True))
        return dict(loss_difference=difference, is_equal=difference <= TOLERANCE)
    same = [x == y for x, y in zip(mine["outputs"], theirs["outputs"], strict=True)]
    scores = [abs(x / y - 1) for x, y in zip(mine["log_probabilities"], theirs["log_probabilities"], strict=True)]
    # A near tie may fall either way and gives another output of the same score.
    return dict(equal_outputs=sum(same), outputs=len(same), score_difference=max(scores), is_equal=max(scores) <= TOLERANCE)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rows", default="all", help=f"which rows, with commas between them: {', '.join(row.name for row in ROWS)}; memory: those of memory models; all: the others (default)")
    p.add_argument("--mneme", default=HERE.parent / ".build/release/mneme", type=Path, help="the program (default: the release build)")
    p.add_argument("--python", default=os.environ.get("PEERS_PYTHON", sys.executable), help="a Python that has torch (default: PEERS_PYTHON)")
    p.add_argument("--rounds", type=int, default=3, help="turns of every mode; the medians of the turns' medians are compared (default: 3)")
    p.add_argument("--steps", type=int, help="the fewest timed steps of a turn (default: 5; 3 where one takes seconds)")
    p.add_argument("--quick", action="store_true", help="one round of two steps: whether everything works, not how fast it is")
    p.add_argument("--check", action="store_true", help="only compare losses and translations")
    p.add_argument("--title", help="the title of the results file")
    p.add_argument("--output", type=Path, default=HERE.parent / ".build/comparison", help="the folder of the results (default: .build/comparison)")
    options = p.parse_args()
    if options.quick:
        options.rounds = 1
    groups = {"all": [row.name for row in ROWS if row.name not in MEMORY_ROWS], "memory": MEMORY_ROWS}
    wanted = groups.get(options.rows) or options.rows.split(",")
    options.name = "memory-models" if set(wanted) <= set(MEMORY_ROWS) else "tensor-core"
    options.title = options.title or ("Memory models against PyTorch" if options.name == "memory-models" else "The tensor core against PyTorch")
    unknown = set(wanted) - {row.name for row in ROWS}
    if unknown:
        p.error(f"there is no row {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory(prefix="mneme-compare-") as scratch:
        try:
            is_complete = Comparison(options, Path(scratch)).run([row for row in ROWS if row.name in wanted])
        except Failure as error:
            sys.exit(f"compare.py: error: {error}")
    sys.exit(0 if is_complete else 1)


if __name__ == "__main__":
    main()
