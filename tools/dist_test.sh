#!/usr/bin/env bash
# Test on one or several nodes with torchrun:
#     tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of test.py]
# '' as CHECKPOINT tests handcrafted prompts, as zero-shot configs have them.
# Several nodes: set NNODES, NODE_RANK and MASTER_ADDR, and the same PORT (29500) on each.
# One node: the port is one that is free, unless PORT is set.
set -euo pipefail

if [ "$#" -lt 3 ]; then
    echo "usage: $0 CONFIG CHECKPOINT GPUS [arguments of test.py]" >&2
    exit 2
fi
CONFIG=$1
CHECKPOINT=$2
GPUS=$3
TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if [ "${NNODES:-1}" -eq 1 ] && [ -z "${PORT:-}" ]; then
    MEET=(--standalone --local_addr=127.0.0.1)
else
    MEET=(--master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}")
fi

exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --nproc_per_node="$GPUS" \
    "${MEET[@]}" \
    "$TOOLS/test.py" "$CONFIG" ${CHECKPOINT:+"$CHECKPOINT"} --launcher pytorch "${@:4}"
