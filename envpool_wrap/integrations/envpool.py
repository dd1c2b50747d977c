"""With the real `envpool` installed: our pools count as EnvPool's, as torchrl's wrapper asks of a pool."""

from __future__ import annotations

from envpool.python.envpool import EnvPoolMixin

from envpool_wrap.pool import Pool

EnvPoolMixin.register(Pool)
