"""Runs programs as a user does."""

import pytest

from tests.experiments import programs


@pytest.fixture(scope='session')
def program():
    """Runs `python -m experiments.NAME` with arguments; its exit status, output and errors."""

    def run(name, *args, **kwargs):
        code, out, err = programs.run(*args, module=f'experiments.{name}', **kwargs)
        assert 'Traceback' not in err
        return code, out, err

    return run
