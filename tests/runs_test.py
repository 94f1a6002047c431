"""A run that diverges keeps its last good checkpoint."""

import jax.numpy as jnp
import numpy as np
import pytest

from effxf_jax import evaluation, runs, training
from effxf_jax.checkpoints import Checkpoints
from effxf_jax.model import Transformer
from experiments import arith, configs


class Silent:
    """A listener to which nothing matters."""

    def started(self, *_): ...

    def stepped(self, *_): ...

    def evaluated(self, *_): ...

    def finished(self, *_): ...


@pytest.mark.slow
def test_divergence_names_its_step_and_the_last_good_checkpoint_stays(tmp_path, monkeypatch):
    # The update of step 13 is enormous: its own loss is still fine, the next one's is not a number.
    explodes = lambda config: lambda count: jnp.where(count < 12, 1e-3, 1e30)
    monkeypatch.setattr(training, 'learning_rate_schedule', explodes)
    experiment = configs.make_experiment(arith.get_config('smoke,checkpoint_every=1'))
    with pytest.raises(training.DivergedError, match='at step 14'):
        runs.run(experiment, tmp_path, Silent())

    model = Transformer(experiment.model)
    like = training.init_state(model, training.make_optimizer(experiment.train), 0)
    with Checkpoints(tmp_path / 'checkpoints') as checkpoints:
        kept = checkpoints.restore_latest(like)
    assert kept.state.step == 12
    assert np.isfinite(
        evaluation.mean_loss(model, kept.state.params, experiment.open_data().test.read(np.arange(16)))
    )
