"""Config files as modules: a file is executed once in a process, and can import the modules beside it.

A second execution would define the classes that a file adds to the library a second time, and a task made
before would no longer be of the class that the library knows.
"""

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from experiments.config_paths import PACKAGE

_LOADED: dict[Path, tuple[int, ModuleType]] = {}
"""The modules of the files executed so far, with the times at which the files were modified."""


@contextlib.contextmanager
def beside(path: Path) -> Iterator[None]:
    """Lets imports find the modules in a file's directory while entered, also with `python -P`."""
    directory = str(path.resolve().parent)
    sys.path.insert(0, directory)
    try:
        yield
    finally:
        sys.path.remove(directory)


def load(path: Path) -> ModuleType:
    """The module of a Python file: the one that `import` gives, where the file can be imported.

    The file is executed if it was modified since, or never executed or imported.

    Args:
        path: a file whose name ends in `.py`.

    Raises:
        Exception: whatever the file raises.
    """
    path = path.resolve()
    modified = path.stat().st_mtime_ns
    if path in _LOADED and _LOADED[path][0] == modified:
        return _LOADED[path][1]
    name = path.stem
    if path.is_relative_to(PACKAGE):
        name = '.'.join(path.relative_to(PACKAGE.parent).with_suffix('').parts)
    module = sys.modules.get(name)
    is_own = module is not None and Path(getattr(module, '__file__', None) or '').resolve() == path
    if not is_own or path in _LOADED:
        if module is not None and not is_own:  # another module has the name
            name = f'{name} in {path.parent}'
        module = _execute(name, path)
    _LOADED[path] = modified, module
    return module


def _execute(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
