"""The machine of a run, on which its times depend."""

import platform
from pathlib import Path

_CPUINFO = Path('/proc/cpuinfo')


def processor() -> str:
    """The processor's name, never the host's: `AMD EPYC 9B14 (family 25, model 17)`.

    The family and the model, where Linux reports them, tell processors of a generic name apart.
    """
    try:
        lines = _CPUINFO.read_text(encoding='utf-8').splitlines()
    except OSError:  # not Linux
        lines = []
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(':') for line in lines)}
    name = fields.get('model name') or platform.processor() or platform.machine()
    if 'cpu family' in fields and 'model' in fields:
        return f'{name} (family {fields["cpu family"]}, model {fields["model"]})'
    return name
