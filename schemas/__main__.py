"""``python -m schemas`` is the ``greffier`` command; child processes are started this way."""

from schemas.commands import main

if __name__ == "__main__":  # not where a command starts a process of its own kind, which looks into this module first
    main()
