"""Every task's examples as a TensorFlow dataset: `tfds.load('dp_chains/edit_distance_n12')`.

Examples and order are the same as in `blocks`, so a prepared dataset holds exactly the examples that training
would otherwise generate. The file format is array_record, for random access.
"""

import collections
import contextlib
import ctypes
import dataclasses
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from effxf_jax import tasks
from effxf_jax.data.blocks import BLOCK_SIZE, generate_block, token_dtype
from effxf_jax.tasks import Examples, Task

_DESCRIPTION = """
Dynamic-programming problems written out as chains of thought, one problem per row. The tasks are those of
Feng et al. (2023, arXiv 2305.15408) and Yang et al. (2024, arXiv 2402.13934); this is {task}, seed {seed}.
Examples are in index order. A hash of the prompt decides the split, so the splits are disjoint.
"""
_CITATION = """
@inproceedings{yang2024efficient,
  title={Do Efficient Transformers Really Save Computation?},
  author={Yang, Kai and Ackermann, Jan and He, Zhenyu and Feng, Guhao and Zhang, Bohang and Feng, Yunzhen
          and Ye, Qiwei and He, Di and Wang, Liwei},
  booktitle={International Conference on Machine Learning},
  year={2024}
}
"""


@dataclasses.dataclass(eq=False)
class DpChainsConfig(tfds.core.BuilderConfig):
    """One task at one size; `of` creates it with its name.

    Attributes:
        task: the task whose problems are written out.
        seed: seed of the problems.
    """

    task: Task | None = None
    seed: int = 0

    @classmethod
    def of(cls, task: Task, seed: int = 0) -> 'DpChainsConfig':
        """The config of a task, named after the task, its required and its non-default options and the seed.

        An example is `lis_n40_seed1`.
        """
        values = tasks.given_options(task) | ({'seed': seed} if seed else {})
        words = [
            f'{name}_{value}' if isinstance(value, str) else f'{name}{value}'
            for name, value in values.items()
        ]
        return cls(name='_'.join([tasks.name_of(task), *words]), task=task, seed=seed)

    @classmethod
    def named(cls, name: str) -> 'DpChainsConfig | None':
        """The config of a name that `of` makes; None if it makes no such name."""
        for task in sorted(tasks.TASKS, key=len, reverse=True):
            if not name.startswith(f'{task}_'):
                continue
            known = '|'.join([*sorted(tasks.options(task), key=len, reverse=True), 'seed'])
            words = re.split(rf'_(?=(?:{known})(?:\d|_))', name.removeprefix(task))[1:]
            values = {}
            for word in words:
                option, text = re.fullmatch(rf'({known})_?(.*)', word).groups()
                values[option] = int(text) if text.isdecimal() else text
            seed = values.pop('seed', 0)
            with contextlib.suppress(TypeError, ValueError):
                made = cls.of(tasks.make(task, **values), seed)
                return made if made.name == name else None
        return None


class _Configs(dict):
    """Declared configs. TFDS asks it whether a name is of this code, which holds for any task's name."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (
            isinstance(name, str) and DpChainsConfig.named(name) is not None
        )


class DpChains(tfds.core.GeneratorBasedBuilder):
    """The TFDS builder of `dp_chains`."""

    VERSION = tfds.core.Version('1.0.0')
    RELEASE_NOTES: ClassVar = {'1.0.0': 'The tasks of effxf_jax.tasks.'}
    BUILDER_CONFIGS: ClassVar = [
        DpChainsConfig.of(kind(**options))
        for kind in tasks.TASKS.values()
        for options in kind.published_sizes
    ]

    def __init__(
        self,
        *,
        num_train_examples: int = 1_000_000,
        num_test_examples: int = 100_000,
        file_format: str = 'array_record',
        config: DpChainsConfig | str | None = None,
        **kwargs,
    ):
        """Creates the builder.

        Args:
            config: a config, or a name that `DpChainsConfig.of` makes.
            num_train_examples, num_test_examples: examples to write if nothing is prepared yet [feng].
            file_format: TFDS file format.
            **kwargs: arguments of `tfds.core.GeneratorBasedBuilder`.
        """
        self._counts = {'train': num_train_examples, 'test': num_test_examples}
        if isinstance(config, str):  # an unknown name is TFDS's to refuse
            config = self.builder_configs.get(config) or DpChainsConfig.named(config) or config
        super().__init__(file_format=file_format, config=config, **kwargs)

    @tfds.core.utils.classproperty
    @classmethod
    def builder_configs(cls) -> Mapping[str, DpChainsConfig]:
        """The declared configs by name; every name that `DpChainsConfig.of` makes is in it."""
        return _Configs({config.name: config for config in cls.BUILDER_CONFIGS})

    @classmethod
    def of(cls, task: Task, seed: int = 0, **kwargs) -> 'DpChains':
        """The builder of any task, including tasks that are not in BUILDER_CONFIGS."""
        config = DpChainsConfig.of(task, seed)
        return cls(config=cls.builder_configs.get(config.name, config), **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        shape = (config.task.max_length,)
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION.format(task=config.task, seed=config.seed),
            citation=_CITATION,
            features=tfds.features.FeaturesDict(
                {
                    'tokens': tfds.features.Tensor(
                        shape=shape,
                        dtype=token_dtype(config.task),
                        encoding='bytes',
                        doc='The row: prompt, chain, answer, <eos> (1), then padding (0).',
                    ),
                    'given': tfds.features.Tensor(
                        shape=shape,
                        dtype=np.bool_,
                        encoding='bytes',
                        doc='Which tokens a model receives; it must produce the others up to <eos>.',
                    ),
                }
            ),
            metadata=tfds.core.MetadataDict(vocabulary=list(config.task.vocabulary.tokens)),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split, count) for split, count in self._counts.items()}

    def read_block(self, records: Sequence[Mapping[str, np.ndarray]], number: int) -> Examples:
        """Reads block `number` of a split opened by `as_data_source`; the last block may be short."""
        start = number * BLOCK_SIZE
        block = records.__getitems__(range(start, min(start + BLOCK_SIZE, len(records))))
        return Examples(*(np.stack([record[name] for record in block]) for name in Examples._fields))

    def _as_dataset(self, split, decoders=None, read_config=None, shuffle_files=False):
        if self.info.file_format != tfds.core.FileFormat.ARRAY_RECORD or decoders is not None:
            return super()._as_dataset(split, decoders, read_config, shuffle_files)
        # TFDS itself builds no tf.data dataset from array_record files.
        import tensorflow as tf

        records = self.as_data_source(split)
        features = {name: self.info.features[name] for name in Examples._fields}

        def block(number):
            rows = tf.numpy_function(
                lambda number: self.read_block(records, number),
                [number],
                [feature.tf_dtype for feature in features.values()],
            )
            return {
                name: tf.ensure_shape(x, (None, *feature.shape))
                for (name, feature), x in zip(features.items(), rows, strict=True)
            }

        blocks = tf.data.Dataset.range(-(-len(records) // BLOCK_SIZE))
        return blocks.map(block).unbatch().apply(tf.data.experimental.assert_cardinality(len(records)))

    def _generate_examples(self, split: str, count: int):
        config = self.builder_config
        dtype = token_dtype(config.task)
        index = 0
        for tokens, given in _blocks(config.task, config.seed, split, -(-count // BLOCK_SIZE)):
            for row, row_given in zip(tokens.astype(dtype)[: count - index], given, strict=False):
                yield index, {'tokens': row, 'given': row_given}
                index += 1


def _blocks(task: Task, seed: int, split: str, count: int) -> Iterator[Examples]:
    """Generates the first `count` blocks, in order, in a pool of processes that runs a few blocks ahead."""
    workers = min(os.cpu_count() or 1, count)
    if workers < 2:
        yield from (generate_block(task, seed, split, number) for number in range(count))
        return
    # Spawned processes: a forked one would inherit locks that threads of JAX and TensorFlow hold.
    with ProcessPoolExecutor(workers, multiprocessing.get_context('spawn'), _end_with_parent) as pool:
        waiting = collections.deque()
        for number in range(count):
            waiting.append(pool.submit(generate_block, task, seed, split, number))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _end_with_parent() -> None:
    """Lets the system end this process when its parent is killed, which cannot end it itself."""
    if sys.platform == 'linux':
        set_signal_of_parents_death = 1  # PR_SET_PDEATHSIG of prctl(2)
        ctypes.CDLL(None).prctl(set_signal_of_parents_death, signal.SIGKILL)
        if os.getppid() != multiprocessing.parent_process().pid:  # it died before
            os._exit(1)
