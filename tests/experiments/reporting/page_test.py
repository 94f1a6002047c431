"""Tables of the page say of every run what it was, and sort by the numbers that their cells begin with."""

import re
from dataclasses import replace

import pytest

from experiments.reporting import page, records


@pytest.mark.parametrize(
    'text, value',
    [
        ('12.9', '12.9'),
        ('1,920', '1920'),
        ('-3.40 to 2', '-3.40'),
        ('above 48', '48'),
        ('at most 9.4 (3)', '9.4'),
        ('reached at 32, lost above', '32'),
        ('1e-05', '1e-05'),
        ('none reaches it', None),
        ('n=8', None),
        ('8x', None),
        (None, None),
    ],
)
def test_what_begins_with_a_number_is_sorted_by_it(text, value):
    found = re.match(r'<td data-value="(.*?)">', page._cell(text))
    assert (found and found[1]) == value


def texts(grid, run, tmp_path):
    return {title: re.sub('<.*?>', '', cell) for title, cell in page._run_cells(grid, run, tmp_path).items()}


def test_every_run_has_its_width_and_learning_rate_whatever_its_grid_varies(grid, others, tmp_path):
    _, rates = records.read([others])
    row = texts(rates, rates.runs[-1], tmp_path)
    assert (row['mechanism'], row['cell'], row['width']) == ('linear', 'n=2 learning_rate=0.2', '8')
    assert (row['learning rate'], row['seed']) == ('0.2', '1')
    row = texts(grid, grid.runs[0], tmp_path)
    assert (row['cell'], row['width']) == ('n=8', '8')
    assert row['devices'] == ''  # as earlier versions left results
    run = replace(grid.runs[0], result={**grid.runs[0].result, 'devices': '2 x cpu'})
    assert texts(grid, run, tmp_path)['devices'] == '2 x cpu'
    missing = texts(grid, grid.runs[-1], tmp_path)
    assert (missing['state'], missing['width'], missing['learning rate']) == ('missing', '64', '')
