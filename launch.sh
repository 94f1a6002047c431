#!/usr/bin/env bash
# Installs what the programs of this repository need into .venv beside this file, once, and runs a program.
# ./launch.sh --help lists the programs.
set -euo pipefail

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")") # also when called through a symlink
python=$here/.venv/bin/python
programs='main sweep report theory probe construct dataset dependencies bench test setup'

say() { echo "launch.sh: $*" >&2; }

print_help() {
  cat <<'END'
usage: ./launch.sh [PROGRAM] [FLAGS]

Runs a program. The first call creates .venv beside this script and installs the versions in constraints.txt,
with JAX for the device that it finds (a CUDA GPU, a TPU or the CPU); this takes a minute or two.

Programs; "./launch.sh PROGRAM --help" describes each with its flags:
  main       trains and grades one experiment; the default program
  sweep      runs a grid of experiments, several at a time
  report     makes figures, tables and a page from directories of sweeps or files of results
  theory     prints FLOPs, bytes and least widths for a configuration
  probe      exchanges and shrinks the state of a trained model
  construct  writes weights by hand that solve a task, and grades them
  dataset    shows, exports and checks examples
  dependencies  measures how far back the steps of chains look, and how much they keep
  bench      measures speed, against PyTorch where there is a counterpart
  test       runs the linter and the tests; takes pytest's flags, with paths relative to the repository
  setup      creates or updates .venv, and nothing else

Main flags:
  --config=FILE[:[PRESET][,FIELD=VALUE]...]     of main, sweep, theory, construct and dataset
                          presets of runs: laptop (default), quick, paper, smoke
  --config.SECTION.FIELD=VALUE                  sets one field, such as --config.train.steps=2000
  --workdir=DIR           of main and probe: the run's directory (main's default: runs/NAME)
  --directory=DIR         of sweep: the directory of its runs (default: sweeps/NAME)
  --reuse=SOURCE,SOURCE   of sweep: copies finished runs from directories of sweeps or files of results
  --out=DIR               of report: the page's directory (default: report/ in the first sweep's directory,
                          or build/report if the first source is a file)

Relative paths, and so runs/ and sweeps/, refer to the directory from which launch.sh is called. A config file
of this repository, such as experiments/arith.py, is found from every directory.

Examples:
  ./launch.sh --config=experiments/arith.py:mechanism=linear,dim=128 --workdir=runs/linear
  ./launch.sh sweep --config=experiments/sweeps/figure1.py:smoke
  ./launch.sh report sweeps/figure1-smoke
  ./launch.sh report results/*.jsonl --out=build/report
  ./launch.sh theory --config=experiments/lis.py:paper
  ./launch.sh test -m "not slow"

Environment variables:
  PYTHON=python3.12               the interpreter (>= 3.11) that creates .venv
  EFFXF_BACKEND=cpu|cuda|tpu      the device to install and run for, instead of the one found

Several machines train one run with main's flag --distributed. The same command starts on each machine; the
first machine alone reads and writes --workdir, so no shared file system is required. Every process must have
the same number of devices, and the total must divide the batch size. If one machine fails, the others stop
within a minute, and the same command resumes the run, also on more or fewer machines.
  SLURM   srun --nodes=2 --ntasks-per-node=4 --gpus-per-node=4 --cpus-per-task=8 \
            ./launch.sh --distributed --config=FILE --workdir=DIR
          One task for each GPU; on CPU nodes --ntasks-per-node=1 --cpus-per-task=CORES. With
          "#SBATCH --signal=TERM@120" the run is saved before the time limit. If compute nodes cannot reach a
          package index, run "EFFXF_BACKEND=cuda ./launch.sh setup" on the login node first.
  TPU     gcloud compute tpus tpu-vm ssh NAME --zone=ZONE --worker=all \
            --command='cd effxf_jax && ./launch.sh --distributed --config=FILE --workdir=DIR'
          The same version of the repository must be in the home directory of every worker.
  other   ./launch.sh --distributed --coordinator_address=HOST0:8476 --num_processes=2 --process_id=N \
            --config=FILE --workdir=DIR
          N is 0 on HOST0 and 1 on the other machine. HOST0's port must be free, and open to the others.
Sweeps run each cell on one machine, on its CPUs or GPUs.
END
}

# Prints the docstring that a Python file begins with.
print_docstring() {
  awk 'NR == 1 { sub(/^"""/, "") } /"""$/ { sub(/"""$/, ""); if ($0 != "") print; exit } { print }' "$1"
}

print_program_help() {
  local file
  case $program in
    bench)
      if [[ -n ${1:-} && -f $here/benchmarks/$1.py ]]; then
        print_docstring "$here/benchmarks/$1.py"
        return
      fi
      echo 'usage: ./launch.sh bench [NAME] [FLAGS]'
      echo
      echo 'Runs a benchmark; without NAME: attention, training and decoding, with --out=DIR for JSON and plots.'
      echo
      for file in "$here"/benchmarks/*.py; do
        ! grep -q '^if __name__' "$file" || printf '  %-12s%s\n' "$(basename "$file" .py)" "$(head -n 1 "$file" | tr -d '"')"
      done
      ;;
    test)
      echo 'usage: ./launch.sh test [PYTEST FLAGS AND PATHS]'
      echo
      echo "Runs ruff, then pytest on several cores. Paths are relative to the repository. -m 'not slow' leaves out"
      echo 'the slow tests.'
      ;;
    setup)
      echo 'usage: ./launch.sh setup'
      echo
      echo 'Creates or updates .venv beside launch.sh, for the device found or given as EFFXF_BACKEND=cpu|cuda|tpu.'
      ;;
    *)
      printf 'usage: ./launch.sh %s [ARGUMENTS]\n\n' "$program"
      print_docstring "$here/experiments/$program.py"
      ;;
  esac
}

# Whether a TPU is on the PCI bus, by the device numbers that JAX knows.
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

# Whether .venv was made from the present requirements, and has all the extras given.
is_ready() {
  local extra
  [[ -f $stamp && $(head -n 1 "$stamp") == "$requirements" ]] || return 1
  for extra; do grep -qx "$extra" "$stamp" || return 1; done
}

# Installs the package with the extras given. .venv/.installed records the requirements and the extras.
set_up() {
  requirements=$(cat "$here/setup.cfg" "$here/constraints.txt" | cksum)
  stamp=$here/.venv/.installed
  ! is_ready "$@" || return 0
  if command -v flock >/dev/null; then
    # Hosts may share this directory: one of them installs, the others wait.
    exec 9>>"$here/.venv.lock"
    flock 9 || say "this file system has no locks; if other hosts install into .venv now too, run this again"
  fi
  if ! is_ready "$@"; then
    say "setting up .venv for $backend (a minute or two)"
    if ! "$python" -m pip --version >/dev/null 2>&1; then # no .venv yet, or an incomplete one
      local base
      base=$(find_python)
      "$base" -m venv --clear "$here/.venv"
    fi
    local extras="$*"
    (cd "$here" && "$python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[${extras// /,}]")
    is_ready || echo "$requirements" >"$stamp"
    printf '%s\n' "$@" >>"$stamp" # added to those before: a login node and a GPU node may share .venv
  fi
  exec 9>&-
}

# One XLA device per core, and an allocator that keeps the memory it is given back.
prepare_cpu() {
  local cores jemalloc
  if [[ ${XLA_FLAGS:-} != *xla_force_host_platform_device_count* ]]; then
    cores=$("$python" -c 'import os; print(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())')
    export XLA_FLAGS="${XLA_FLAGS:-} --xla_force_host_platform_device_count=$cores"
  fi
  # A training step allocates large buffers and frees them. If the allocator returns them to the system each
  # time, a fifth of the step goes into getting them again.
  jemalloc=$(ldconfig -p 2>/dev/null | grep -m 1 -o '/.*libjemalloc\.so\.2$' || true)
  if [[ -n $jemalloc ]]; then
    export MALLOC_CONF="dirty_decay_ms:-1,muzzy_decay_ms:-1${MALLOC_CONF:+,$MALLOC_CONF}"
    export LD_PRELOAD="$jemalloc${LD_PRELOAD:+:$LD_PRELOAD}"
  else # settings of glibc's allocator, which others ignore
    export MALLOC_ARENA_MAX=1 MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=8589934592
  fi
}

run_tests() {
  # One process more than cores, up to 4: tests of hosts and of signals wait more than they compute.
  local processes=$(($(getconf _NPROCESSORS_ONLN) + 1))
  cd "$here"
  .venv/bin/ruff check .
  .venv/bin/ruff format --check .
  export PYTHONWARNDEFAULTENCODING=1
  exec .venv/bin/python -m pytest -n $((processes < 4 ? processes : 4)) --dist=worksteal "$@"
}

run_benchmarks() {
  local name
  if [[ $# -gt 0 && $1 != -* ]]; then
    exec "$python" -P -m "benchmarks.$1" "${@:2}"
  fi
  for name in attention training decoding; do
    "$python" -P -m "benchmarks.$name" "$@"
  done
}

case ${1:-} in
  '')
    print_help >&2
    exit 2
    ;;
  -h | -help | --help | help)
    print_help
    exit
    ;;
  -*) program=main ;;
  *)
    program=$1
    shift
    ;;
esac
if [[ " $programs " != *" $program "* ]]; then
  say "unknown program '$program'; the programs are: ${programs// /, }"
  exit 2
fi
for word; do
  if [[ $word == @(-h|-help|--help) ]]; then
    print_program_help "$@"
    exit
  fi
done

backend=${EFFXF_BACKEND:-$(find_backend)}
case $backend in
  cpu | cuda | tpu) ;;
  *)
    say "EFFXF_BACKEND must be cpu, cuda or tpu; got '$backend'"
    exit 2
    ;;
esac
extras=(experiments "$backend")
[[ $program != @(test|bench) ]] || extras+=("$program")
set_up "${extras[@]}"

[[ $backend != cpu ]] || export JAX_PLATFORMS=cpu
case $program in
  setup) exit ;;
  test) run_tests "$@" ;;
esac
[[ $backend != cpu ]] || prepare_cpu
# Programs run in the caller's directory; -P, so that packages there do not hide those of this repository.
export PYTHONPATH=$here${PYTHONPATH:+:$PYTHONPATH}
case $program in
  bench) run_benchmarks "$@" ;;
  *) exec "$python" -P -m "experiments.$program" "$@" ;;
esac
