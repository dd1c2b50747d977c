"""What to use for an env: measured beside a plain loop, then reasoned about. `tune` is in tune.py."""
