"""Finished work survives the death of any process, and every cell ends."""

import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import ray
from ml_collections import ConfigDict
from ray.cluster_utils import Cluster

from effxf_jax.runs import run
from effxf_jax.runs.directory import InUseError, MismatchError, RunDirectory
from effxf_jax.runs.listener import Silent
from effxf_jax.runs.termination import Interrupted
from experiments.sweeping import cells, scheduler, worker
from tests.experiments.sweeping import small
from tests.experiments.sweeping.small import lay, result

STEPS = 60
BASE = f'{small.BASE},steps={STEPS}'
sweep = functools.partial(small.sweep, base=BASE)


class Watcher:
    """Records the progress that it receives."""

    def __init__(self):
        self.begun = []
        self.ends = {}
        self.steps = {}

    def copied(self, names):
        self.copies = names

    def found(self, cell, state): ...

    def submitted(self, cell):
        self.begun.append(cell.name)

    def progressed(self, cell, event):
        self.steps.setdefault(cell.name, []).append(event.step)

    def ended(self, cell, state):
        self.ends[cell.name] = state

    def refresh(self): ...


@contextlib.contextmanager
def once(reached, do):
    """Calls `do` in a thread as soon as `reached`, a condition on the files of a run, is true."""
    over = threading.Event()

    def wait():
        while not over.wait(0.005):
            if reached():
                do()
                return

    with ThreadPoolExecutor() as pool:
        done = pool.submit(wait)
        try:
            yield
        finally:
            over.set()
    done.result()


def output_of(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def worker_of(name):
    """Ray gives a worker's process its task's name; a test that kills has one for itself, by its seed."""
    (pid,) = output_of('pgrep', '-f', f'ray::{name}').split()
    return int(pid)


def kill_worker(name):
    os.kill(worker_of(name), signal.SIGKILL)


def logged(path):
    return [json.loads(line) for line in (path / 'metrics.jsonl').read_text().splitlines()]


def saved(path):
    """The step of a run's latest checkpoint, or 0."""
    found = (path / 'checkpoints').glob('*')
    return max((int(step.name) for step in found if step.name.isdigit()), default=0)


def under_way(directory, made, has):
    """The cells of which something can be seen, and whose results cannot."""
    paths = [directory / cell.name for cell in made.cells()]
    return [path.name for path in paths if has(path) and not (path / 'result.json').exists()]


def trains(path):
    return (path / 'metrics.jsonl').exists() and '\n' in (path / 'metrics.jsonl').read_text()


def resumed_at(steps):
    """The step after which training went on: what is told after the last None, which a worker begins with."""
    return steps[len(steps) - steps[::-1].index(None)]


def restarted(watcher):
    """The cells that more than one worker has begun."""
    return [name for name, steps in watcher.steps.items() if steps.count(None) > 1]


@pytest.fixture
def nodes():
    """Two of a cluster's nodes, of one CPU each."""
    ray.shutdown()
    # The head takes a node for lost that has not answered for a second or two.
    impatient = {f'health_check_{name}': 1000 for name in ('initial_delay_ms', 'period_ms', 'timeout_ms')}
    impatient |= {'health_check_failure_threshold': 2}
    cluster = Cluster(initialize_head=True, head_node_args={'num_cpus': 0, '_system_config': impatient})
    yield cluster, [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.shutdown()


@pytest.mark.slow
def test_a_lost_node_costs_no_more_than_the_steps_since_its_checkpoints(tmp_path, nodes):
    cluster, nodes = nodes
    made = sweep()
    latest = {}

    def lose_node():
        name = under_way(tmp_path, made, saved)[0]
        latest[name] = saved(tmp_path / name)
        of_cell = int(output_of('ps', '-o', 'ppid=', '-p', str(worker_of(name))))
        (node,) = (n for n in nodes if n.all_processes['raylet'][0].process.pid == of_cell)
        cluster.remove_node(node, allow_graceful=False)

    watcher = Watcher()
    with once(lambda: under_way(tmp_path, made, saved), lose_node):
        states = scheduler.run(made, tmp_path, watcher, address=cluster.address)
    assert all(state.done for state in states.values())
    (lost,) = restarted(watcher)
    assert resumed_at(watcher.steps[lost]) >= latest[lost] >= 10
    for name in states:
        assert [line['step'] for line in logged(tmp_path / name)] == list(range(1, STEPS + 1))


@pytest.fixture(scope='module')
def end_of_ray():
    """Leaves no Ray behind for other tests of this process."""
    yield
    ray.shutdown()


@pytest.fixture
def local(monkeypatch, end_of_ray):
    """Ray of two CPUs, and of two GPUs that are none; all tests share one, its workers and their programs."""
    if not ray.is_initialized():
        ray.init('local', num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False)
    monkeypatch.setattr(ray, 'init', lambda **_: None)
    monkeypatch.setattr(ray, 'shutdown', lambda: None)


@pytest.mark.slow
def test_a_cell_whose_worker_is_killed_goes_on_from_its_checkpoint(tmp_path, local):
    made = sweep((12, 8), seed=1)
    latest = {}

    def kill():
        name = under_way(tmp_path, made, saved)[0]
        latest[name] = saved(tmp_path / name)
        kill_worker(name)

    watcher = Watcher()
    with once(lambda: under_way(tmp_path, made, saved), kill):
        states = scheduler.run(made, tmp_path, watcher)
    assert all(state.done for state in states.values())
    dear, cheap = (cell.name for cell in made.cells())
    assert watcher.begun == [cheap, dear]
    assert set(watcher.ends) == {cheap, dear}
    (killed,) = restarted(watcher)
    assert resumed_at(watcher.steps[killed]) >= latest[killed] >= 10
    cell = next(cell for cell in made.cells() if cell.name == killed)
    assert [line['step'] for line in logged(tmp_path / killed)] == list(range(1, STEPS + 1))
    # The declaration is there for reports, and another sweep adds its grids to it.
    declared = json.loads((tmp_path / 'sweep.json').read_text())
    assert [entry['directory'] for entry in declared['tiny']['cells']] == [c.name for c in made.cells()]
    # As it would be, had nothing been killed.
    run.run(cell.experiment, tmp_path / 'alone', Silent())
    losses = [[line['loss'] for line in logged(path)] for path in (tmp_path / killed, tmp_path / 'alone')]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)  # of four devices here, of one there


@pytest.mark.slow
def test_a_cell_that_fails_is_recorded_and_stops_no_other(tmp_path, local):
    axes = {'mechanism': ('mechanism=standard',), 'rate': ('learning_rate=1e30', 'learning_rate=1e-3')}
    grid = cells.grid(f'{BASE},dim=8,steps=20', axes)
    config = ConfigDict(
        {**cells.DEFAULTS, 'num_seeds': 2, 'side_by_side': 2, 'name': 'x', 'grids': {'g': grid}}
    )
    made = cells.make_sweep(config)
    bad, good = (cell.name for cell in made.cells())
    states = scheduler.run(made, tmp_path, Watcher())
    assert states[good].done
    assert not states[bad].done
    assert 'diverged: seed 0: the loss is' in states[bad].error
    failure = json.loads((tmp_path / bad / 'failure.json').read_text())
    assert 'DivergedError' in failure['traceback']
    assert failure['diverged']
    # What has ended is not begun again, unless that is asked for.
    watcher = Watcher()
    assert scheduler.run(made, tmp_path, watcher) == states
    assert watcher.begun == []
    before = (tmp_path / good / 'result.json').stat().st_mtime_ns
    scheduler.run(made, tmp_path, watcher, retry_failed=True)
    assert watcher.begun == [bad]
    assert (tmp_path / good / 'result.json').stat().st_mtime_ns == before


@pytest.mark.parametrize('address', [None, '127.0.0.1:6379'])
def test_ray_begins_what_it_kills_for_lack_of_memory_no_more_often_than_other_deaths(address, monkeypatch):
    told = {}
    monkeypatch.setattr(ray, 'init', lambda **kwargs: told.update(kwargs))
    monkeypatch.setattr(ray, 'shutdown', lambda: None)
    monkeypatch.setenv('RAY_task_oom_retries', '')  # so that it is put back
    with scheduler._ray(address, retries=5):
        assert (told['address'], os.environ['RAY_task_oom_retries']) == (address or 'local', '5')  # noqa: SIM112


@pytest.mark.slow
def test_a_worker_that_dies_too_often_fails_its_cell_alone(tmp_path, local):
    made = sweep(seed=2, retries=0)
    name = next(made.cells()).name
    with once(lambda: trains(tmp_path / name), lambda: kill_worker(name)):
        states = scheduler.run(made, tmp_path, Watcher())
    assert sorted(state.done for state in states.values()) == [False, True]
    (failed,) = (state for state in states.values() if not state.done)
    assert 'died' in failed.error or 'crashed' in failed.error


@pytest.mark.slow
def test_a_cell_whose_files_are_damaged_while_it_runs_fails_alone(tmp_path, local):
    made = sweep()
    path = tmp_path / next(made.cells()).name
    with once(lambda: trains(path), lambda: (path / 'config.json').write_text('{"se')):
        states = scheduler.run(made, tmp_path, Watcher())
    assert sorted(state.done for state in states.values()) == [False, True]
    (failed,) = (state for state in states.values() if not state.done)
    assert 'config.json is damaged' in failed.error


@pytest.mark.slow
def test_a_search_runs_the_widths_that_it_needs(tmp_path, local):
    widths = (8, 12, 16, 20, 24, 28, 32)
    made = sweep(widths, search=True, target=1.0)
    # No width learns anything in no time, so the search climbs; results are laid there to spare the time.
    for cell in made.cells():
        run = RunDirectory(tmp_path / cell.name)
        run.claim(cell.experiment.record)
        if cell.experiment.model.dim not in (8, 12, 28):
            run.write_text('result.json', json.dumps(result(0)))
    watcher = Watcher()
    scheduler.run(made, tmp_path, watcher)
    (begun,) = watcher.begun
    assert begun == made.grids[0].cells['mechanism=standard', 'dim=28'][0].name


@pytest.mark.parametrize('address', ['127.0.0.1:1', 'localhost:99999'])
def test_a_cluster_that_is_not_there_is_said_at_once_and_nothing_is_written(address, tmp_path):
    with pytest.raises(ConnectionError, match=f'no Ray cluster at {address}'):
        scheduler.run(sweep(), tmp_path / 'sweep', Watcher(), address=address)
    assert not (tmp_path / 'sweep').exists()


def test_a_port_above_the_largest_is_not_taken_for_the_one_that_it_is_modulo_their_number():
    with socket.create_server(('localhost', 0)) as server:
        address = f'localhost:{server.getsockname()[1] + 2**16}'
        with pytest.raises(ConnectionError, match='at most 65535'):
            scheduler.check_address(address)


@pytest.mark.slow
def test_cells_that_no_machine_can_hold_are_refused(tmp_path, local):
    message = 'requires 1 CPUs and 4 GPUs; the nodes have 2 CPUs and 2 GPUs'
    with pytest.raises(scheduler.ResourceError, match=message):
        scheduler.run(sweep(gpus=4.0), tmp_path, Watcher())
    assert not (tmp_path / 'sweep.json').exists()


def test_a_directory_whose_path_is_too_long_for_rays_sockets_is_refused(tmp_path, program):
    long = tmp_path / ('x' * 90)
    long.mkdir()
    code, _, err = program(
        'sweep',
        '--config=experiments/sweeps/figure1.py:smoke,only=lis',
        f'--directory={tmp_path / "sweep"}',
        variables={'RAY_TMPDIR': str(long)},
    )
    assert code == 2
    assert 'Ray cannot start: ' in err
    assert 'RAY_TMPDIR' in err
    assert 'resumes' not in err


def test_a_sweep_takes_no_more_cores_than_it_is_allowed(monkeypatch):
    told = {}
    monkeypatch.setattr(ray, 'init', lambda **kwargs: told.update(kwargs))
    monkeypatch.setattr(ray, 'shutdown', lambda: None)
    monkeypatch.setenv('RAY_task_oom_retries', '')
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        with scheduler._ray(None, retries=1):
            assert told['num_cpus'] == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.slow
def test_cells_that_are_given_gpus_which_jax_does_not_find_are_not_trained_without(tmp_path, local):
    states = scheduler.run(sweep(gpus=1.0), tmp_path, Watcher())
    errors = sorted(state.error for state in states.values())
    assert all(error.endswith('where JAX finds none; is JAX for GPUs installed there?') for error in errors)
    # Each was given one of its own, or the same one after the other.
    assert {error.split(' of ')[0] for error in errors} <= {
        'the cell was given GPU 0', 'the cell was given GPU 1',
    }  # fmt: skip
    assert not list(tmp_path.glob('*/config.json'))


@pytest.mark.parametrize('name, text', [('sweep.json', '[1]'), ('failure.json', '{'), ('result.json', '3')])
def test_what_is_damaged_is_named(name, text, tmp_path):
    made = sweep()
    path = tmp_path / name if name == 'sweep.json' else tmp_path / next(made.cells()).name / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    with pytest.raises(MismatchError, match=f'{name} is damaged'):
        scheduler.run(made, tmp_path, Watcher())


def test_a_directory_in_use_or_of_something_else_is_left_alone(tmp_path):
    made = sweep()
    own = RunDirectory(tmp_path)
    with own.lock(), pytest.raises(InUseError):
        scheduler.run(made, tmp_path, Watcher())
    name = next(made.cells()).name
    (tmp_path / name).mkdir()
    (tmp_path / name / 'config.json').write_text('{"seed": 7}')
    with pytest.raises(MismatchError, match='seed is 7 there'):
        scheduler.run(made, tmp_path, Watcher())
    assert not (tmp_path / 'sweep.json').exists()


def test_a_sweep_that_has_nothing_to_run_starts_no_ray(tmp_path, monkeypatch):
    def start(**_):
        raise AssertionError

    monkeypatch.setattr(ray, 'init', start)
    made = sweep()
    for cell in made.cells():
        lay(tmp_path, cell, done=True)
    states = scheduler.run(made, tmp_path, Watcher())
    assert all(state.done for state in states.values())
    next(tmp_path.glob('*/result.json')).unlink()
    with pytest.raises(AssertionError):
        scheduler.run(made, tmp_path, Watcher())


@pytest.mark.slow
def test_cells_under_the_names_of_an_earlier_version_are_kept_and_not_trained_again(tmp_path, local, caplog):
    made = sweep()
    cells = list(made.cells())
    declaration = made.declaration()
    for number, cell in enumerate(cells):
        lay(tmp_path, cell, done=True, name=f'old-{number}')
        declaration['tiny']['cells'][number]['directory'] = f'old-{number}'
    (tmp_path / 'sweep.json').write_text(json.dumps(declaration))
    watcher = Watcher()
    states = scheduler.run(made, tmp_path, watcher)
    assert watcher.copies == [cell.name for cell in cells]
    assert not watcher.begun
    assert all(state.done for state in states.values())
    assert not caplog.messages  # reports miss none of them
    assert json.loads((tmp_path / 'sweep.json').read_text()) == json.loads(json.dumps(made.declaration()))


def test_finished_cells_that_a_grid_has_no_more_are_told_of(tmp_path, caplog):
    before, after = sweep((8, 12)), sweep((8,))
    for cell in before.cells():
        lay(tmp_path, cell, done=True)
    scheduler.run(before, tmp_path, Watcher())
    assert not caplog.messages
    scheduler.run(after, tmp_path, Watcher())
    (message,) = caplog.messages
    _, lost = before.cells()
    assert message.startswith('1 finished cells no longer belong to these grids')
    assert message.endswith(f': {lost.name}')
    (tmp_path / 'sweep.json').write_text('{"tiny": 1}')
    with pytest.raises(MismatchError, match='sweep.json is damaged'):
        scheduler.run(after, tmp_path, Watcher())
    assert (tmp_path / 'sweep.json').read_text() == '{"tiny": 1}'


@pytest.mark.slow
def test_sigterm_leaves_every_cell_to_go_on_with(tmp_path, local):
    made = sweep(base=f'{BASE},steps=400,checkpoint_every=400')
    stop = lambda: os.kill(os.getpid(), signal.SIGTERM)
    with once(lambda: under_way(tmp_path, made, trains), stop), pytest.raises(Interrupted):
        scheduler.run(made, tmp_path, Watcher())
    begun = under_way(tmp_path, made, saved)
    assert begun
    stopped = {name: saved(tmp_path / name) for name in begun}
    assert stopped == {name: len(logged(tmp_path / name)) for name in begun}  # saved where it stopped
    watcher = Watcher()
    states = scheduler.run(made, tmp_path, watcher)
    assert all(state.done for state in states.values())
    for name in begun:
        assert stopped[name] in watcher.steps[name]  # where it began again


def test_a_worker_takes_no_more_of_its_machine_than_its_cell_is_given(monkeypatch):
    monkeypatch.setenv('XLA_FLAGS', '--a --xla_force_host_platform_device_count=8 --b')
    variables = worker.variables(2, 0)
    assert variables['NPROC'] == '2'
    assert variables['JAX_PLATFORMS'] == 'cpu'
    assert variables['XLA_FLAGS'].split() == ['--a', '--b', '--xla_force_host_platform_device_count=2']
    assert worker.variables(4, 0.25) == {'XLA_PYTHON_CLIENT_MEM_FRACTION': '0.188'}
    assert worker.variables(4, 1) == {}
