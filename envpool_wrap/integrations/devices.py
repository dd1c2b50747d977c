"""Torch devices as users name them. Needs torch, which whoever imports this has imported."""

from __future__ import annotations

from typing import Any

import torch

from envpool_protocol.errors import ConfigError


def known_device(device: Any) -> Any:
    """The torch.device, with its number: now, and not at the first reset.

    Raises:
        ConfigError: there is none of that name here.
    """
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ConfigError(f"device={device!r}: {str(error).splitlines()[0]}") from error
