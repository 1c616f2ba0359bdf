#!/usr/bin/env bash
# One machine, PyTorch, a process for each of its GPUs.
set -euo pipefail

if [[ $# -eq 0 ]]; then
    cat >&2 <<'USAGE'
usage: [PROCESSES=N] [GRACE=SECONDS] torchrun_node.sh ARGUMENTS OF train.py

  PROCESSES  how many to start (default: one for each GPU)
  GRACE      seconds from SIGTERM to SIGKILL, in which a checkpoint is written (default: 300)

example:
  scripts/launch/torchrun_node.sh --spec tinynet_c --recipe imagenet --data imagenet \
      --output runs/c --device cuda --workers 11 --resume auto
USAGE
    exit 2
fi

# torchrun passes SIGTERM on to the processes and waits for them.
exec torchrun --standalone \
    --nproc-per-node "${PROCESSES:-gpu}" \
    --shutdown-timeout "${GRACE:-300}" \
    "$(dirname "${BASH_SOURCE[0]}")/../train.py" --framework torch "$@"
