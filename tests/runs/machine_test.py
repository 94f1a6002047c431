"""A processor has the name that Linux gives it, or else the one that Python gives it."""

import platform

from effxf_jax.runs import machine


def test_a_processor_has_its_name_family_and_model(monkeypatch, tmp_path):
    path = tmp_path / 'cpuinfo'
    path.write_text('cpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC: Genoa\n\n' * 2)
    monkeypatch.setattr(machine, '_CPUINFO', path)
    assert machine.processor() == 'AMD EPYC: Genoa (family 25, model 17)'
    path.write_text('Features\t: fp asimd\n')  # as on Arm
    assert machine.processor() == (platform.processor() or platform.machine())
    path.unlink()  # as where the system is not Linux
    assert machine.processor() == (platform.processor() or platform.machine())
