"""The end of a record's time: who must go is folded, moved to the archive or deleted, and at last purged.

``folding`` says what becomes of each record, ``moving`` makes the archive's copies, ``sweep`` walks over everybody,
``purge`` clears what is past all its periods, ``preview`` tells beforehand what would go, ``evidence`` is what the
archive holds of somebody, and the read of it.
"""
