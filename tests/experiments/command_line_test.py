"""Paths of flags are on this machine, and a terminal without a character still shows the rest."""

import io
import sys
from pathlib import Path

import pytest
from absl import app

from experiments import command_line


@pytest.mark.parametrize('url', ['gs://bucket/run', 's3://bucket', 'file:///tmp/run', 'http://a/b'])
def test_a_url_is_refused_and_no_local_directory_is_meant(url):
    with pytest.raises(ValueError, match=f'{url} is a URL; expected a path on this machine'):
        command_line.local_path(url)


def test_a_tilde_means_the_home_directory():
    assert command_line.local_path('~/runs/a') == str(Path.home() / 'runs' / 'a')
    assert command_line.local_path('runs/~a:b') == 'runs/~a:b'


def test_flags_of_paths_are_checked_where_they_are_parsed():
    assert command_line._PathsParser().parse('a,~/b') == ['a', str(Path.home() / 'b')]
    with pytest.raises(ValueError, match='s3://b is a URL'):
        command_line._PathsParser().parse('a,s3://b')


def test_characters_that_a_terminal_lacks_are_replaced(monkeypatch):
    written = io.BytesIO()
    for name in ('stdout', 'stderr'):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(written, encoding='ascii'))
    monkeypatch.setattr(app, 'run', lambda main, flags_parser: print('✓ right', flush=True))
    command_line.start(lambda argv: None)
    assert written.getvalue() == b'? right\n'
