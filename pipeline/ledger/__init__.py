"""What is to be done and what is done: the plan, the results, and questions about both.

Files in a destination are the only state. Nothing in here knows Ray or models, and only `palettes`
looks at pixels: those of a picture that a user gives.
"""
