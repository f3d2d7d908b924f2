"""The page on which people review results, and its small pictures.

It is made from the ledger alone; nothing in here knows Ray, models or masters.
"""
