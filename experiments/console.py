"""Output of a run in a terminal, or in a log if there is no terminal."""

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from effxf_jax.evaluation import Evaluation
from effxf_jax.training import Metrics

# A log has no progress bar, but a line this often.
_LOG_SECONDS = 10.0
_SAMPLES_SHOWN = 3

_RESULT_ROWS = {
    'answer_accuracy': ('answer accuracy', '{:.4f}'),
    'chain_accuracy': ('chain accuracy', '{:.4f}'),
    'teacher_forced_accuracy': ('teacher-forced accuracy', '{:.4f}'),
    'teacher_forced_loss': ('teacher-forced loss, nats a token', '{:.4f}'),
    'num_eval_examples': ('test problems', '{:,}'),
    'distinct_test_prompts': ('different test problems', '{:,}'),
    'num_params': ('parameters', '{:,}'),
    'train_steps': ('training steps', '{:,}'),
    'train_tokens': ('training tokens', '{:,}'),
    'tokens_per_second': ('training tokens a second', '{:,.0f}'),
    'wall_seconds': ('wall time, s', '{:,.0f}'),
}


def table_console() -> Console:
    """A console for tables with many columns, which are not squeezed in files and pipes."""
    return Console(highlight=False, width=None if Console().is_terminal else 150)


class TerminalListener:
    """A `listener.Listener` that shows a progress bar, evaluations, and at the end a table and samples."""

    def __init__(self, steps: int, num_replicates: int = 1):
        self._steps = steps
        self._several = num_replicates > 1
        self._console = Console(highlight=False)
        self._progress = Progress(
            TextColumn('training'),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn('loss {task.fields[loss]:.4f}'),
            TextColumn('{task.fields[tokens_per_second]:,.0f} tokens/s'),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._bar = None
        self._tokens = 0
        self._since = self._logged = time.monotonic()

    def close(self) -> None:
        """Stops the progress bar and restores the terminal."""
        self._progress.stop()

    def started(self, num_params: int, step: int) -> None:
        where = f'resuming after step {step:,}' if step else 'starting'
        self._console.print(f'{num_params:,} parameters; {where}; compiling ...')
        self._start = step
        self._bar = self._progress.add_task(
            '', total=self._steps, completed=step, loss=float('nan'), tokens_per_second=0.0
        )
        self._progress.start()

    def stepped(self, step: int, metrics: Mapping[int, Metrics]) -> None:
        if step == self._start + 1:  # the first step includes compilation
            self._tokens, self._since = 0, time.monotonic()
            return
        now = time.monotonic()
        self._tokens += sum(int(m.tokens) for m in metrics.values())
        loss = statistics.fmean(float(m.loss) for m in metrics.values())
        speed = self._tokens / max(now - self._since, 1e-9)
        self._progress.update(self._bar, completed=step, loss=loss, tokens_per_second=speed)
        if not self._console.is_terminal and (now - self._logged > _LOG_SECONDS or step == self._steps):
            self._logged = now
            self._console.print(f'step {step:,}/{self._steps:,}  loss {loss:.4f}  {speed:,.0f} tokens/s')

    def evaluated(self, step: int, measured: Mapping[int, Evaluation]) -> None:
        for seed, m in measured.items():
            which = f', seed {seed}' if self._several else ''
            self._console.print(
                f'step {step:,}{which}: answers {m.answer_accuracy:.3f}, chains {m.chain_accuracy:.3f}, '
                f'teacher-forced {m.teacher_forced_accuracy:.3f}, loss {m.teacher_forced_loss:.4f}'
            )

    def diverged(self, seed: int, reason: str) -> None:
        self._console.print(f'seed {seed} diverged and stops; the others continue: {reason}')

    def finished(self, results: Sequence[Mapping[str, Any]], samples: str) -> None:
        self.close()
        if self._several:
            self._console.print(_table_of_seeds(results))
        else:
            table = Table(show_header=False)
            for name, (label, layout) in _RESULT_ROWS.items():
                if name in results[0]:  # an earlier version wrote fewer
                    table.add_row(label, layout.format(results[0][name]))
            self._console.print(table)
        for sample in samples.split('\n\n')[:_SAMPLES_SHOWN]:
            self._console.print(sample.rstrip() + '\n', markup=False)


def _table_of_seeds(results: Sequence[Mapping[str, Any]]) -> Table:
    """A row per seed with the values that differ between seeds; the caption has those that they share."""
    own = ('answer_accuracy', 'chain_accuracy', 'teacher_forced_accuracy', 'teacher_forced_loss')
    labels = [_RESULT_ROWS[name][0].partition(',')[0] for name in own]
    shared = ('num_eval_examples', 'num_params', 'train_steps', 'wall_seconds')
    written = {name: _RESULT_ROWS[name][1].format(results[-1][name]) for name in shared}
    caption = '; '.join(f'{_RESULT_ROWS[name][0]} {text}' for name, text in written.items())
    table = Table('seed', *labels, caption=caption)
    for result in results:
        table.add_row(str(result['seed']), *(_RESULT_ROWS[name][1].format(result[name]) for name in own))
    return table
