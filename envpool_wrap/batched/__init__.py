"""What `envpool_wrap.integrations.batched` is made of."""
