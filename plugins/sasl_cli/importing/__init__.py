"""Readers of users as other programs keep them, and what is done with what was read.

A reader takes a file of bytes and yields an `Entry` for each user, or a `Refused` that says on
which line what was wrong; it opens nothing and writes nothing. Only what concerns the whole
file, as a CSV header, is raised. `policy` decides what of an entry may be taken over, `stores`
writes it.

Invariants: whatever is in the file, nothing but a `SaslError` comes out; a reader holds one
line or one document at a time (`cyrus` apart, which says why); no reason shows a verifier, a
hash or a password.
"""

from __future__ import annotations
