"""Forks programs from one process that has imported the libraries, which takes longer than most programs.

A fork becomes what `python -m MODULE` starts, and ends as that does: by the interpreter's own exit, with its
hooks and its status. `programs` talks to it, over the socket of the file descriptor in the only argument.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys

LIBRARIES = (
    'jax',
    'effxf_jax.runs.run',
    'effxf_jax.theory.bottleneck',
    'experiments.command_line',
    'experiments.compilations',
    'experiments.configs',
    'experiments.console',
)
OF_TRAINING = 'tensorflow', 'clu.metric_writers'
POLL_SECONDS = 0.02


def serve(control):
    """Forks for each request; returns it in the fork, and None where there are no more."""
    while True:
        _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not descriptors:  # the tests have ended
            return None
        with socket.socket(fileno=descriptors[0]) as client:
            request = json.loads(client.makefile().readline())
            for name in LIBRARIES + OF_TRAINING * request['trains']:
                importlib.import_module(name)
            gc.freeze()  # what a fork's collector leaves alone stays shared
            if os.fork() == 0:
                control.close()
                if attend(client):
                    return request


def attend(client):
    """Forks the program, which returns True; reports its id, waits for it, reports its status, and exits.

    A program whose test has ended, and with it the connection, is killed.
    """
    program = os.fork()
    if program == 0:
        return True
    client.sendall(f'{program}\n'.encode())
    ended, status = 0, 0
    while not ended:
        if select.select([client], [], [], POLL_SECONDS)[0]:
            os.kill(program, signal.SIGKILL)
        ended, status = os.waitpid(program, os.WNOHANG)
    with contextlib.suppress(BrokenPipeError):  # the test has ended
        client.sendall(f'{os.waitstatus_to_exitcode(status)}\n'.encode())
    os._exit(0)


def become(request):
    """This process as Python starts it for a program: its environment, argument list, output and errors."""
    os.environ.clear()
    os.environ.update(request['environment'])
    for descriptor, path in (1, request['out']), (2, request['err']):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    sys.argv[:], sys.path[0] = request['argv'], ''
    # JAX has read its variables.
    sys.modules['jax'].config.update(
        'jax_disable_most_optimizations', 'JAX_DISABLE_MOST_OPTIMIZATIONS' in os.environ
    )


if __name__ == '__main__':
    sys.path[0] = ''
    if request := serve(socket.socket(fileno=int(sys.argv[1]))):
        become(request)
        if request['program'] is None:
            runpy.run_module(request['module'], run_name='__main__', alter_sys=True)
        else:
            exec(compile(request['program'], '<program>', 'exec'), {'__name__': '__main__'})
