"""``python -m cadrender``: the same as the ``cadrender`` command."""

from cadrender.cli import main

main()
