"""What the clients of all protocols have in common; no profile by itself.

`talk` is what a dialogue without I/O asks for, `blocking` and `asyncio_link` supply it over a
connection, `trace` shows what was said without its secrets.
"""
