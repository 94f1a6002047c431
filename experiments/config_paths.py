"""Finds the file for a config path.

`experiments/arith.py` is valid in every directory: if the caller's directory has no such file, it is the file
of the installed package `experiments`. A config file can be named by any name of its task:
`experiments/edit_distance.py` is `experiments/ed.py`.
"""

import difflib
from pathlib import Path, PurePath

from effxf_jax import tasks

PACKAGE = Path(__file__).parent


def resolve(reference: str) -> str:
    """Replaces the path of a reference `PATH` or `PATH:ARGUMENT` by the path of an existing file.

    Raises:
        FileNotFoundError: there is no such config file; the message suggests the nearest one.
    """
    path, colon, argument = reference.partition(':')
    return f'{_find(path)}{colon}{argument}'


def known() -> list[str]:
    """The paths of the package's config files."""
    files = (*PACKAGE.glob('*.py'), *PACKAGE.glob('sweeps/*.py'))
    found = [file for file in sorted(files) if '\ndef get_config(' in file.read_text(encoding='utf-8')]
    return [file.relative_to(PACKAGE.parent).as_posix() for file in found]


def _find(path: str) -> str:
    places = [Path(path)]
    if places[0].parts[:1] == (PACKAGE.name,):
        places.append(PACKAGE.parent / path)
    for place in places:
        for file in (place, *(place.with_stem(name) for name in tasks.names_like(place.stem))):
            if file.is_file():
                return str(file)
    raise FileNotFoundError(f'no config file {path!r}; {_suggestion(path)}')


def _suggestion(path: str) -> str:
    # Only names of files are compared: all paths share a part, which would make any two of them similar.
    paths = {PurePath(config).stem: config for config in known()}
    for alias, name in tasks.aliases().items():
        if alias in paths:
            paths.setdefault(name, f'{PACKAGE.name}/{name}.py')
    near = difflib.get_close_matches(PurePath(path).stem, paths, n=1)
    return f'did you mean {paths[near[0]]}?' if near else 'there is, for example, experiments/arith.py'
