"""How fast, beside what the servers themselves can do. ``python -m tests.benchmarks NAME [--json]``; see README.md.

These print figures and assert none: a ratio of one run is what counts, and only people judge it.
Source: design § 8.
"""
