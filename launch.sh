#!/usr/bin/env bash
# Sets up .venv for the machine it finds itself on, then runs.
#
#   ./launch.sh --config=experiments/arith.py     runs python -m experiments.main with these flags
#   ./launch.sh sweep --config=experiments/sweeps/figure1.py
#                                                 runs python -m experiments.sweep; likewise report
#   ./launch.sh test                              runs the linter and the whole test suite
#   ./launch.sh test -m "not slow"                with pytest's flags
#   ./launch.sh bench training --out=DIR          runs python -m benchmarks.training; without a name, all against PyTorch
#
# PYTHON=python3.12 ./launch.sh ...               picks the interpreter that makes .venv (>= 3.11)
# EFFXF_BACKEND=cpu|cuda|tpu ./launch.sh ...      overrides what the machine is taken for
#
# One process uses all GPUs or TPU chips of its machine. Several are one job with --distributed, the same command
# on each; the first one alone reads and writes --workdir, so they need no file system in common. When one is
# gone, all end within a minute; then the same again resumes, also on more or fewer machines.
#
#   srun --nodes=2 --ntasks-per-node=4 --gpus-per-node=4 ./launch.sh --distributed --config=FILE --workdir=DIR
#     SLURM: a task for each GPU, since JAX gives a task the one GPU of its number on the node; it also wants
#     --cpus-per-task=8 or so, for compiling and for data. On CPU nodes --ntasks-per-node=1 --cpus-per-task=CORES.
#     With #SBATCH --signal=TERM@120 what has been trained is saved before the time is up. Where compute nodes
#     reach no package index, set up on the login node: EFFXF_BACKEND=cuda ./launch.sh --help
#   gcloud compute tpus tpu-vm ssh NAME --zone=ZONE --worker=all \
#     --command='cd effxf_jax && ./launch.sh --distributed --config=FILE --workdir=DIR'
#     a TPU pod, with the same version of the repository in the home directory of every worker, and Python >= 3.11.
#   ./launch.sh --distributed --coordinator_address=HOST0:8476 --num_processes=2 --process_id=N --config=FILE --workdir=DIR
#     machines by hand: N is 0 on HOST0 and counts on. The port is any free one of HOST0 that the others reach.
#
# Every process must have the same number of devices, and their sum must divide the batch. Sweeps run cells on
# CPUs and GPUs, each on one machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

say() { echo "launch.sh: $*" >&2; }

# Whether a TPU is on the PCI bus, by the numbers that JAX knows.
has_tpu() {
  local device
  for device in /sys/bus/pci/devices/*; do
    [[ $(cat "$device/vendor" 2>/dev/null) == 0x1ae0 ]] || continue
    [[ $(cat "$device/device") != @(0x0027|0x0056|0x005e|0x0062|0x0063|0x006f|0x0076) ]] || return 0
  done
  return 1
}

find_backend() {
  if [[ -e /dev/accel0 ]] || has_tpu; then
    echo tpu
  elif command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q '^GPU'; then
    echo cuda
  else
    echo cpu
  fi
}

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  say "no Python >= 3.11 found (tried ${PYTHON:-python3, python3.13, python3.12, python3.11}); set PYTHON"
  exit 1
}

backend=${EFFXF_BACKEND:-$(find_backend)}
case $backend in
  cpu | cuda | tpu) ;;
  *) say "EFFXF_BACKEND must be cpu, cuda or tpu; got '$backend'"; exit 2 ;;
esac
extras=$backend
[[ ${1:-} != @(test|bench) ]] || extras+=,$1

# .venv remembers what it was made from, and what for; as long as that is the same, there is nothing to do.
wanted=$(cat setup.cfg constraints.txt | cksum)
stamp=.venv/.installed
has() { [[ -f $stamp && $(head -n 1 "$stamp") == "$wanted" ]]; }
ready() {
  local extra
  has || return 1
  for extra in ${extras//,/ }; do grep -qx "$extra" "$stamp" || return 1; done
}
if ! ready && command -v flock >/dev/null; then
  # Hosts may share this directory: one of them sets up, the others wait.
  exec 9>>.venv.lock
  flock 9 || say "this file system has no locks; if other hosts set up .venv now as well, run this again"
fi
if ! ready; then
  say "setting up .venv for $backend (a minute or two)"
  if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then # none yet, or one that was cut off
    python=$(find_python)
    "$python" -m venv --clear .venv
  fi
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$extras]"
  has || echo "$wanted" >"$stamp"
  printf '%s\n' ${extras//,/ } >>"$stamp" # beside those before: a login node's does not undo a GPU node's
fi
exec 9>&-

[[ $backend != cpu ]] || export JAX_PLATFORMS=cpu
if [[ $backend == cpu && ${XLA_FLAGS:-} != *xla_force_host_platform_device_count* ]]; then
  # One XLA device per core.
  cores=$(.venv/bin/python -c 'import os; print(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())')
  export XLA_FLAGS="${XLA_FLAGS:-} --xla_force_host_platform_device_count=$cores"
fi

if [[ ${1:-} == test ]]; then
  shift
  unset XLA_FLAGS # tests set their own
  .venv/bin/ruff check .
  .venv/bin/ruff format --check .
  exec .venv/bin/python -m pytest -n auto --maxprocesses=4 --dist=worksteal "$@"
fi
# A step's buffers are large and freed after it; where the allocator gives them back to the system each time,
# a fifth of a CPU's step is spent on getting them anew.
jemalloc=$(ldconfig -p 2>/dev/null | grep -m 1 -o '/.*libjemalloc\.so\.2$' || true)
if [[ $backend == cpu && -n $jemalloc ]]; then
  export MALLOC_CONF="dirty_decay_ms:-1,muzzy_decay_ms:-1${MALLOC_CONF:+,$MALLOC_CONF}"
  export LD_PRELOAD="$jemalloc${LD_PRELOAD:+:$LD_PRELOAD}"
elif [[ $backend == cpu ]]; then # glibc's own allocator; others do not read these
  export MALLOC_ARENA_MAX=1 MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=8589934592
fi

if [[ ${1:-} == bench ]]; then
  shift
  if [[ $# -gt 0 && $1 != -* ]]; then
    exec .venv/bin/python -m "benchmarks.$1" "${@:2}"
  fi
  for name in attention training decoding; do
    .venv/bin/python -m "benchmarks.$name" "$@"
  done
  exit
fi
if [[ ${1:-} == @(sweep|report) ]]; then
  exec .venv/bin/python -m "experiments.$1" "${@:2}"
fi
exec .venv/bin/python -m experiments.main "$@"
