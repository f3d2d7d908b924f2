"""A run through Ray Data: its settings, its shards, and the steps that each shard goes through.

`request`, `steps` and `operators` may be imported from here; nothing in here knows commands.
"""
