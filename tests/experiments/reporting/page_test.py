"""The page describes every run, sorts columns by number, and has no broken links."""

import json
import re
import shutil
from dataclasses import replace
from urllib.parse import unquote, urljoin, urlsplit

import pytest

from experiments.reporting import page, records, run_table, sections


@pytest.mark.parametrize(
    'text, value',
    [
        ('12.9', 12.9),
        ('1,920', 1920),
        ('-3.40 to 2', -3.4),
        ('above 48', 48),
        ('at most 9.4 (3)', 9.4),
        ('reached at 32, lost above', 32),
        ('1e-05', 1e-5),
        ('none reaches it', None),
        ('n=8', None),
        ('8x', None),
        ('', None),
    ],
)
def test_what_begins_with_a_number_is_sorted_by_it(text, value):
    assert run_table.number(text) == value


def test_every_run_has_its_width_and_learning_rate_whatever_its_grid_varies(grid, others):
    _, rates = records.read([others])
    row = run_table.cell_texts(rates, [rates.runs[-1]])
    assert (row['mechanism'], row['cell'], row['width']) == ('linear', 'n=2 learning_rate=0.2', '8')
    assert (row['learning rate'], row['seed']) == ('0.2', '1')
    row = run_table.cell_texts(grid, [grid.runs[0]])
    assert (row['cell'], row['width']) == ('n=8', '8')
    assert row['devices'] == ''  # as earlier versions left results
    run = replace(grid.runs[0], result={**grid.runs[0].result, 'devices': '2 x cpu'})
    assert run_table.cell_texts(grid, [run])['devices'] == '2 x cpu'
    missing = run_table.cell_texts(grid, [grid.runs[-1]])
    assert (missing['state'], missing['width'], missing['learning rate']) == ('missing', '64', '')


def test_a_cell_is_one_row_with_the_mean_of_its_seeds_which_it_holds(grid, tmp_path):
    table = run_table.data([grid], tmp_path)
    assert len(table['rows']) == 36
    place = {title: number for number, title in enumerate(table['columns'])}
    row = table['rows'][0]
    text, value = row['cells'][place['chains']]
    mean = grid.mean_accuracy('mechanism=standard', 'n=8', 'dim=8')
    assert text == f'{mean:.3f}'
    assert value == pytest.approx(mean, abs=5e-4)
    assert [seed[place['seed']] for seed in row['seeds']] == [['0', 0], ['1', 1], ['2', 2]]
    assert row['values'] == {
        'sweep': ['made-up'], 'grid': ['lis'], 'task': ['lis'], 'mechanism': ['standard'], 'state': ['done'],
    }  # fmt: skip
    two_states = [*grid.runs[:2], replace(grid.runs[2], result=None, state='unfinished'), *grid.runs[3:]]
    row = run_table.data([replace(grid, runs=tuple(two_states))], tmp_path)['rows'][0]
    assert row['cells'][place['state']] == 'done: 2, unfinished: 1'
    assert row['values']['state'] == ['done', 'unfinished']


def test_rows_say_their_sweep_grid_and_task_and_those_with_a_result_come_first(grid, others, tmp_path):
    locality, _ = records.read([others])
    undone = replace(grid.runs[0], result=None, state='missing')
    table = run_table.data([replace(grid, runs=(undone, *grid.runs[3:])), locality], tmp_path)
    assert table['columns'][:3] == ['sweep', 'grid', 'mechanism']
    states = [row['values']['state'][0] for row in table['rows']]
    assert states == sorted(states, key=run_table.STATES.index)
    assert states[-1] == 'missing'
    names = {tuple(row['cells'][:2]) for row in table['rows']}
    assert names == {('made-up', 'lis'), ('others', 'locality (edit_distance_local)')}


def test_directories_of_any_name_are_linked_to(grid, tmp_path):
    name = 'a sweep #1: 100% "of" <it>?'
    run = replace(grid.runs[0], path=tmp_path / name / 'run #2')
    run.path.mkdir(parents=True)
    named = replace(grid, sweep=name, runs=(run,))
    (row,) = run_table.data([named], tmp_path / 'page')['rows']
    link = row['seeds'][0][-1]['link']
    address = urlsplit(urljoin('file:///page/', link))
    assert (address.query, address.fragment) == ('', '')
    assert unquote(address.path) == f'/{name}/run #2'
    text = page.render([sections.describe(named)], tmp_path)
    (anchor,) = re.findall(r'<article id="([^"]*)"', text)
    assert unquote(anchor) == f'{name}-lis'
    assert f'href="#{anchor}"' in text


def test_decided_verdicts_come_first_and_searches_of_learning_rates_last(grid, others, tmp_path):
    locality, rates = records.read([others])
    nothing = replace(grid, name='nothing', runs=tuple(replace(run, result=None) for run in grid.runs[-3:]))
    text = page.render([sections.describe(each) for each in (rates, nothing, locality, grid)], tmp_path)
    order = ['made-up-lis', 'others-locality', 'made-up-nothing', 'others-rates']
    assert re.findall(r'<article id="([^"]*)"', text) == order
    assert re.findall(r'<li><a href="#([^"]*)"', text) == order
    # Figures are numbered in the order of the page.
    figures = re.findall(r'<figure class="chart" data-name="([^"]*)"', text)
    assert figures[:2] == ['width_over_length', 'width_and_cost']
    (data,) = re.findall(r'<script type="application/json" id="charts">(.*?)</script>', text)
    counts = [part.count('class="plot"') for part in text.split('<figure ')[1:]]
    assert [len(panels) for panels in json.loads(data)] == counts


def test_width_and_cost_is_shown_at_once_for_the_first_grid_only(grid, tmp_path):
    again = replace(grid, name='again')
    text = page.render([sections.describe(each) for each in (grid, again)], tmp_path)
    first, second = (part.partition('<details>') for part in text.split('<article ')[1:])
    assert 'data-name="width_and_cost"' in first[0]
    assert 'data-name="width_and_cost"' not in second[0]
    assert 'data-name="width_and_cost"' in second[2]


def test_links_are_percent_encoded_and_only_to_directories_that_are_there(made_up, tmp_path):
    odd = tmp_path / 'a + b % c'
    shutil.copytree(made_up, odd)
    (grid,) = records.read([odd])
    rows = run_table.data([grid], tmp_path / 'out')['rows']
    cell, seed = rows[0]['cells'][-1], rows[0]['seeds'][0][-1]
    assert re.fullmatch(r'\.\./a%20%2B%20b%20%25%20c/lis-standard-[\w-]+', cell['link'])
    assert seed == {'text': grid.runs[0].name, 'link': f'{cell["link"]}/seed-0'}
    shutil.rmtree(odd / cell['text'])
    rows = run_table.data([grid], tmp_path / 'out')['rows']
    assert rows[0]['cells'][-1] == cell['text']
    assert rows[0]['seeds'][0][-1] == seed['text']
    in_file = replace(grid, runs=tuple(replace(run, path=None) for run in grid.runs))
    assert run_table.data([in_file], tmp_path / 'out')['rows'][0] == rows[0]


def test_no_text_of_a_run_can_leave_its_place_in_the_page(grid, tmp_path):
    evil = '</script><script>alert(1)</script>'
    runs = [replace(run, error=evil) if run.error else run for run in grid.runs]
    text = page.render([sections.describe(replace(grid, runs=tuple(runs)))], tmp_path)
    assert 'alert(1)' in text
    assert evil not in text
    (data,) = re.findall(r'<script type="application/json" id="table">(.*?)</script>', text)
    assert evil in str(json.loads(data))
