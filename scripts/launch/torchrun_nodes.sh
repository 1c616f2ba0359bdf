#!/usr/bin/env bash
# Several machines, PyTorch. To be started on each of them with the same values.
set -euo pipefail

if [[ $# -eq 0 ]]; then
    cat >&2 <<'USAGE'
usage: NODES=N HEAD=HOST [PORT=29500] [RUN=NAME] [PROCESSES=N] [RESTARTS=N] [GRACE=SECONDS] \
       torchrun_nodes.sh ARGUMENTS OF train.py

  NODES      how many machines
  HEAD       host name of one of them, where all meet (c10d rendezvous); it must be the name that
             machine has for itself, and all must find it by that
  PORT       free on that machine (default: 29500)
  RUN        tells runs apart that meet at the same place (default: tinynet)
  PROCESSES  how many to start on each machine (default: one for each GPU)
  RESTARTS   how often torchrun may start all again when one fails (default: 0); needs
             --resume auto
  GRACE      seconds from SIGTERM to SIGKILL, in which a checkpoint is written (default: 300)

--output is a folder that all machines share: the checkpoint in it is read by all and written by
whichever process has rank 0.

example, on each of two machines:
  NODES=2 HEAD=node01 scripts/launch/torchrun_nodes.sh --spec tinynet_c --recipe imagenet \
      --data imagenet --output /shared/runs/c --device cuda --workers 11 --resume auto
USAGE
    exit 2
fi

exec torchrun \
    --nnodes "${NODES:?how many machines}" \
    --nproc-per-node "${PROCESSES:-gpu}" \
    --rdzv-backend c10d \
    --rdzv-endpoint "${HEAD:?the name of one machine}:${PORT:-29500}" \
    --rdzv-id "${RUN:-tinynet}" \
    --max-restarts "${RESTARTS:-0}" \
    --shutdown-timeout "${GRACE:-300}" \
    "$(dirname "${BASH_SOURCE[0]}")/../train.py" --framework torch "$@"
