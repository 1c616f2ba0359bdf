#!/usr/bin/env bash
# Several machines, MindSpore. To be started on each of them, with a NODE of its own.
set -euo pipefail

if [[ $# -eq 0 ]]; then
    cat >&2 <<'USAGE'
usage: NODES=N NODE=K HEAD=HOST [PORT=8118] [PROCESSES=8] [LOGS=DIR] \
       msrun_nodes.sh ARGUMENTS OF train.py

  NODES      how many machines
  NODE       which of them this is, from 0
  HEAD       name or address of one of them, where the scheduler runs
  PORT       free on that machine (default: 8118)
  PROCESSES  how many to start on each machine, one for each Ascend NPU or GPU (default: 8)
  LOGS       folder for what the processes print (default: msrun_logs)

--output is a folder that all machines share: the checkpoint in it is read by all and written by
the process with rank 0. The python that runs is the first on PATH.

example, on the second of two machines:
  NODES=2 NODE=1 HEAD=node01 scripts/launch/msrun_nodes.sh --spec tinynet_c --recipe imagenet \
      --data imagenet --output /shared/runs/c --device ascend --workers 11 --resume auto
USAGE
    exit 2
fi

processes=${PROCESSES:-8}
# SIGTERM would end msrun, and its scheduler, under the training processes, which then could not
# finish. So those two ignore it, as does all that msrun starts until it says otherwise, which
# train.py does once it trains.
(
    trap '' TERM
    exec msrun \
        --worker_num $((${NODES:?how many machines} * processes)) \
        --local_worker_num "$processes" \
        --node_rank "${NODE:?which machine this is, from 0}" \
        --master_addr "${HEAD:?the name or address of one machine}" \
        --master_port "${PORT:-8118}" \
        --log_dir "${LOGS:-msrun_logs}" \
        --join True \
        "$(dirname "${BASH_SOURCE[0]}")/../train.py" --framework mindspore "$@"
) &
msrun=$!

# The training processes are passed the one that this shell gets.
trap 'pkill -TERM --parent "$msrun" || true' TERM

# A trapped signal ends the first wait early.
status=0
wait "$msrun" || status=$?
while kill -0 "$msrun" 2>/dev/null; do
    status=0
    wait "$msrun" || status=$?
done
exit "$status"
