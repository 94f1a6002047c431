"""A report says what the runs say, in files that a reader can open anywhere."""

import json
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope='module')
def report(made_up, others, tmp_path_factory, program):
    out = tmp_path_factory.mktemp('out') / 'report'
    code, printed, err = program('report', made_up, others, f'--out={out}')
    assert code == 0, err
    assert printed.strip() == str(out / 'index.html')
    return out


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
    assert kept == [1, 100, 150, 200, 250]
    assert not list(copy.rglob('checkpoints'))


@pytest.mark.slow
@pytest.mark.parametrize(
    'words, message',
    [
        ([], 'a directory of a sweep is missing'),
        (['docs'], 'no sweep.json'),
        (['docs', 'tests/../docs'], '2 directories are called docs'),
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
    (answers,) = (b for b in browser.find_elements('css selector', '#runs th button') if b.text == 'answers')
    assert answers.rect['x'] + answers.rect['width'] <= 390  # in sight, left of what one has to scroll to
    for picture in browser.find_elements('css selector', 'figure img'):
        natural = browser.execute_script('return arguments[0].naturalWidth', picture)
        assert picture.size['width'] == pytest.approx(natural, abs=1)  # not too small to read
        box = picture.find_element('xpath', './..')
        assert box.size['width'] <= 390
