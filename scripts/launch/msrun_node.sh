#!/usr/bin/env bash
# One machine, MindSpore, a process for each of its devices.
set -euo pipefail

if [[ $# -eq 0 ]]; then
    cat >&2 <<'USAGE'
usage: [PROCESSES=8] [PORT=8118] [LOGS=DIR] msrun_node.sh ARGUMENTS OF train.py

  PROCESSES  how many to start, one for each Ascend NPU or GPU (default: 8)
  PORT       free on this machine (default: 8118)
  LOGS       folder for what the processes print (default: msrun_logs)

example:
  scripts/launch/msrun_node.sh --spec tinynet_c --recipe imagenet --data imagenet \
      --output runs/c --device ascend --workers 11 --resume auto
USAGE
    exit 2
fi

NODES=1 NODE=0 HEAD=127.0.0.1 exec "$(dirname "${BASH_SOURCE[0]}")/msrun_nodes.sh" "$@"
