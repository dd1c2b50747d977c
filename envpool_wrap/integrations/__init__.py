"""Ways into other libraries, each imported only when asked for."""
