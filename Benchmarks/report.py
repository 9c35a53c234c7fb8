"""How the results of a comparison are written for people."""

import platform
import statistics

from modes import MEMORY_ROWS


def cpu_name():
    with open("/proc/cpuinfo") as f:
        return next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), platform.processor())


def number(value, digits=2):
    return "-" if value is None else f"{value:.{digits}f}"


def difference_text(difference):
    if "loss_difference" in difference:
        return f"losses within {difference['loss_difference']:.1e}"
    return f"{difference['equal_outputs']} of {difference['outputs']} outputs equal, log probabilities within {difference['score_difference']:.1e} in proportion"


def check_text(check):
    if "error" in check:
        return f"not compared: {check['error']}"
    text = f"{difference_text(check)}, {check['steps']} step(s)"
    return text + (f"; Mneme in bfloat16 against its float32: {difference_text(check['bfloat16'])}" if "bfloat16" in check else "")


def row_text(row):
    """A row as one line, for those who watch."""
    mine, installed, tuned = row["mneme"], row["installed"], row["tuned"]
    parts = [f"{row['label']}, {row['threads']} thread(s): "]
    parts.append(f"Mneme {number(mine['rate'])} {row['unit']} ({mine['mode']}, {number(row['percent_of_peak'], 0)} %)" if mine else "no figure of Mneme")
    if mine and installed:
        parts.append(f", {number(row['ratio_installed'])} times PyTorch {installed['mode']}")
    if mine and tuned:
        parts.append(f", {number(row['ratio_tuned'])} times PyTorch {tuned['mode']}")
    return "".join(parts)


def table(results):
    """The table of ratios. In parentheses what we want to reach."""
    lines = ["| workload | threads | Mneme | share of the matrix products' speed | PyTorch as installed | ratio | PyTorch's tuned best | ratio | "
             "peak memory, MB: Mneme / installed / tuned | load |", "|---|---|---|---|---|---|---|---|---|---|"]

    def speed(part, unit):
        return f"{part['rate']:.4g} {unit}, {part['mode']}" if part else "-"

    for row in results["rows"]:
        goals = row["goals"]
        memory = " / ".join(f"{part['peak_mb']:.0f}" if part else "-" for part in (row["mneme"], row["installed"], row["tuned"]))
        load = f"{row['load'][0]:.1f}-{row['load'][1]:.1f}" if row["load"] else "-"
        lines.append(
            f"| {row['label']} | {row['threads']} | {speed(row['mneme'], row['unit'])} | {number(row['percent_of_peak'], 0)} %{f' ({goals[2]})' if goals[2] else ''} | "
            f"{speed(row['installed'], row['unit'])} | {number(row['ratio_installed'])} ({goals[0]}) | {speed(row['tuned'], row['unit'])} | "
            f"{number(row['ratio_tuned'])} ({goals[1]}) | {memory} | {load} |")
    return "\n".join(lines) + "\n"


def one_thread(results, figure):
    """A figure of the doctor's, with one thread."""
    return results.get("doctor", {}).get(figure, {}).get("one_thread", {}).get("maximum")


def limits_table(results):
    """What bounds a step: its operations at the speed of large matrix products, and the bytes that caches do not hold at the memory's speed."""
    bandwidth = one_thread(results, "memory_gigabytes_per_second")
    lines = []
    for turns in results["turns"]:
        own = [values for name, values in turns["modes"].items() if name.startswith("Mneme")]
        if not own or "gigabytes_per_step" not in own[0][-1] or turns["workload"] not in MEMORY_ROWS:
            continue
        turn = own[0][-1]
        at_peak = 1e3 * turn["gflop_per_step"] / turn["peak_gflops_per_second"]
        moved = turn["gigabytes_per_step"]
        at_memory = number(1e3 * moved / bandwidth) if moved and bandwidth else "-"
        lines.append(f"| {turns['workload']} | {turn['gflop_per_step']:.3g} | {at_peak:.2f} | {f'{moved:.3g}' if moved else 'in caches'} | {at_memory} | "
                     f"{1e3 * turn['seconds_median']:.2f} |")
    if not lines:
        return ""
    head = ["| step | GFLOP | ms at the products' speed | GB beyond caches | ms at the memory's speed | ms reached |", "|---|---|---|---|---|---|"]
    return "## What bounds a step\n\n" + "\n".join(head + lines) + "\n\n"


def modes_table(results):
    """Every mode that was run."""
    lines = ["| workload | threads | mode | median of the turns | slowest and fastest turn | turns | peak memory, MB |", "|---|---|---|---|---|---|---|"]
    for turns in results["turns"]:
        for name, values in turns["modes"].items():
            key = "sentences_per_second" if "sentences_per_second" in values[0] else "tokens_per_second"
            rates = [turn[key] for turn in values]
            peak = max(turn["peak_resident_bytes"] for turn in values) / 1e6
            lines.append(f"| {turns['workload']} | {turns['threads']} | {name} | {statistics.median(rates):.5g} {key.split('_')[0]}/s | "
                         f"{min(rates):.5g}, {max(rates):.5g} | {len(values)} | {peak:.0f} |")
    return "\n".join(lines) + "\n"


def machine(results):
    doctor = results.get("doctor", {})
    torch = next((turn["torch"] for turns in results["turns"] for values in turns["modes"].values() for turn in values if "torch" in turn), "-")
    sgemm = one_thread(results, "float32_gflops_per_second")
    bandwidth = one_thread(results, "memory_gigabytes_per_second")
    parts = [
        f"{results['date']}, Mneme {doctor.get('version', '-')}, PyTorch {torch}; {results['cpu']}, {results['cores']} cores, "
        f"{results['memory_bytes'] / 1e9:.0f} GB, Linux {results['kernel']}; kernels {doctor.get('instruction_set', '-')}, OpenBLAS core "
        f"{doctor.get('blas_core', '-')}."]
    if sgemm:
        parts.append(f"Measured with one thread before the first row: SGEMM {sgemm:.0f} GFLOP/s, memory {bandwidth:.0f} GB/s.")
    return " ".join(parts)


def markdown(results):
    """The results file."""
    checks = "".join(f"- {workload}: {check_text(check)}\n" for workload, check in results["checks"].items())
    notes = "".join(f"- {note}\n" for note in results["notes"])
    return f"""# {results['title']}

{machine(results)}

Command: `{results['command']}`

The programs took turns in one call ({results['rounds']} of each mode); rates are medians over the turns, of medians over the steps of a turn, and ratios are of
rates. Tuned PyTorch runs with MKL told to take its AVX-512 kernels and with tcmalloc. amp is autocast to bfloat16; bf16 has parameters and optimizer
state in bfloat16 too. In parentheses: what we want to reach. Peak memory of PyTorch is that of the timed steps, that of Mneme of the whole process. Load
averages are those before the turns: above the number of threads in use, other work disturbs the figures.

{table(results)}
{limits_table(results)}## Same computation

From the same parameters and tokens, in float32 with dropout 0:

{checks}
## Every mode

{modes_table(results)}
{f"## Notes{chr(10)}{chr(10)}{notes}" if notes else ""}"""
