"""The checks of `pipeline.verify`: rows against the plan, files against rows, and files of nobody.

Nothing in here writes; what is found becomes a `Problem`. It knows neither Ray nor models.
"""
