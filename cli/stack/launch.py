"""Becomes another program, one that the kernel ends when its parent ends. Run as a script by ``process.py``.

``launch.py PARENT SIGNAL UID:GID|- PROGRAM [ARGUMENT ...]`` drops to that user, asks for SIGNAL at the death of the
parent and executes the program. Standard library only, since the interpreter runs without site packages: it must
start in milliseconds. A script of its own, because code between fork and exec is not safe beside threads, and because
a change of user clears the parent-death signal, so that the order matters.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Drop privileges, tie this process to its parent, and execute the program."""
    parent, death_signal, user, *command = sys.argv[1:]
    if user != "-":
        uid, gid = (int(number) for number in user.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux" and ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
        sys.exit("prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != int(parent):  # it died before the request
        sys.exit("the parent is gone")
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main()
