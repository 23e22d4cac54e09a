"""Who has logged in at a MongoDB server, in MongoDB's words: user, database, roles.

Invariants: nobody has a name here that is somebody else's, be it of another database, of a bearer
of tokens, or of the owner of another certificate; a login that could not be had any more does not
stand either.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from sasl_core.plugin import AuthenticationError, MechanismError, Result, SaslError, UserName
from sasl_profiles.mongodb.events import Login
from sasl_profiles.mongodb.exchange import EXTERNAL, SASL_NAMES, X509
from sasl_profiles.mongodb.names import another_database, as_text, parse_roles

if TYPE_CHECKING:
    from sasl_core.aio import Server, ServerSession
    from sasl_profiles.mongodb.server import MongodbServer

__all__ = ["ROLES", "login_of"]

# Properties of a session.
ROLES: Final = "roles"
DATABASE: Final = "database"

_log = logging.getLogger(__name__)


def login_of(
    owner: MongodbServer, server: Server, session: ServerSession, database: str, named: bytes
) -> Login:
    """Whose login at `database` the finished `session` of `server` is.

    `named`: the user of an authenticate as it was sent, empty for none.

    Raises:
        AuthenticationError: whoever it is must not have that name here.
        MechanismError: it negotiated a security layer.
    """
    if session.layer is not None:
        raise MechanismError("MongoDB's protocol carries no security layer; use TLS")
    name, valid = session.authzid, session.valid
    owner_of_certificate = session.mechanism == SASL_NAMES[X509]
    # As it was sent: SASL takes blanks off the name of whom one wants to act as.
    if owner_of_certificate and not (session.authid == name and named in {b"", name.encode()}):
        raise AuthenticationError(
            result=Result.NOAUTHZ, detail="the user is not the subject of the certificate"
        )
    # A token has a namespace; it is the only one that has.
    given = session.properties.get(DATABASE)
    if given:
        namespace = as_text(given[0])
        if namespace is None:
            raise AuthenticationError(detail="the token's database is no UTF-8")
        database = namespace
    elif database == EXTERNAL:
        if (problem := owner.external_problem(name)) is not None:
            raise AuthenticationError(result=Result.NOAUTHZ, detail=problem)

        def stands() -> bool:
            # A provider may come later whose users have such names.
            try:
                return session.valid() and owner.external_problem(session.authzid) is None
            except SaslError as error:
                # Nobody knows whose name it is.
                _log.error("a login stands no more: %s", error)
                return False

        valid = stands
    elif server.core.realm == database:
        # By the realm the stores tell users of this database from others, and a client may
        # write one. Where it is left out of the name, no other must be let in.
        user = UserName.parse(name)
        if user.realm != database:
            raise another_database(name, database)
        name = user.name
    administrator = (database, name) in owner.administrators
    roles = parse_roles(session.properties.get(ROLES), name)
    renewable = not owner_of_certificate
    return Login(name, database, roles, administrator, valid, renewable)
