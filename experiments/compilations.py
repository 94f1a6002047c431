"""A cache of compiled programs on disk, so that the second run of a configuration starts at once."""

import hashlib
import os
import platform
from pathlib import Path

import jax


def keep() -> None:
    """Makes JAX keep what it compiles, unless JAX's own settings name a directory already.

    The directory is `effxf_jax/compilations-DIGEST` in the user's cache directory. The digest depends on the
    processor's features, since machines may share a home directory, and a program compiled for one processor
    may not run on another. The directory may be deleted at any time.
    """
    if jax.config.jax_compilation_cache_dir is not None:
        return
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    directory = cache / 'effxf_jax' / f'compilations-{_processor_digest()}'
    jax.config.update('jax_compilation_cache_dir', str(directory))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.1)


def _processor_digest() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:  # not Linux
        lines = []
    # These are the names on x86 and Arm; all cores list the same features.
    features = {line for line in lines if line.startswith(('model name', 'flags', 'Features'))}
    return hashlib.sha256('\n'.join([platform.machine(), *sorted(features)]).encode()).hexdigest()[:10]
