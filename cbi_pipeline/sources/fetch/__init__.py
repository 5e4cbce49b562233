"""The fetch half of providers: the live service's files into `data/market/<provider>/`, read by the parse half.

One module a provider: its addresses and what is due. web.py holds what every request needs, install.py what every
file needs, keys.py where keys come from, feeds.py the list of all products with their ages.
"""
