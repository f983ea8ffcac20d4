"""The ground: the words, the shapes and the register that everything else stands on.

Pure: imports nothing of ours, opens no connection, starts nothing.
"""
