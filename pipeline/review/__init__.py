"""The page on which people review results, and its small pictures.

The page is made from the ledger alone; `previews` is what the run adds pictures to. Nothing in here
knows Ray, models or masters.
"""
