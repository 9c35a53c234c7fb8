"""What is compared: the rows of the table, the modes of both programs, and how figures of turns become figures of a row."""

import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Workload:
    """How long a workload is run in one turn."""
    check_steps: int = 7
    warm_up: int = 2
    steps: int = 5
    seconds: float = 3


WORKLOADS = {
    "gpt2-124m": Workload(check_steps=3, warm_up=1, steps=3, seconds=0),
    "gpt-small": Workload(),
    "encoder-decoder": Workload(check_steps=4, warm_up=1, steps=3, seconds=0),
    "lstm": Workload(),
    "greedy": Workload(check_steps=1, warm_up=1, steps=3, seconds=0),
    "beam": Workload(check_steps=1, warm_up=1, steps=3, seconds=0),
    "ntm-copy": Workload(check_steps=3, warm_up=3),
    "dnc-repeat-copy": Workload(check_steps=3, warm_up=3),
    "dnc-copy": Workload(check_steps=2, warm_up=1, steps=3, seconds=0),
    "dnc-long": Workload(check_steps=1, warm_up=0, steps=1, seconds=0),
    "memn2n": Workload(warm_up=10, steps=50),
}

# Mneme's.
PRECISIONS = ["float32", "bfloat16"]


@dataclass(frozen=True)
class TorchMode:
    precision: str
    is_tuned: bool = False
    is_compiled: bool = False


TORCH_MODES = {
    "fp32": TorchMode("float32"),
    "fp32 compiled": TorchMode("float32", is_compiled=True),
    "amp": TorchMode("autocast"),
    "tuned fp32": TorchMode("float32", is_tuned=True),
    "tuned fp32 compiled": TorchMode("float32", is_tuned=True, is_compiled=True),
    "tuned amp": TorchMode("autocast", is_tuned=True),
    "tuned bf16": TorchMode("bfloat16", is_tuned=True),
    "tuned bf16 compiled": TorchMode("bfloat16", is_tuned=True, is_compiled=True),
}
# A tuned mode in bfloat16 that is slower than the fastest by more than this in the first round is not run again.
NARROWING = 0.9


@dataclass(frozen=True)
class Row:
    """A row of the table: Mneme's best of some precisions against a mode of PyTorch as installed, and against the best of its tuned modes."""
    name: str
    label: str
    workload: str
    threads: int
    precisions: tuple
    installed: str
    tuned: tuple
    # Ratios, and percent of the matrix products' speed, that we want to reach.
    goals: tuple

    @property
    def modes(self):
        return (self.installed,) + self.tuned

    def figures(self, turns):
        """The row's figures as a dictionary; None where something could not be measured."""
        mine = turns.best("Mneme " + precision for precision in self.precisions)
        best = turns.best("PyTorch " + mode for mode in self.tuned)
        installed = turns.best(["PyTorch " + self.installed])

        def part(name):
            return name and dict(mode=name.split(" ", 1)[1], rate=turns.rate(name), peak_mb=turns.peak(name) / 1e6)

        def ratio(name):
            return turns.rate(mine) / turns.rate(name) if mine and name else None

        percent = mine and statistics.median(turn["percent_of_peak"] for turn in turns.values["modes"][mine])
        return dict(
            name=self.name, label=self.label, threads=self.threads, unit=turns.unit, mneme=part(mine), installed=part(installed), tuned=part(best),
            ratio_installed=ratio(installed), ratio_tuned=ratio(best), percent_of_peak=percent, goals=list(self.goals), load=turns.load_range())


class Turns:
    """The turns of all modes of a workload with some number of threads."""

    def __init__(self, workload, threads):
        self.values = dict(workload=workload, threads=threads, modes={}, failed={})
        self.unit = {"greedy": "sentences/s", "beam": "sentences/s", "memn2n": "questions/s"}.get(
            workload, "time steps/s" if workload in MEMORY_ROWS else "tokens/s")

    def add(self, name, turn, load):
        turn = {key: value for key, value in turn.items() if key not in ("losses", "outputs", "log_probabilities")}
        self.values["modes"].setdefault(name, []).append(dict(turn, load_before=load))

    def fail(self, name, message):
        self.values["failed"][name] = message

    def rates(self, name):
        key = "sentences_per_second" if self.unit == "sentences/s" else "tokens_per_second"
        return [turn[key] for turn in self.values["modes"].get(name, [])]

    def rate(self, name):
        return statistics.median(self.rates(name))

    def peak(self, name):
        return max(turn["peak_resident_bytes"] for turn in self.values["modes"][name])

    def best(self, names):
        """The fastest of the modes that were measured."""
        return max((name for name in names if self.rates(name)), key=self.rate, default=None)

    def is_out(self, name, mode):
        """Whether a mode need not be run again: it failed, or it is a tuned one in bfloat16 that another leaves behind in the first round."""
        if name in self.values["failed"]:
            return True
        if mode is None or not mode.is_tuned or mode.precision == "float32" or not self.rates(name):
            return False
        tuned = [rates[0] for other, settings in TORCH_MODES.items() if settings.is_tuned and (rates := self.rates("PyTorch " + other))]
        return self.rates(name)[0] < NARROWING * max(tuned)

    def load_range(self):
        loads = [turn["load_before"] for turns in self.values["modes"].values() for turn in turns]
        return [min(loads), max(loads)] if loads else None


def _rows():
    both = ("float32", "bfloat16")
    tuned = ("tuned fp32", "tuned amp", "tuned bf16")
    compiled = tuned + ("tuned bf16 compiled",)
    for threads in (1, 2):
        of = "" if threads == 1 else "-2"
        yield Row(f"gpt2-fp32{of}", "GPT-2 124M training step, fp32", "gpt2-124m", threads, ("float32",), "fp32", ("tuned fp32",),
                  (2.5, 1.05, 88 if threads == 1 else 85))
        yield Row(f"gpt2-best{of}", "GPT-2 124M training step, best mode", "gpt2-124m", threads, both, "amp", tuned if threads == 1 else compiled,
                  (1.8, 1.2, 80 if threads == 1 else 76))
    for threads in (1, 2):
        yield Row(f"gpt-small-{threads}", "small GPT training step, best mode", "gpt-small", threads, both, "amp", tuned, (1.9, 1.2, 76))
    yield Row("encoder-decoder", "encoder-decoder base training step, best mode", "encoder-decoder", 1, both, "amp", tuned, (2, 1.2, 70))
    yield Row("lstm", "LSTM language model training step, best mode", "lstm", 1, both, "fp32", tuned, (2.9, 1.3, 70))
    yield Row("greedy", "greedy decoding, 64 sentences", "greedy", 1, both, "fp32", ("tuned fp32", "tuned bf16", "tuned bf16 compiled"), (4, 1.4, 70))
    yield Row("beam", "beam-4 decoding, 64 sentences", "beam", 1, both, "fp32", ("tuned fp32", "tuned bf16", "tuned bf16 compiled"), (3.7, 1.1, 80))
    eager, compiled = "fp32", ("fp32 compiled", "tuned fp32 compiled")
    for name, label, goals in (
            ("ntm-copy", "NTM copy, 128 x 20, 41 steps", (10, 4, 0)), ("dnc-repeat-copy", "DNC at the repeat-copy configuration, 16 x 16, 15 steps", (15, 5, 0)),
            ("dnc-copy", "DNC 256 x 64, 100 steps", (4, 2.5, 0)), ("memn2n", "MemN2N, 3 hops, d 20, 50 sentences", (10, 1.5, 0))):
        yield Row(name, label, name, 1, ("float32",), eager, compiled, goals)
    yield Row("dnc-long", "DNC 256 x 64, 500 steps", "dnc-long", 1, ("float32",), eager, (), (4, 2.5, 0))


ROWS = list(_rows())
MEMORY_ROWS = ["ntm-copy", "dnc-repeat-copy", "dnc-copy", "memn2n", "dnc-long"]
