"""``python -m schemas`` is the ``greffier`` command; child processes are started this way."""

from schemas.commands import main

main()
