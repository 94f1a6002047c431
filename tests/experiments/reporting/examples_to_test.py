"""Examples and tokens are those read at the first grading that reaches an accuracy."""

from dataclasses import replace

import pytest

from experiments.reporting import examples_to, page, records, sections

# Gradings of both seeds after 1,000, 2,000 ... steps, and at the end.
GRADED = {0: (0.1, 0.5, 0.91, 0.89, 0.96), 1: (0.1, 0.2, 0.3, 0.94, 0.94)}


@pytest.fixture
def graded(others):
    """A grid of rates whose first rate has these gradings; the second was graded once."""
    _, grid = records.read([others])

    def with_log(run):
        if run.labels[-1] != 'learning_rate=0.1':
            return replace(run, path=None, kept_log=())
        *during, last = GRADED[run.seed]
        log = tuple(
            {'step': 1000 * (place + 1), 'loss': 0.1, grid.metric: accuracy}
            for place, accuracy in enumerate(during)
        )
        result = {**run.result, grid.metric: last, 'train_steps': 5000, 'train_tokens': 10**6}
        return replace(run, path=None, kept_log=log, result=result)

    return replace(grid, runs=tuple(map(with_log, grid.runs)))


def test_the_first_grading_that_reaches_an_accuracy_counts(graded):
    (row,) = examples_to.table(graded)  # the rate that was graded once says nothing about when
    batch = graded.runs[0].experiment.train.batch_size
    assert row['cell'] == 'linear n=2 learning_rate=0.1'
    assert row['seeds'] == 2
    assert row['examples until 90%'] == f'{3000 * batch:,} to {4000 * batch:,}'
    assert row['tokens until 90%'] == '600,000 to 800,000'
    assert row['examples until 95%'] == f'{5000 * batch:,} (1 of 2)'
    assert row['examples in all'] == f'{5000 * batch:,}'


def test_an_accuracy_that_no_seed_reaches_is_said(graded, monkeypatch):
    monkeypatch.setattr(examples_to, 'LEVELS', (0.99,))
    (row,) = examples_to.table(graded)
    assert row['examples until 99%'] == 'not reached'


def test_a_report_shows_the_table(graded, tmp_path):
    section = sections.describe(graded)
    assert list(section.tables) == ['Examples until an accuracy']
    assert 'At the first grading during training' in page.render([section], tmp_path)
