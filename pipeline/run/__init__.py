"""A run through Ray Data: its settings, its shards, and the steps that each shard goes through.

Start with `open_shards`, `wave`, `operators` and `steps`: each calls the next. What a command may
import is in `options`, `request`, `survey` and `summary`; nothing in here knows commands.
"""
