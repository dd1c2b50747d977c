"""Compiled hooks: the class that runs interpreted anywhere, as machine code over records of its state.

    state.py         the declaration `state_envpool`, as fields and as a NumPy record; to and from an instance
    interpreted.py   what an interpreted instance does so that its numbers are those of the record
    proposal.py      a declaration proposed from an instance
    digest.py        a hash of all that hooks depend on
    faults.py        what machine code left behind when a hook raised, as an exception

These need no Numba. Those below do, and are imported only to compile:

    target.py        Numba's CPU target, as object code that needs no Python
    lowering.py      how functions become LLVM: lines and exceptions
    library.py       how LLVM becomes an object file
    arithmetic.py    numbers: Python's and NumPy's arithmetic where Numba has its own
    self_types.py    the types of `self` and of classes
    assignments.py   `self.x = y`
    dicts.py         dict displays
    rows.py          how what a hook returns gets into the leaves of a row
    kernel.py        the fused functions of cpp_core/kernel_abi.h
    refusals.py      why something does not compile, in two lines
"""
