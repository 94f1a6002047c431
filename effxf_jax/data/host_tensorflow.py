"""TensorFlow on the CPU, for the input pipeline and TensorBoard; accelerators are left to JAX.

The import takes seconds, so programs that only parse a command line, plan a sweep or draw a figure avoid it.
"""

import functools
from types import ModuleType


@functools.cache
def load() -> ModuleType:
    """Imports TensorFlow, hides accelerators from it and returns the module."""
    import tensorflow as tf

    for kind in ('GPU', 'TPU'):
        tf.config.set_visible_devices([], kind)
    return tf
