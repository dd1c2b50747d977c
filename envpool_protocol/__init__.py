"""Describe an environment in Python and generate a C++ pool for it."""

from envpool_protocol.envpool_protocol import EnvPoolProtocol
from envpool_protocol.manager import CppWrapperGenerator, EnvManager

__all__ = ["CppWrapperGenerator", "EnvManager", "EnvPoolProtocol", "__version__"]

__version__ = "0.1.0"
