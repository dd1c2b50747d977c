"""The API styles over a pool, one file each."""
