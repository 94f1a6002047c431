"""Settings that the sweeps share, by task, so that their results can be compared."""

PAPERS = ('standard', 'linear', 'sparse')
"""The paper's mechanisms."""

GRADED = 'num_eval_examples=2048,checkpoints_kept=1'
# Graded often, since the step at which training passes an accuracy is read off these gradings.
GRADED_OFTEN = f'{GRADED},eval_every=250,num_progress_examples=512'
_RUN = f'{GRADED},eval_every=2000,checkpoint_every=1000'

# The training of the sweeps whose results are of AdamW.
_ADAMW = f'optimizer=adamw,batch_size=32,learning_rate=0.004,warmup_steps=500,{_RUN}'

LIS = f'experiments/lis.py:laptop,number_range=80,steps=8000,{_ADAMW}'
ARITHMETIC = f'experiments/arith.py:laptop,num_layers=6,steps=7500,{_ADAMW}'
EDIT_DISTANCE = f'experiments/ed.py:laptop,steps=8000,{_ADAMW}'
EDIT_DISTANCE_LOCAL = f'experiments/ed_local.py:laptop,steps=2000,{_ADAMW}'

# The training of the sweeps with Muon, at one rate for all mechanisms and widths.
LIS_MUON = f'experiments/lis.py:laptop,number_range=100,steps=4000,{GRADED}'
ARITHMETIC_MUON = f'experiments/arith.py:laptop,num_layers=3,steps=4000,{GRADED}'
EDIT_DISTANCE_MUON = f'experiments/ed.py:laptop,steps=4000,{GRADED}'

# The first row of Figure 1: configuration and size by task. Its blocks have the largest power of two below
# the square root of its lengths.
FIRST_ROW = {
    'edit_distance': (EDIT_DISTANCE_MUON, 6),
    'arithmetic': (ARITHMETIC_MUON, 6),
    'lis': (f'{LIS_MUON},number_range=250,steps=8000', 40),
}
FIXED, STRIDED = (f'mechanism=sparse,pattern={pattern},block_size=8' for pattern in ('fixed', 'strided'))

WORD_PROBLEMS = (
    f'experiments/word_problems.py:laptop,told=between,distractors=0,steps=1500,batch_size=32,eval_every=1500,'
    f'{GRADED}'
)

# For the presets named gpu.
EDIT_DISTANCE_GPU = (
    'experiments/ed.py:laptop,steps=12000,optimizer=adamw,learning_rate=0.004,batch_size=64,warmup_steps=1000,'
    f'{GRADED},eval_every=4000,checkpoint_every=4000'
)

# The learning rates that learning_rates.py found, by task. The evidence for those of edit distance is weak,
# since hardly any of its runs learned the task.
RATES = {
    'lis': {'standard': 0.008, 'linear': 0.008, 'sparse': 0.016},
    'arithmetic': {'standard': 0.008, 'linear': 0.008, 'sparse': 0.004},
    'edit_distance': dict.fromkeys(PAPERS, 0.008),
    'edit_distance_local': dict.fromkeys(('standard', 'linear', 'sparse', 'sliding_window'), 0.016),
}

# On a GPU the learning rate of edit distance is this over the width: 0.002 at 64, where it was searched.
EDIT_DISTANCE_GPU_RATE = 0.128


def mechanism(task: str, name: str, options: str = '') -> str:
    """An axis value: a mechanism with options and its learning rate on a task.

    A mixture has the rate of its first mechanism.
    """
    rate = RATES[task][name.partition('+')[0]]
    return ','.join([f'mechanism={name}', *([options] if options else []), f'learning_rate={rate}'])


def mechanisms(task: str, *names: str) -> tuple[str, ...]:
    """An axis of mechanisms, each with its learning rate; by default the paper's three."""
    return tuple(mechanism(task, name) for name in names or PAPERS)
