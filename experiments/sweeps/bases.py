"""What runs of the laptop sweeps share, by task, so that one sweep can be laid beside another."""

_RUN = 'num_eval_examples=2048,eval_every=2000,checkpoint_every=1000,checkpoints_kept=1'

LIS = f'experiments/lis.py:laptop,number_range=80,steps=8000,{_RUN}'
