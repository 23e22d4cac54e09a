"""What the configuration says of this profile."""

from __future__ import annotations

from sasl_core.plugin import record

__all__ = ["MongodbOptions"]


@record
class MongodbOptions:
    """The table `[profiles.mongodb]`.

    `administrators`: who may replace the identity providers, each as DATABASE.USER.
    `databases`: at which databases users log in; each is the realm of its users.
    """

    administrators: tuple[str, ...] = ()
    databases: tuple[str, ...] = ()
