"""README's example runs as it stands, with fewer steps."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / 'README.md'


@pytest.mark.slow
def test_the_example_trains_and_decodes(capsys):
    (block,) = re.findall(r'```python\n(.*?)```', README.read_text(), flags=re.DOTALL)
    assert len(block.strip().splitlines()) < 15
    short = block.replace('steps=1000', 'steps=10').replace('warmup_steps=100', 'warmup_steps=5')
    assert short != block
    namespace = {}
    exec(compile(short, str(README), 'exec'), namespace)
    assert namespace['written'].shape == (256, namespace['task'].max_length)
    assert '<sep>' in capsys.readouterr().out
