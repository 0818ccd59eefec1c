#!/usr/bin/env bash
# Trains and judges the embedded model on a machine with one GPU and no network.
# Usage: data/train/pilot.sh NAME SECONDS [options of train.py]
#   KIT   folder with books.tar.xz and, where Python lacks sentencepiece, its wheel (default build/kit)
#   FROM  name of an earlier call, whose FROM.tar.xz lies in KIT: goes on where that ended
#   WORK  unpacked and tokenised books, kept between calls (default /tmp/kvx-train)
#   OUT   gets NAME.tar.xz (the model folder), NAME.log, NAME.eval.log and NAME.json (default WORK/out)
#   EVALUATE  options of evaluate.py, or "no"
set -euo pipefail
name=$1 seconds=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
kit=${KIT:-$here/../../build/kit}
work=${WORK:-/tmp/kvx-train}
out=${OUT:-$work/out}
tokenizer=$here/../models/tiny
python=${PYTHON:-python3}
export PYTHONUNBUFFERED=1
mkdir -p "$work" "$out"
clock() { echo "[$(date -u +%T)] $*"; }

if ! "$python" -c 'import safetensors, sentencepiece' 2> /dev/null; then
  "$python" -m pip install -q --no-index --no-deps --target "$work/site" "$kit"/*.whl
fi
export PYTHONPATH=$work/site${PYTHONPATH:+:$PYTHONPATH}
"$python" -c 'import torch, sentencepiece, numpy, sys
print("python", sys.version.split()[0], "torch", torch.__version__, "sentencepiece",
      sentencepiece.__version__, "numpy", numpy.__version__, torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu")' |
  tee "$out/$name.log"

if [ ! -e "$work/data/held.offsets.npy" ]; then
  clock unpack
  tar -xJf "$kit/books.tar.xz" -C "$work"
  clock tokenise
  "$python" "$here/prepare.py" "$work/books" "$tokenizer" "$work/data" | tee -a "$out/$name.log"
fi
if [ -n "${FROM:-}" ]; then
  tar -xJf "$kit/$FROM.tar.xz" -C "$work"
  set -- --init "$work/$FROM" "$@"
fi
train() {
  "$python" "$here/train.py" --data "$work/data" --tokenizer "$tokenizer" --out "$work/$name" \
    --seconds "$seconds" "$@" 2>&1 | tee -a "$out/$name.log"
}
clock train
begun=$SECONDS
if ! train "$@"; then
  [ $((SECONDS - begun)) -lt 200 ] || exit 1
  clock "again, kernels launched one by one"
  train "$@" --no-graph --attention flash
fi
tar -cJf "$out/$name.tar.xz" -C "$work" "$name"
clock evaluate
if [ "${EVALUATE:-}" != no ]; then
  # shellcheck disable=SC2086  # several options
  "$python" "$here/evaluate.py" --model "$work/$name" --data "$work/data" --out "$out/$name.json" \
    ${EVALUATE:-} 2>&1 | tee "$out/$name.eval.log"
fi
clock "done"
