"""What is to be done and what is done: the plan, the results, and questions about both.

Files in a destination are the only state; nothing in here knows Ray, models or pixels.
"""
