"""Updates of our train step, in calls as a run makes them."""

from collections.abc import Iterator, Sequence
from typing import Any

from effxf_jax import training
from effxf_jax.model import ModelConfig, Transformer
from effxf_jax.tasks import Examples
from effxf_jax.theory import complexity
from effxf_jax.training.layout import Layout


class Updates:
    """The training of one or several replicates.

    Args:
        config, train: the configurations of the model and of training.
        seeds: the seed of each replicate.
    """

    def __init__(self, config: ModelConfig, train: training.TrainConfig, seeds: Sequence[int] = (0,)):
        model, optimizer = Transformer(config), training.make_optimizer(train, config)
        self._layout = Layout(len(seeds))
        self._train_step = training.make_train_step(model, optimizer, seeds)
        self._in_call = training.updates_in_call(train, config, complexity.num_params(config))
        self._state = self._layout.to_devices([training.init_state(model, optimizer, s) for s in seeds])

    def make(self, batches: Iterator[Examples], start: int, stop: int) -> None:
        """Makes the updates start + 1 ... stop and waits for their losses, as a run does: one call late."""
        late = None
        for call in training.run_steps(
            self._train_step, self._layout, self._state, batches, start, stop, self._in_call
        ):
            self._state = call.state  # the former one is donated
            if late:
                late.fetch()
            late = call
        late.fetch()

    def params(self) -> Any:
        """The parameters of the first replicate, on the host."""
        return self._layout.to_host(self._state.params)[0]
