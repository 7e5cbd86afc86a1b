"""Symbols of a Tally machine for gdb: monitor, kernel, normal world; ldelf and TAs wherever they are laid out.

`cargo xtask run --gdb` writes a file of commands that reads this one, and names the ELF files by `image` and
`program`. Of TAs it is the kernel that knows where they lie: it calls `tally_laid_out` with UUID and base of each.
"""

import time
import uuid

import gdb

# ELF files by UUID; nil is ldelf.
programs = {}
# Bases of each that was laid out, the last one last.
bases = {}


def image(path):
    """Takes an ELF file that runs where it was linked."""
    gdb.execute(f"add-symbol-file {path}", to_string=True)


def program(number, name, path):
    """Takes an ELF file that lies anywhere."""
    programs[uuid.UUID(number)] = (name, path)


def laid_out():
    """Adds the symbols of what was just laid out."""
    high, low, base = (int(gdb.parse_and_eval(f"$x{n}")) & (2**64 - 1) for n in range(3))
    number = uuid.UUID(int=high << 64 | low)
    name, path = programs.get(number, (str(number), None))
    if base in bases.setdefault(number, []):
        return
    bases[number].append(base)
    if path is None:
        print(f"{name} at {base:#x}: no ELF file of it")
    else:
        gdb.execute(f"add-symbol-file {path} -o {base:#x}", to_string=True)
        print(f"{name} at {base:#x}")


class LaidOut(gdb.Command):
    """Programs at EL0 and where they were laid out: each TA's last instances, and the loader."""

    def __init__(self):
        super().__init__("tally", gdb.COMMAND_STATUS)

    def invoke(self, _argument, _from_tty):
        for number, places in bases.items():
            name, _ = programs.get(number, (str(number), None))
            print(name, *(f"{base:#x}" for base in places))


def connect(socket):
    """Connects to a machine, which may be on its way."""
    for _ in range(300):
        try:
            return gdb.execute(f"target remote {socket}")
        except gdb.error as error:
            why = error
        time.sleep(0.1)
    raise why


def watch():
    """Follows what the kernel lays out, once its own symbols are there."""
    hook = gdb.Breakpoint("*tally_laid_out", internal=True)
    hook.silent = True
    hook.commands = "python laid_out()\ncontinue"


LaidOut()
