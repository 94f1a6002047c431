"""Each of the library's rooms imports only from the rooms that it may know."""

import ast
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[1] / 'effxf_jax'
KNOWN = {
    'registry': set(),
    'dependencies': set(),
    'gsm8k': {'dependencies'},
    'attention': {'registry'},  # a mechanism knows no task
    'tasks': {'dependencies', 'gsm8k', 'registry'},  # a task knows no model
    'model': {'attention', 'registry'},
    'data': {'gsm8k', 'tasks', 'registry'},
    'decoding': {'model', 'tasks'},
    'training': {'data', 'model', 'registry', 'tasks'},
    'evaluation': {'decoding', 'model', 'tasks', 'training'},
    'theory': {'attention', 'decoding', 'model', 'tasks'},
    'constructions': {'model', 'tasks'},
    'runs': {
        'attention',
        'constructions',
        'data',
        'evaluation',
        'model',
        'registry',
        'tasks',
        'theory',
        'training',
    },
}
"""The rooms from which each room may import, besides itself."""


def room(parts):
    """The first part of a dotted name below effxf_jax, 'attention' of `effxf_jax.attention.linear`."""
    return parts[1] if len(parts) > 1 else None


def imported_rooms(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = (
                [node.module] if node.module != 'effxf_jax' else [f'effxf_jax.{a.name}' for a in node.names]
            )
        else:
            continue
        for name in names:
            if name.split('.')[0] in ('effxf_jax', 'experiments'):
                yield name.split('.')


def test_the_table_has_every_room_and_no_cycle():
    found = {
        path.stem for path in LIBRARY.iterdir() if path.suffix == '.py' or (path / '__init__.py').exists()
    }
    assert found - {'__init__'} == set(KNOWN)
    for number, name in enumerate(KNOWN):
        assert KNOWN[name] <= set(list(KNOWN)[:number]), f'{name} must stand below the rooms that it knows'


@pytest.mark.parametrize('name', KNOWN)
def test_a_room_imports_only_from_itself_and_the_rooms_that_it_may_know(name):
    single = LIBRARY / f'{name}.py'
    files = [single] if single.exists() else sorted((LIBRARY / name).rglob('*.py'))
    for path in files:
        for parts in imported_rooms(path):
            assert parts[0] == 'effxf_jax', (
                f'{path.name} imports {".".join(parts)}: the library knows no experiment'
            )
            assert room(parts) in {None, name, *KNOWN[name]}, f'{path.name} imports {".".join(parts)}'


@pytest.mark.parametrize(
    'path', sorted((LIBRARY / 'attention' / 'kernels').glob('*.py')), ids=lambda p: p.stem
)
def test_a_kernel_knows_no_mechanism(path):
    inside = [parts for parts in imported_rooms(path) if parts[:2] == ['effxf_jax', 'attention']]
    assert all(parts[2] == 'kernels' for parts in inside)
