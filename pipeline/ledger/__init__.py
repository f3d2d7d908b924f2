"""What there is to do and what is done: plan, results, and all that is asked of both.

Files in a destination are the only state; nothing in here knows Ray, models or pixels.
"""
