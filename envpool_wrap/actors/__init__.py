"""A pool's envs in Ray actors: what `envpool_wrap.integrations.ray` is made of. Imports no Ray by itself."""
