"""How fast it is: against the least that Python can do, and against other libraries.

`make bench` runs it, `python -m bench` from the repository's root does the same.
`docs/speed.md` says what is measured and how. No part of it is installed.
"""
