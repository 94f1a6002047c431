"""A report agrees with its runs, and its files work without a network."""

import json
import shutil
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs

from experiments.reporting import records, sections, static

ROOT = Path(__file__).parents[3]


EVERY = {'heat_maps', 'accuracy_over_width', 'cost', 'first_errors', 'learning_curves'}
FIGURES = {
    'made-up-lis': {*EVERY, 'width_over_length', 'width_and_cost', 'over_bound'},
    'others-locality': {*EVERY, 'width_over_locality'},
    'others-rates': {'accuracy'},
}


@pytest.fixture(scope='module')
def report(made_up, others, tmp_path_factory, program):
    out = tmp_path_factory.mktemp('out') / 'report'
    code, printed, err = program('report', made_up, others, f'--out={out}')
    assert code == 0, err
    assert printed.strip() == str(out / 'index.html')
    return out


@pytest.mark.slow
def test_a_report_is_one_page_and_its_tables_and_fetches_nothing(report):
    assert {path.name for path in report.iterdir()} == {'index.html', 'tables.json'}
    tables = json.loads((report / 'tables.json').read_text())['made-up-lis']
    linear = next(row for row in tables['Width and cost'] if row['mechanism'] == 'linear' and row['L'] == 36)
    assert linear['at D'] == 32
    page = (report / 'index.html').read_text()
    assert '208 runs: 199 done, 3 failed, 3 unfinished, 3 missing' in page
    assert page.count('<figure class="chart"') == sum(map(len, FIGURES.values()))
    own = page.replace(get_plotlyjs(), '')
    assert len(page) - len(own) == len(get_plotlyjs())  # once
    for part in ('http://', 'https://', ' src=', '@import'):
        assert part not in own


@pytest.mark.slow
def test_static_figures_are_in_three_formats_and_the_same_runs_make_the_same_files(
    made_up, others, report, tmp_path, program
):
    out = tmp_path / 'out'
    code, _, err = program('report', made_up, others, f'--out={out}', '--static')
    assert code == 0, err
    # Without a terminal, a line for each grid.
    assert [line.partition(':')[0] for line in err.splitlines()] == list(FIGURES)
    drawn = out / 'figures'
    assert {path.name for path in drawn.iterdir()} == {
        f'{grid}-{figure}.{suffix}'
        for grid, figures in FIGURES.items() for figure in figures for suffix in ('png', 'pdf', 'svg')
    }  # fmt: skip
    (grid,) = records.read([made_up])
    (chart,) = (chart for chart in sections.describe(grid).charts if chart.name == 'over_bound')
    static.save(chart, tmp_path, 'again')
    for suffix in ('png', 'pdf', 'svg'):
        again = (tmp_path / f'again.{suffix}').read_bytes()
        assert again == (drawn / f'made-up-lis-over_bound.{suffix}').read_bytes(), suffix


@pytest.mark.slow
def test_what_is_exported_says_the_same(made_up, others, report, tmp_path, program):
    words = made_up, others, f'--out={tmp_path / "out"}', f'--export={tmp_path / "kept"}'
    code, out, err = program('report', *words)
    assert code == 0, err
    files = [tmp_path / 'kept' / f'{name}.jsonl' for name in ('made-up', 'others')]
    assert out.splitlines()[:2] == [str(path) for path in files]
    code, _, err = program('report', *files, f'--out={tmp_path / "again"}')
    assert code == 0, err
    assert (tmp_path / 'again' / 'tables.json').read_text() == (report / 'tables.json').read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    'words, message',
    [
        ([], 'a sweep is missing'),
        (['docs'], 'no sweep.json'),
        (['README.md'], 'README.md is neither the directory of a sweep nor a file NAME.jsonl'),
        (['none.jsonl'], 'none.jsonl'),
        (['docs', 'tests/../docs'], '2 sweeps are called docs'),
        (['docs', '--oot=x'], "'oot'. Did you mean: out"),
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
    return browser.find_elements('css selector', '#runs tbody tr')


def column(browser, title):
    return browser.execute_script(
        """const place = table.columns.indexOf(arguments[0]);
           return [...document.querySelectorAll('#runs tbody tr')].map(r => r.cells[place].textContent);""",
        title,
    )


def choose(browser, name, value):
    from selenium.webdriver.support.ui import Select

    Select(browser.find_element('css selector', f'select[data-filter={name}]')).select_by_visible_text(value)


def press(browser, element):
    """Clicks where no other element is in the way."""
    browser.execute_script('arguments[0].scrollIntoView({block: "center"})', element)
    element.click()


def hovered(browser, plot):
    """The text that a plot shows on pointing at the first point of its first trace with text."""
    return browser.execute_script(
        """const plot = arguments[0];
           const curve = plot.data.findIndex(trace => trace.hovertext && trace.mode === 'markers');
           Plotly.Fx.hover(plot, [{curveNumber: curve, pointNumber: 0}]);
           return [...plot.querySelectorAll('.hoverlayer .hovertext')].map(e => e.textContent).join('|');""",
        plot,
    )


@pytest.mark.slow
def test_the_page_works_in_a_browser(report, made_up, browser):
    browser.get((report / 'index.html').as_uri())
    assert not browser.get_log('browser')  # no error, and nothing that could not be fetched

    # The verdict comes first, and the inventory last.
    order = browser.find_elements('css selector', '#contents, .verdict, #made-up-lis figure, #all-runs')
    assert order[0].get_attribute('id') == 'contents'
    assert order[1].get_attribute('class') == 'verdict'
    assert order[2].get_attribute('data-name') == 'width_over_length'
    assert order[-1].get_attribute('id') == 'all-runs'

    # Figures are drawn when they come into sight.
    summaries = browser.find_elements('css selector', 'details summary')
    browser.execute_script('for (const each of document.querySelectorAll("details")) each.open = true')
    assert len(summaries) == 2
    browser.execute_script('for (const plot of panels.keys()) draw(plot)')
    assert browser.execute_script('return [...panels.keys()].every(plot => plot.querySelector(".main-svg"))')

    # Pointing at a point shows its run; a click in the legend hides a mechanism.
    (figure,) = browser.find_elements('css selector', '#made-up-lis figure[data-name=accuracy_over_width]')
    plot = figure.find_element('css selector', '.plot')
    text = hovered(browser, plot)
    assert 'lis-standard-' in text
    assert 'seed 0' in text
    key = figure.find_element('css selector', '.legend button')
    visible = 'return arguments[0].data.filter(trace => trace.visible !== false).length'
    before = browser.execute_script(visible, plot)
    press(browser, key)
    assert browser.execute_script(visible, plot) == before - 2  # its points and its line
    press(browser, key)
    assert browser.execute_script(visible, plot) == before

    # Cells by fifties, which open to their seeds.
    assert browser.find_element('id', 'shown').text == '86 of 86 cells, 208 runs'
    assert len(shown(browser)) == 50
    press(browser, browser.find_element('id', 'next'))
    assert len(shown(browser)) == 36
    choose(browser, 'mechanism', 'sparse')
    choose(browser, 'state', 'failed')
    assert browser.find_element('id', 'shown').text == '1 of 86 cells, 3 runs'
    assert 'diverged: <loss> is nan' in column(browser, 'why')[0]
    press(browser, browser.find_element('css selector', '#runs .open'))
    assert len(shown(browser)) == 1 + 3
    assert column(browser, 'seed')[0].endswith('all 3')
    assert column(browser, 'seed')[1:] == ['0', '1', '2']
    choose(browser, 'state', 'all')
    choose(browser, 'mechanism', 'all')
    browser.find_element('id', 'search').send_keys('DIVERGED')
    assert len(shown(browser)) == 1 + 3  # it is still open
    browser.find_element('id', 'search').clear()

    # Sorting, of numbers as numbers and what there is not at the end, either way.
    choose(browser, 'grid', 'lis')
    (button,) = (
        b for b in browser.find_elements('css selector', '#runs th button') if b.text == 'parameters'
    )
    for reverse in (False, True):
        press(browser, button)
        texts = column(browser, 'parameters')
        numbers = [int(text.replace(',', '')) for text in texts if text]
        assert numbers == sorted(numbers, reverse=reverse)
        assert [text for text in texts if not text] == texts[-sum(not text for text in texts) :]

    # So are the tables above.
    (button, *_) = (
        b for b in browser.find_elements('css selector', 'table.sortable th button') if b.text == 'over bound'
    )
    press(browser, button)
    ratios = browser.execute_script(
        """const table = document.querySelector('table.sortable');
           const place = [...table.rows[0].cells].findIndex(h => h.textContent === 'over bound');
           return [...table.tBodies[0].rows].map(r => r.cells[place].textContent);"""
    )
    assert ratios[-1] == ''
    assert [int(r) for r in ratios[:-1]] == sorted(int(r) for r in ratios[:-1])

    # Links lead to run directories.
    link = shown(browser)[0].find_element('css selector', 'a').get_attribute('href')
    assert (Path(link.removeprefix('file://')) / 'seed-0' / 'result.json').exists()


@pytest.mark.slow
def test_the_page_fits_a_phone(report, browser):
    browser.execute_cdp_cmd(
        'Emulation.setDeviceMetricsOverride',
        {'width': 390, 'height': 844, 'deviceScaleFactor': 2, 'mobile': True},
    )
    browser.get((report / 'index.html').as_uri())
    browser.execute_script(
        """for (const each of document.querySelectorAll('details')) each.open = true;
           for (const plot of panels.keys()) draw(plot);"""
    )
    width, inner = browser.execute_script('return [document.documentElement.scrollWidth, window.innerWidth]')
    assert inner == 390
    assert width <= inner  # only tables scroll sideways, in boxes of their own
    (answers,) = (b for b in browser.find_elements('css selector', '#runs th button') if b.text == 'answers')
    assert answers.rect['x'] + answers.rect['width'] <= 390  # in sight, left of what one has to scroll to
    # Panels stand below each other, and none of their words is cut off or too small to read.
    boxes = browser.execute_script(
        """return [...panels.keys()].map(plot => {
             const box = plot.getBoundingClientRect();
             const texts = [...plot.querySelectorAll('text')].filter(t => t.textContent.trim());
             return [box.width, texts.length, texts.every(text => {
               const inner = text.getBoundingClientRect();
               return inner.left >= box.left - 1 && inner.right <= box.right + 1 &&
                 inner.bottom <= box.bottom + 1 && parseFloat(getComputedStyle(text).fontSize) >= 10;
             })];
           });"""
    )
    assert len(boxes) > 20
    for width, words, fits in boxes:
        assert 300 < width <= 390
        assert words > 4
        assert fits
