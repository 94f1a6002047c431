"""The program that changes a trained model's state, end to end."""

import json
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TINY = (
    'experiments/arith.py:smoke,n=2,modulus=2,mechanism=linear,steps=400,batch_size=64,dropout=0.0,'
    'warmup_steps=40,learning_rate=1e-2,eval_every=400,checkpoint_every=400'
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def workdir(tmp_path_factory, program):
    path = tmp_path_factory.mktemp('run')
    code, _, err = program('main', f'--config={TINY}', f'--workdir={path}')
    assert code == 0, err
    return path


def test_a_trained_run_is_probed(workdir, program):
    code, out, err = program('probe', f'--workdir={workdir}', '--count=64')
    assert code == 0, err
    for part in ('Whole state exchanged: 100.0%', 'own answer', 'ceiling', 'bits in all', 'rank'):
        assert part in out
    report = json.loads((workdir / 'probe.json').read_text())
    assert report['exchange_of_all'] == 1
    assert report['step'] == 400
    assert len(report['exchange_of_parts']) == 2 * (1 + 2)
    assert all(point['kept'] <= point['ceiling'] for point in report['points'])
    kinds = {point['kind'] for point in report['points']}
    assert kinds == {'bits a number', 'rank', 'components', 'bits in all'}
    assert report['state_size'] == 2 * 2 * (8 * 8 + 8)
    assert (workdir / 'probe.png').read_bytes().startswith(b'\x89PNG')


def test_probing_changes_no_checkpoint_whatever_state_it_is_in(workdir, tmp_path, program):
    copy = shutil.copytree(workdir, tmp_path / 'copy')
    step = next((copy / 'checkpoints').iterdir())
    shutil.rmtree(step / 'state')
    (step / 'state').mkdir()
    (copy / 'checkpoints' / '500.orbax-checkpoint-tmp-0').mkdir()
    before = sorted(path.relative_to(copy) for path in copy.rglob('*'))
    code, _, err = program('probe', f'--workdir={copy}')
    assert code == 2
    assert 'are damaged' in err
    assert sorted(path.relative_to(copy) for path in copy.rglob('*')) == before


def test_what_cannot_be_probed_is_said(workdir, tmp_path, program):
    bare, damaged, empty, several = (tmp_path / name for name in ('bare', 'damaged', 'empty', 'several'))
    for path in (bare, damaged, empty, several):
        path.mkdir()
        shutil.copy(workdir / 'config.json', path)
    config = json.loads((workdir / 'config.json').read_text())
    (damaged / 'config.json').write_text('{"seed": 7')
    (empty / 'config.json').write_text('{}')
    other = shutil.copytree(workdir, tmp_path / 'other')
    (other / 'config.json').write_text(json.dumps({**config, 'seed': 3}))
    config['train']['num_replicates'] = 3
    (several / 'config.json').write_text(json.dumps(config))
    for args, part in (
        ([], '--workdir=RUN is missing'),
        ([f'--workdir={tmp_path}'], 'it has no config.json'),
        ([f'--workdir={bare}'], 'has no checkpoints'),
        ([f'--workdir={damaged}'], 'config.json is damaged: it is not JSON'),
        ([f'--workdir={empty}'], 'is not the configuration of a run'),
        ([f'--workdir={other}'], 'seed is 0 there and 3 here'),
        ([f'--workdir={several}'], 'give one of'),
        ([f'--workdir={workdir}', '--position=1'], 'at position 1'),
        ([f'--workdir={workdir}', 'now'], "unexpected argument 'now'"),
    ):
        code, _, err = program('probe', *args)
        assert code == 2
        assert part in err
