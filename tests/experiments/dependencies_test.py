"""The program that measures dependencies, end to end."""

import json

import pytest

from effxf_jax.gsm8k import records

TWO_STEPS = records.dump(
    'Ira has 4 pens and buys 3 packs of 5. How many then?',
    'He buys 3*5=<<3*5=15>>15.\nThen he has 4+15=<<4+15=19>>19.\n#### 19',
)
AMBIGUOUS = records.dump(
    'A rope of 8 m is cut twice. Of 2 parts?', 'One is <<8/2=4>>4.\nBoth: <<4*2=8>>8, <<8+1=9>>9.\n#### 9'
)
NONE = records.dump('Is it 3?', 'Yes.\n#### 3')
FIGURES = 'locality', 'live_sets', 'distances'

pytestmark = pytest.mark.slow


def test_files_and_tasks_are_measured_side_by_side(program, tmp_path):
    for name, lines in ('one.jsonl', [TWO_STEPS, NONE]), ('two.jsonl', [AMBIGUOUS]):
        (tmp_path / name).write_text('\n'.join(lines))
    out_dir = tmp_path / 'made' / 'here'
    code, out, err = program(
        'dependencies', f'--path={tmp_path / "one.jsonl"},{tmp_path / "two.jsonl"}',
        '--task=experiments/ed.py:n=3', '--task', 'experiments/arith.py:n=2,modulus=3', '--count=20',
        f'--out={out_dir}',
    )  # fmt: skip
    assert (code, err) == (0, '')
    for part in (
        'one.jsonl',
        'ed:n=3',
        'arith:n=2,modulus=3',
        '66.7% - 33.3%',
        'steps local within 2 steps',
    ):
        assert part in out
    one, two, *tasks = json.loads((out_dir / 'dependencies.json').read_text())
    assert [one['name'], two['name']] == ['one.jsonl', 'two.jsonl']
    assert one['steps_per_problem']['counts'] == [[0, 1], [2, 1]]
    assert (one['operands'], one['ambiguous_operands'], one['operands_from_nowhere']) == (4, 0, 0)
    assert one['nearest'] == one['farthest']
    assert one['nearest']['steps_back']['counts'] == [[1, 1]]
    assert two['ambiguous_operands'] == 3  # 2 stands twice in the question, and 8 is asked and found
    assert two['operands_from_nowhere'] == 1
    assert two['farthest']['token_reach']['maximum'] > two['nearest']['token_reach']['maximum']
    assert tasks[0]['source'].startswith('EditDistance(n=3')
    assert all(task['problems'] == 20 and task['nearest'] == task['farthest'] for task in tasks)
    for name in FIGURES:
        assert (out_dir / f'{name}.png').read_bytes().startswith(b'\x89PNG')
        assert str(out_dir / f'{name}.png') in out


def test_problems_without_annotations_have_no_statistics_but_a_figure(program, tmp_path):
    (tmp_path / 'file').write_text(NONE)
    code, out, err = program('dependencies', f'--path={tmp_path / "file"}', f'--out={tmp_path}')
    assert (code, err) == (0, '')
    assert 'nan' not in out
    (only,) = json.loads((tmp_path / 'dependencies.json').read_text())
    assert only['nearest']['steps_back'] == {
        'mean': None, 'percentile_50': None, 'percentile_90': None, 'percentile_99': None, 'maximum': None,
        'counts': [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ('args', 'messages'),
    [
        ([], ['--path=FILE or --task=CONFIG is missing', '--out=DIR is missing']),
        (['now', '--out=OUT'], ["unexpected argument 'now'"]),
        (['--path=OUT/none', '--out=OUT'], ['none cannot be read: No such file']),
        (['--path=GOOD', '--out=GOOD'], ['--out', 'is not a directory']),
        (['--path=BAD', '--out=OUT/new'], ['has bad lines; line 2: no JSON', '; line 3: a blank line']),
        (['--path=EMPTY', '--out=OUT/new'], ['is empty']),
        (['--path=GOOD,GOOD', '--out=OUT/new'], ['is given twice']),
        (['--task=experiments/edd.py', '--task=experiments/lis.py:n=0', '--out=OUT/new'],
         ["no config file 'experiments/edd.py'", 'n must be']),
        (['--task=experiments/lis.py:answer_mode=direct', '--out=OUT/new'], ['direct']),
        (['--config=experiments/lis.py', '--out=OUT/new'], ['give a task as --task=CONFIG']),
        (['--path=GOOD', '--count=0', '--out=OUT/new'], ['count']),
    ],
    ids=lambda value: None,
)  # fmt: skip
def test_nonsense_gets_one_message_and_nothing_is_written(args, messages, program, tmp_path):
    files = {'GOOD': TWO_STEPS, 'BAD': f'{TWO_STEPS}\n{{\n\n', 'EMPTY': ''}
    for name, content in files.items():
        (tmp_path / f'{name.lower()}.jsonl').write_text(content)
    before = sorted(tmp_path.rglob('*'))
    for name in files:
        args = [arg.replace(name, str(tmp_path / f'{name.lower()}.jsonl')) for arg in args]
    code, out, err = program('dependencies', *(arg.replace('OUT', str(tmp_path)) for arg in args))
    assert code == 2
    assert out == ''
    for message in messages:
        assert message in err
    assert sorted(tmp_path.rglob('*')) == before


def test_a_task_that_does_not_say_where_values_come_from_is_refused(program, tmp_path):
    config = tmp_path / 'silent.py'
    config.write_text("""
import dataclasses
from effxf_jax import tasks
from experiments import configs

@dataclasses.dataclass(frozen=True)
class Silent(tasks.TASKS['lis']):
    def dependencies(self, tokens):
        raise NotImplementedError

tasks.TASKS['silent'] = Silent

def get_config(arg=None):
    return configs.build(arg, 'silent', {'laptop': {'task.n': 4}})
""")
    code, out, err = program('dependencies', f'--task={config}', f'--out={tmp_path / "out"}')
    assert (code, out) == (2, '')
    assert 'does not say where its values come from' in err
    assert not (tmp_path / 'out').exists()
