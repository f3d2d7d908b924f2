"""One run through Ray Data: what is asked for, and what happens to a shard in each step.

`request`, `steps` and `operators` may be imported from here; nothing in here knows commands.
"""
