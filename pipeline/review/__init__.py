"""The page on which people review results, and the small pictures that it shows.

It is made from the ledger alone; nothing in here knows Ray, models or masters.
"""
