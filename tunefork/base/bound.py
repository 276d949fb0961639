"""Become a program that does not outlive its parent: python -I -S bound.py PARENT PROGRAM [ARGUMENT]...

Asks Linux (prctl PR_SET_PDEATHSIG = 1) for a SIGKILL when the parent dies, and ends at once where it is dead already.
"""

import ctypes
import os
import signal
import sys

if __name__ == "__main__":
    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))
    if os.getppid() == int(sys.argv[1]):
        os.execvp(sys.argv[2], sys.argv[2:])
