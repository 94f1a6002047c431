"""The library's rooms stand in one order: each imports only from those before it."""

import ast
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[1] / 'effxf_jax'
ORDER = (
    'registry',
    'attention',
    'model',
    'tasks',
    'data',
    'training',
    'decoding',
    'evaluation',
    'theory',
    'runs',
)


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


def test_every_room_has_its_place_in_the_order():
    found = {
        path.stem for path in LIBRARY.iterdir() if path.suffix == '.py' or (path / '__init__.py').exists()
    }
    assert found - {'__init__'} == set(ORDER)


@pytest.mark.parametrize('name', ORDER)
def test_a_room_imports_only_from_itself_and_those_before_it(name):
    single = LIBRARY / f'{name}.py'
    files = [single] if single.exists() else sorted((LIBRARY / name).rglob('*.py'))
    allowed = ORDER[: ORDER.index(name) + 1]
    for path in files:
        for parts in imported_rooms(path):
            assert parts[0] == 'effxf_jax', (
                f'{path.name} imports {".".join(parts)}: no experiment is known here'
            )
            assert room(parts) is None or room(parts) in allowed, f'{path.name} imports {".".join(parts)}'


@pytest.mark.parametrize(
    'path', sorted((LIBRARY / 'attention' / 'kernels').glob('*.py')), ids=lambda p: p.stem
)
def test_a_kernel_knows_no_mechanism(path):
    inside = [parts for parts in imported_rooms(path) if parts[:2] == ['effxf_jax', 'attention']]
    assert all(parts[2] == 'kernels' for parts in inside)
