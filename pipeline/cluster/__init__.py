"""How Ray is started, sized, watched and given jobs.

Nothing in here knows what the work is.
"""
