"""Parity with the originals: one runner per kind of case, and a command that runs every case it knows.

``python -m tests.parity --golden DIR`` compares our networks and functions with stored inputs and outputs. A system's
runners live in modules named after it (``da3_heads.py``, ``deca.py``); they are found by name, nothing is listed twice.
"""
