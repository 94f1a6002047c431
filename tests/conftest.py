"""Four XLA devices on the CPU, for tests of several devices, and one cache of compilations."""

import getpass
import os
import tempfile

os.environ.pop('PYTHONWARNDEFAULTENCODING', None)  # for the tests' processes, not for programs they start
os.environ['JAX_PLATFORMS'] = os.environ.get('TEST_PLATFORMS', 'cpu')  # others for accelerator_test.py alone
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
# Ray would end workers for the memory that other processes take.
os.environ['RAY_memory_monitor_refresh_ms'] = '0'  # noqa: SIM112
os.environ['JAX_COMPILATION_CACHE_DIR'] = f'{tempfile.gettempdir()}/effxf_jax-tests-{getpass.getuser()}'
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
if os.environ['JAX_PLATFORMS'] == 'cpu':
    # Tests compile far more than they run; a whole program is tested as a user compiles it, in main_test.py.
    os.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count=4 --xla_cpu_use_fusion_emitters=false'
    os.environ['JAX_DISABLE_MOST_OPTIMIZATIONS'] = '1'

import jax
import pytest


@pytest.fixture(autouse=True, scope='module')
def _without_programs_of_other_modules():
    """Frees the programs that a module has compiled; a process would gather several gigabytes of them."""
    yield
    jax.clear_caches()
