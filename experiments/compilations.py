"""Compiled programs kept from run to run, so that the second run of a configuration starts at once."""

import hashlib
import os
import platform
from pathlib import Path

import jax


def keep() -> None:
    """Makes JAX keep what it compiles, unless its own settings say where already.

    The directory is `effxf_jax/compilations-DIGEST` in the user's cache directory, the digest being of the
    processor's features: homes are shared between machines, and a program compiled for one may not run on
    another. It may be deleted at any time.
    """
    if jax.config.jax_compilation_cache_dir is not None:
        return
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    directory = cache / 'effxf_jax' / f'compilations-{_processor_digest()}'
    jax.config.update('jax_compilation_cache_dir', str(directory))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.1)


def _processor_digest() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    # What x86 and Arm call them; all cores say the same.
    features = {line for line in lines if line.startswith(('model name', 'flags', 'Features'))}
    return hashlib.sha256('\n'.join([platform.machine(), *sorted(features)]).encode()).hexdigest()[:10]
