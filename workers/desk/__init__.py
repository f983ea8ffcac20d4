"""The desk: staff and tools inside look at cases and decide what only a person may decide. Never reached from outside.

Source: R30; design § 1, § 6 "Desk".
"""
