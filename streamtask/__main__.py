"""`python -m streamtask` is the command `streamtask`."""

from __future__ import annotations

from streamtask.cli import main

if __name__ == "__main__":
    main()
