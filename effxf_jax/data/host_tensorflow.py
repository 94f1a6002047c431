"""TensorFlow, which feeds data and writes TensorBoard's events from the CPU; every accelerator is JAX's.

Its import takes seconds, so that what reads a command line, plans a sweep or draws a figure does without.
"""

import functools
from types import ModuleType


@functools.cache
def load() -> ModuleType:
    """The module `tensorflow`, kept off accelerators."""
    import tensorflow as tf

    for kind in ('GPU', 'TPU'):
        tf.config.set_visible_devices([], kind)
    return tf
