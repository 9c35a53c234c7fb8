#!/usr/bin/env bash
# Weak scaling of training: tokens/s of 2 ranks x 1 thread against 1 rank x 1 thread, in turns: medians of ROUNDS, and the best round of each, which
# other work on the machine disturbs least.
# Benchmarks/scaling.sh [WORKLOAD] [ROUNDS] [RANKS]     e.g. Benchmarks/scaling.sh gpt-small 5 2
set -euo pipefail
cd "$(dirname "$0")/.."
workload=${1:-gpt-small}
rounds=${2:-5}
ranks=${3:-2}
# As for a user who sets nothing: Mneme chooses the BLAS kernels.
unset OPENBLAS_CORETYPE

rate() { launch/mpirun "$1" bench "$workload" --json --seconds 8 | sed -n 's/.*"tokens_per_second":\([0-9.eE+]*\).*/\1/p'; }
median() { tr ' ' '\n' | sed '/^$/d' | sort -g | awk '{ value[NR] = $1 } END { print (value[int((NR + 1) / 2)] + value[int(NR / 2) + 1]) / 2 }'; }

one=""
many=""
for round in $(seq "$rounds"); do
    one="$one $(rate 1)"
    many="$many $(rate "$ranks")"
    echo "round $round: 1 rank ${one##* } tokens/s, $ranks ranks ${many##* } tokens/s, load $(cut -d' ' -f1 /proc/loadavg)" >&2
done
best() { tr ' ' '\n' | sed '/^$/d' | sort -g | tail -n 1; }
row() { awk -v label="$1" -v one="$2" -v many="$3" 'BEGIN { printf "| %s | %.1f | %.1f | %.2f |\n", label, one, many, many / one }'; }
echo "| $workload, 1 thread a rank, tokens/s | 1 rank | $ranks ranks | ratio |"
echo "|---|---|---|---|"
row "median of $rounds rounds" "$(echo "$one" | median)" "$(echo "$many" | median)"
row "best round" "$(echo "$one" | best)" "$(echo "$many" | best)"
