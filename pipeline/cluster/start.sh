# What a job on a cluster runs: a command of Autochrome, by the Python that Ray itself runs on there.
#
#   exec sh pipeline/cluster/start.sh RESTARTS PAUSE COMMAND [ARGUMENT]...
#
# A job is a shell command, and Ray does not tell it its Python: where the head was started by the
# path of its `ray`, PATH leads to another one or to none. But the process of Ray that started this
# shell runs on it, and its loaded libraries lie beside it. A `python` of PATH comes second.
#
# A command whose process is killed, as for want of memory, is started again after PAUSE seconds,
# RESTARTS times at most, and goes on from what is committed. One that ends by itself or was asked
# to end (SIGINT: 130, SIGTERM: 143) is not.

restarts=$1 pause=$2
shift 2

needed='import importlib.util as u, sys; sys.exit(None in map(u.find_spec, ("ray", "torch", "click")))'
beside='s|^[^/]*\(/.*\)/lib[0-9]*/python3[^/]*/[a-z]*-packages/.*|\1/bin/python3|p'

python=
set -f
IFS='
'
for found in $(sed -n "$beside" "/proc/$PPID/maps" 2>/dev/null | sort -u) python python3; do
    if "$found" -c "$needed" 2>/dev/null; then
        python=$found
        break
    fi
done
if [ -z "$python" ]; then
    echo "autochrome: no Python with Ray, PyTorch and click was found where the cluster runs jobs" >&2
    exit 2
fi

while :; do
    "$python" -c 'from jobs.start import start; start()' "$@"
    code=$?
    if [ "$code" -le 128 ] || [ "$code" -eq 130 ] || [ "$code" -eq 143 ] || [ "$restarts" -eq 0 ]
    then
        exit "$code"
    fi
    restarts=$((restarts - 1))
    echo "autochrome: the command was killed (signal $((code - 128))) and starts again" >&2
    sleep "$pause"
done
