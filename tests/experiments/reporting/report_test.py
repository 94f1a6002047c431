"""A report says what the runs say, shows what is missing, and leaves garbage alone."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.reporting import analysis, figures, records
from experiments.reporting.records import RecordError

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope='module')
def grid(made_up):
    (grid,) = records.read([made_up])
    return grid


@pytest.fixture(scope='module')
def report(made_up, others, tmp_path_factory, program):
    out = tmp_path_factory.mktemp('out') / 'report'
    code, printed, err = program('report', made_up, others, f'--out={out}')
    assert code == 0, err
    assert printed.strip() == str(out / 'index.html')
    return out


def test_runs_are_read_with_their_state(grid):
    states = [run.state for run in grid.runs]
    assert states == ['done'] * 99 + ['failed'] * 3 + ['unfinished'] * 3 + ['missing'] * 3
    assert {run.error for run in grid.runs if run.state == 'failed'} == {'diverged: <loss> is nan'}
    assert grid.task == 'lis'
    assert [grid.length('mechanism=linear', size) for size in grid.axes['size']] == [20, 36, 68]
    assert grid.lengths('n=16') == [36]


def test_needed_widths_are_those_that_the_accuracies_were_made_from(grid):
    found = analysis.widths(grid)
    needed = {
        (mechanism.partition('=')[2], size): value.width for (mechanism, size), value in found.needed.items()
    }
    # Interpolation between widths a factor of two apart is off by some percent.
    assert needed['standard', 'n=32'] == pytest.approx(12, rel=0.2)
    assert needed['linear', 'n=32'] == pytest.approx(14 * math.sqrt(68 / 19), rel=0.15)
    assert needed['sparse', 'n=32'] == math.inf
    assert found.exponents['mechanism=standard'].verdict == '0'
    assert found.exponents['mechanism=linear'].value == pytest.approx(0.5, abs=0.1)
    assert all(0 < bound < 10 for bound in found.bounds.values())


def test_the_least_cost_is_of_the_narrowest_model_that_reaches_the_target(grid):
    costs = analysis.least_costs(grid)
    cost = costs['mechanism=linear', 'n=16']
    assert cost.width == 32
    (any_run, *_) = grid.select('mechanism=linear', 'n=16', 'dim=32')
    assert cost.gflops == any_run.result['forward_flops'] / 1e9
    assert cost.state_size == any_run.result['state_size']
    assert costs['mechanism=sparse', 'n=32'].width is None


def test_runs_that_diverged_count_as_nothing_learnt_and_others_that_have_not_ended_not_at_all(grid):
    curve = grid.curve('mechanism=sparse', 'n=32')
    assert curve.widths.tolist() == [8, 16]
    assert curve.accuracy[:, 1].tolist() == [0, 0, 0]
    assert grid.mean_accuracy('mechanism=sparse', 'n=32', 'dim=16') == 0
    otherwise = replace(grid, runs=tuple(replace(run, diverged=False) for run in grid.runs))
    assert otherwise.curve('mechanism=sparse', 'n=32').widths.tolist() == [8]
    assert math.isnan(otherwise.mean_accuracy('mechanism=sparse', 'n=32', 'dim=16'))


def test_a_cell_of_which_some_seeds_diverged_is_everywhere_their_mean(grid):
    place = ('mechanism=linear', 'n=16', 'dim=32')
    runs = tuple(
        replace(run, result=None, state='failed', diverged=True) if run.labels == place and run.seed else run
        for run in grid.runs
    )
    two_failed = replace(grid, runs=runs)
    curve = two_failed.curve(*place[:2])
    mean = curve.accuracy[:, 2].mean()
    assert mean < 0.4
    assert two_failed.mean_accuracy(*place) == mean
    assert analysis.least_costs(two_failed)[place[:2]].width == 64


def test_what_a_search_can_do_without_is_not_missing(made_up, tmp_path):
    copy = shutil.copytree(made_up, tmp_path / 'copy')
    declared = json.loads((copy / 'sweep.json').read_text())
    declared['lis']['search'] = True
    (copy / 'sweep.json').write_text(json.dumps(declared))
    (grid,) = records.read([copy])
    for run in grid.runs:
        if run.labels in (('mechanism=standard', 'n=8', 'dim=64'), ('mechanism=sparse', 'n=32', 'dim=32')):
            shutil.rmtree(run.path.parent, ignore_errors=True)
    (grid,) = records.read([copy])
    state = lambda *labels: {run.state for run in grid.select(*labels)}
    assert state('mechanism=standard', 'n=8', 'dim=64') == {'not needed'}
    # 8 and 16 do not reach it, so that 32 is next, and 64 not asked for yet.
    assert state('mechanism=sparse', 'n=32', 'dim=32') == {'missing'}
    assert state('mechanism=sparse', 'n=32', 'dim=64') == {'not needed'}


def test_a_log_that_a_kill_has_torn_is_read_to_the_last_whole_line(made_up, tmp_path):
    copy = shutil.copytree(made_up, tmp_path / 'copy')
    path = next(copy.rglob('seed-1/metrics.jsonl'))
    with path.open('a') as file:
        file.write('{"step": 25')
    (grid,) = records.read([copy])
    (run,) = (run for run in grid.runs if run.path == path.parent)
    assert [line['step'] for line in run.log] == list(range(1, 251))


@pytest.mark.slow
def test_a_report_has_every_figure_in_three_formats_and_a_page(report):
    every = {'heat_maps', 'accuracy_over_width', 'cost', 'first_errors', 'learning_curves'}
    expected = {
        'made-up-lis': {*every, 'width_over_length', 'over_bound'},
        'others-locality': {*every, 'width_over_locality'},
        'others-rates': {'accuracy'},
    }
    assert {path.name for path in (report / 'figures').iterdir()} == {
        f'{grid}-{figure}.{suffix}'
        for grid, figures in expected.items() for figure in figures for suffix in ('png', 'pdf', 'svg')
    }  # fmt: skip
    tables = json.loads((report / 'tables.json').read_text())['made-up-lis']
    linear = next(row for row in tables['Width and cost'] if row['mechanism'] == 'linear' and row['L'] == 36)
    assert linear['at D'] == 32
    page = (report / 'index.html').read_text()
    assert '208 runs: 199 done, 3 failed, 3 unfinished, 3 missing' in page
    assert 'diverged: &lt;loss&gt; is nan' in page
    # Nothing is fetched.
    assert 'http://' not in page.replace('http://www.w3.org', '')
    assert 'https://' not in page
    assert page.count('data:image/svg+xml;base64,') == sum(map(len, expected.values()))


def test_the_heat_map_lays_the_papers_values_below(grid):
    figures.style()
    figure = figures.heat_maps(grid)
    below = [axes for axes in figure.axes if axes.get_xticklabels()[0].get_text() == '32']
    assert len(below) == 3
    texts = [text.get_text() for text in below[1].texts]
    assert texts[3] == '78'  # linear, L = 83, D = 256
    figures.plt.close(figure)


def test_the_needed_width_over_locality_has_a_line_for_each_length(others):
    grid, _ = records.read([others])
    assert grid.is_of_localities
    assert [grid.locality(size) for size in grid.axes['size']] == [8, 8, 10, 10]
    figure = figures.width_over_locality(grid, analysis.widths(grid))
    window, linear = figure.axes
    assert [text.get_text() for text in window.get_legend().get_texts()] == ['L=39, 42', 'L=78, 79']
    lines = lambda axis: [line.get_ydata() for line in axis.lines if list(line.get_xdata()) == [8, 10]]
    short, long = lines(window)
    assert short == pytest.approx(long)  # the window's width does not follow length
    assert short[1] / short[0] == pytest.approx(1.5, rel=0.1)
    short, long = lines(linear)
    assert long / short == pytest.approx([np.sqrt(78 / 42), np.sqrt(79 / 39)], rel=0.1)
    figures.plt.close(figure)


def test_ratios_tell_growth_with_length_from_growth_with_locality(others):
    grid, _ = records.read([others])
    window, linear = analysis.tables(grid, analysis.widths(grid))['Ratio of needed widths']
    assert list(window) == [
        'mechanism', 'L 42 to 78, locality 8', 'locality 8 to 10, L 42, 39', 'locality 8 to 10, L 78, 79',
        'L 39 to 79, locality 10',
    ]  # fmt: skip
    values = lambda row: [float(text.split()[0]) for text in list(row.values())[1:]]
    assert values(window) == pytest.approx([1, 1.5, 1.5, 1], rel=0.1)
    assert values(linear) == pytest.approx([1.36, 1.5 * 0.96, 1.5 * 1.006, 1.42], rel=0.1)
    low, high = (float(text.strip('()')) for text in window['L 42 to 78, locality 8'].split()[1::2])
    assert 0.95 < low < 1 < high < 1.05  # two seeds, two percent apart


def test_first_errors_are_of_widths_that_all_have(grid):
    figure = figures.first_errors(grid)
    titles = [axis.get_legend().get_title().get_text() for axis in figure.axes]
    # Of sparse attention at n = 32 all but the narrowest is missing.
    assert titles == ['D=8, 16, 32, 64', 'D=8, 16, 32, 64', 'D=8']
    labels = [text.get_text() for text in figure.axes[2].get_legend().get_texts()]
    # Of each of three seeds, 20 errors and as many more in one place as there are tokens.
    rows = 3 * (20 + 68)
    assert labels == [f'{mechanism}, {rows} rows' for mechanism in ('standard', 'linear', 'sparse')]
    figures.plt.close(figure)


def test_learning_curves_are_of_widths_that_have_ended(grid):
    under_way = lambda run: run.labels == ('mechanism=linear', 'n=32', 'dim=64')
    runs = [replace(run, state='unfinished', result=None) if under_way(run) else run for run in grid.runs]
    figure = figures.learning_curves(replace(grid, runs=tuple(runs)))
    labels = [text.get_text() for text in figure.axes[2].get_legend().get_texts()]
    # Sparse attention diverged at 16 before it was graded, and is under way or missing above.
    assert labels == ['standard, D=64', 'linear, D=32']
    figures.plt.close(figure)


def test_lines_of_theory_leave_the_corner_of_all_that_is_drawn(grid):
    figure = figures.width_over_length(grid, analysis.widths(grid))
    (axis,) = figure.axes
    slopes = {text.get_text(): text.get_position()[1] for text in axis.texts}
    assert list(slopes) == ['slope 0', 'slope 1/4', 'slope 1/2']
    dotted = [line.get_ydata() for line in axis.lines if line.get_linestyle() == ':']
    (least,) = {line[0] for line in dotted}
    assert 0 < least < 14
    growth = 68 / 20 * 1.03 / 0.97
    assert [line[1] / least for line in dotted] == pytest.approx([1, growth**0.25, growth**0.5])
    figures.plt.close(figure)


def test_first_errors_are_shown_whole_though_sizes_share_an_axis(grid):
    figure = figures.first_errors(grid)
    for axis in figure.axes:
        top = max(np.max(line.get_ydata()) for line in axis.lines)
        assert axis.get_ylim()[0] == 0
        assert top < axis.get_ylim()[1]
    figures.plt.close(figure)


@pytest.mark.slow
def test_the_same_runs_make_the_same_files_and_what_is_exported_says_the_same_and_is_small(
    made_up, others, report, tmp_path, program
):
    words = made_up, others, f'--out={tmp_path / "out"}', f'--export={tmp_path / "kept"}'
    code, out, err = program('report', *words)
    assert code == 0, err
    assert '105 runs copied of made-up' in out
    for path in (report / 'figures').iterdir():
        assert (tmp_path / 'out' / 'figures' / path.name).read_bytes() == path.read_bytes(), path.name
    copy = tmp_path / 'kept' / 'made-up'
    code, _, err = program('report', copy, tmp_path / 'kept' / 'others', f'--out={tmp_path / "again"}')
    assert code == 0, err
    assert (tmp_path / 'again' / 'tables.json').read_text() == (report / 'tables.json').read_text()
    logs = list(copy.rglob('metrics.jsonl'))
    kept = [json.loads(line)['step'] for line in next(log for log in logs if log.read_text()).open()]
    assert kept == [1, 100, 200, 250]
    assert not list(copy.rglob('checkpoints'))


def test_what_is_exported_again_is_as_it_is_now(made_up, tmp_path):
    copy = shutil.copytree(made_up, tmp_path / 'copy')
    records.export(copy, tmp_path / 'kept')
    (failed,) = copy.rglob('failure.json')
    assert (tmp_path / 'kept' / failed.relative_to(copy)).exists()
    failed.unlink()
    records.export(copy, tmp_path / 'kept')
    states = lambda path: [run.state for grid in records.read([path]) for run in grid.runs]
    assert states(tmp_path / 'kept') == states(copy)
    assert 'failed' not in states(copy)


@pytest.mark.parametrize(
    'name, content, message',
    [
        ('sweep.json', None, 'has no sweep.json'),
        ('sweep.json', '{"a": 1}', 'does not declare a sweep'),
        ('sweep.json', 'x', 'is not JSON'),
        ('sweep.json', '[]', 'must hold an object'),
        ('config.json', '{"seed": 0}', 'is not the configuration of a run'),
        ('result.json', '{"loss": 0}', 'is not the result of a run'),
        ('result.json', '{"chain', 'is not JSON'),
    ],
)
def test_garbage_is_refused_by_name(made_up, tmp_path, name, content, message):
    copy = shutil.copytree(made_up, tmp_path / 'copy')
    path = copy / name if name == 'sweep.json' else next(copy.rglob(f'seed-1/{name}'))
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(RecordError, match=message):
        records.read([copy])


@pytest.mark.slow
@pytest.mark.parametrize(
    'words, message',
    [
        ([], 'a directory of a sweep is missing'),
        (['docs'], 'no sweep.json'),
        (['docs', 'tests/../docs'], '2 directories are called docs'),
    ],
)
def test_what_is_no_sweep_is_refused(words, message, program):
    code, _, err = program('report', *words)
    assert code == 2
    assert message in err
    assert not (ROOT / 'docs' / 'report').exists()


@pytest.fixture(scope='module')
def browser():
    """Headless Chromium, of a phone's width at first."""
    missing = [name for name in ('chromium', 'chromedriver') if shutil.which(name) is None]
    if missing:
        pytest.skip(f'no browser to look at the page with: {" and ".join(missing)} not installed')
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which('chromium')
    for flag in (
        'headless=new',
        'no-sandbox',
        'disable-gpu',
        'disable-dev-shm-usage',
        'window-size=1200,900',
    ):
        options.add_argument(f'--{flag}')
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
    service = webdriver.ChromeService(executable_path=shutil.which('chromedriver'))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


def shown(browser):
    rows = browser.find_elements('css selector', '#runs tbody tr')
    return [row for row in rows if row.is_displayed()]


def column(browser, title):
    return browser.execute_script(
        """const heads = [...document.querySelectorAll('#runs th')];
           const place = heads.findIndex(h => h.textContent.trim() === arguments[0]);
           return [...document.querySelectorAll('#runs tbody tr')].map(r => r.cells[place].textContent);""",
        title,
    )


def choose(browser, name, value):
    from selenium.webdriver.support.ui import Select

    Select(browser.find_element('css selector', f'select[data-filter={name}]')).select_by_visible_text(value)


@pytest.mark.slow
def test_the_page_works_in_a_browser(report, made_up, browser):
    browser.get((report / 'index.html').as_uri())
    assert not browser.get_log('browser')  # no error, and nothing that could not be fetched
    pictures = browser.find_elements('css selector', 'figure img')
    assert all(browser.execute_script('return arguments[0].naturalWidth', picture) for picture in pictures)

    # Filters.
    assert len(shown(browser)) == 208
    choose(browser, 'mechanism', 'sparse')
    choose(browser, 'state', 'failed')
    rows = shown(browser)
    assert len(rows) == 3
    assert 'diverged: <loss> is nan' in rows[0].text
    assert browser.find_element('id', 'shown').text == '3 of 208 runs'
    choose(browser, 'state', 'all')
    choose(browser, 'mechanism', 'all')
    choose(browser, 'task', 'lis')
    assert len(shown(browser)) == 105 + 3
    choose(browser, 'task', 'all')

    # Sorting, of numbers as numbers and what there is not at the end, either way.
    (button,) = (
        b for b in browser.find_elements('css selector', '#runs th button') if b.text == 'parameters'
    )
    for reverse in (False, True):
        button.click()
        numbers = [int(text.replace(',', '')) for text in column(browser, 'parameters') if text]
        assert numbers == sorted(numbers, reverse=reverse)
        assert column(browser, 'parameters')[199:] == [''] * 9

    # So are those of the tables above.
    (button, *_) = (
        b for b in browser.find_elements('css selector', 'h3 + .wide th button') if b.text == 'over bound'
    )
    button.click()
    ratios = browser.execute_script(
        """const table = document.querySelector('h3 + .wide table');
           const place = [...table.rows[0].cells].findIndex(h => h.textContent === 'over bound');
           return [...table.tBodies[0].rows].map(r => r.cells[place].textContent);"""
    )
    assert ratios[-1] == ''
    assert [int(r) for r in ratios[:-1]] == sorted(int(r) for r in ratios[:-1])

    # Links lead to run directories.
    link = shown(browser)[0].find_element('css selector', 'a').get_attribute('href')
    assert (Path(link.removeprefix('file://')) / 'result.json').exists()


@pytest.mark.slow
def test_the_page_fits_a_phone(report, browser):
    browser.execute_cdp_cmd(
        'Emulation.setDeviceMetricsOverride',
        {'width': 390, 'height': 844, 'deviceScaleFactor': 2, 'mobile': True},
    )
    browser.get((report / 'index.html').as_uri())
    width, inner = browser.execute_script('return [document.documentElement.scrollWidth, window.innerWidth]')
    assert inner == 390
    assert width <= inner  # only tables and figures scroll sideways, in boxes of their own
    for picture in browser.find_elements('css selector', 'figure img'):
        natural = browser.execute_script('return arguments[0].naturalWidth', picture)
        assert picture.size['width'] == pytest.approx(natural, abs=1)  # not too small to read
        box = picture.find_element('xpath', './..')
        assert box.size['width'] <= 390
