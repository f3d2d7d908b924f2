#!/bin/sh
# What is waiting for a GPU, in slices of at most nine minutes; docs/benchmarks.md tells more.
#
#     sh benchmarks/gpu.sh OUT              all slices, the most valuable first
#     sh benchmarks/gpu.sh OUT a            one: a tests, b speed, c numerics, d training
#     sh benchmarks/gpu.sh OUT d --photographs FOLDER --resume EARLIER_OUT
#
# PYTHON in the environment names the interpreter. Options are those of benchmarks/gpu.py.
set -eu
if [ $# -lt 1 ]; then
    echo "usage: sh benchmarks/gpu.sh OUT [a|b|c|d] [option of benchmarks/gpu.py ...]" >&2
    exit 2
fi
out=$1
shift
case ${1-} in
a | b | c | d) slices=$1 && shift ;;
*) slices="a b c d" ;;
esac
folder=$(cd "$(dirname "$0")" && pwd) failed=0
PYTHONPATH=$(dirname "$folder")${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH
for slice in $slices; do # one that fails takes no other with it
    "${PYTHON:-python3}" "$folder/gpu.py" "$slice" "$out" "$@" || failed=1
done
exit $failed
