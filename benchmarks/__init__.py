"""How fast pools step envs, beside a plain loop, the machine's limits and other libraries.

Run as `python -m benchmarks`; `--help` lists what can be chosen. Reading order: envs, loop, contenders, cell.
"""
