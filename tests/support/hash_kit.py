"""What the tests of the password method `hashes` share: hashes of each scheme, users, servers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sasl_core import AuthenticationError, UserName
from sasl_core.needs import Change
from sasl_pwcheck.hashes.schemes import WEAK

__all__ = ["CHEAP", "EXAMPLES", "PASSWORD", "config", "give", "logs_in", "values", "verifiers"]

PASSWORD: Final = "pä$swor"
"""Eight octets, all that DES-CRYPT looks at."""
CHEAP: Final = "BLF-CRYPT:4"
"""The decoy of the tests: what a computation costs is nothing to them."""

EXAMPLES: Final[dict[str, str]] = {
    "SHA512-CRYPT": "{SHA512-CRYPT}$6$rounds=1000$U4smdvcfOasM/6yb$ClcjcEWg3/UCM/Z8D2Kp/wN6m8v3U0lyQzCq03HT0f35cB9R2ZqiSLklE55G2AHLeqipIq7Rk.LvgRujyCHtK/",
    "SHA256-CRYPT": "{SHA256-CRYPT}$5$rounds=1000$Y5qf6xYgUZG0E8Y4$l3v98p9EAPgPKOgTqDeyJ8KsDUfMg.wZa5gwJniVkw9",
    "BLF-CRYPT": "{BLF-CRYPT}$2y$04$U191KBtuj7.GVfHXoUa8BOpCm/h8neIOPXopWV7fGknslPFSIPKd.",
    "PBKDF2": "{PBKDF2}$1$FXpSfIMZsDPx1aH6$100$c6bcc7b55d107362034515e6d6e7d917507ff9c5",
    "SCRAM-SHA-1": "{SCRAM-SHA-1}4096,w1yP6E2SguKgwapmCNtQJw==,MYxdyQqjQUo8BCGcqE1VRUJ/7R4=,UkZvSx4RFRNBhywhiX8giCobybA=",
    "SCRAM-SHA-256": "{SCRAM-SHA-256}4096,aC9SdueGy8AMY3rgOeuQyQ==,qm20OFh/DvfnNjabq0pOZOCVHZKxW6d0tJ720Lk4op0=,CUzS+RTLyq/j9W/nI8+EsOJwhs8uP9OtBwagc+gNdvA=",
    "SSHA": "{SSHA}pf5m+un0ttZvHKqZjzd5edvIPqjN6sUW",
    "SSHA256": "{SSHA256}pzfGzEwbLI9j4sAR5r5q+qBK8wfor4p8tXkzBdXtXPeSnCOw",
    "SSHA512": "{SSHA512}ILJihoEMY8ZHIQte05ovLcjr9gl+9aqJOBOBDZcJSD6u0NXkummparvXIcQ9ZBHgkl4ArYTL4uKP1iZvdKOLxmI5Sas=",
    "SMD5": "{SMD5}DhlzdPd5yp2eISF7m/dQ6H487HE=",
    "MD5-CRYPT": "{MD5-CRYPT}$1$DzsSePV3$zFy.Dac5ob6n/e7o7iAjl1",
    "DES-CRYPT": "{DES-CRYPT}IUSCULIouPKoI",
    "SHA": "{SHA}vYN8hCLnRsQS/Yc2XxelL5o3eAo=",
    "SHA256": "{SHA256}fzU8IpNKJ/reJ2EaniftmXqZ1KzXRFKwbhP6QQfTKEA=",
    "SHA512": "{SHA512}nkupgXiZNfZD2APyyS8Rt3AlUZWDfSRGd/LV9Up5T0P9GardbNFQeHrEB//Ku+shmjDPQmmeDZqMSr5N429pXw==",
    "PLAIN-MD5": "{PLAIN-MD5}5bf1a14c2a8ace79196c47b646c9c7af",
    "PLAIN-MD4": "{PLAIN-MD4}49151b145732922a45e93a4fc766a966",
    "CRAM-MD5": "{CRAM-MD5}d86ffca87085c4f393268d52c000ee256e94069b48a9d259c8a0d8898e4833f3",
    "DIGEST-MD5": "{DIGEST-MD5}a842b0afa036cd66d3905aba5c542f5a",
    "PLAIN": "{PLAIN}pä$swor",
    "passlib pbkdf2": "$pbkdf2$100$1HpvzRmjdO69t/YeQyjl/A$5RR2U3qSRSK8KqIKJvGha4FDuwo",
    "passlib pbkdf2-sha256": "$pbkdf2-sha256$100$BsB4rxUCIIQQgtA6J6SUsg$h6AYLhC3dd7lAK3mJEV3Kt9kCR1Ov9RhsnZCYJNGNY4",
    "passlib pbkdf2-sha512": "$pbkdf2-sha512$100$HqMUonTu/d.7V8oZYwyh1A$Yt/SOxTuQa9hyEFWzmoo8RkoDkWvL.tzOJjVdYheNwDcC1ZoYm9Q7Y3vy.SOcUj37EPlujWmWsmJ1NDyJ1PFSw",
    "passlib ldap": "{PBKDF2-SHA256}100$IASA0BojpJSS8p4zppQy5g$ck1bomWu1qbkr/Z1tX6P1CYmpz2NteolbG5O2IuEn6I",
    "passlib scrypt": "$scrypt$ln=4,r=8,p=1$9L73njNGSAmBcC5lTGnt/Q$3Bi4Th5r1tHEj+cTO9fNIUpp0xPx3SmFy4PjmsV1FT8",
    "argon2-cffi id": "$argon2id$v=19$m=64,t=1,p=1$ev6UwrQhtepWQmaSGfvsfQ$yyHj3/iieGIibeNECPBdHaIcM2M2ZXG+2ttR5UhePFc",
    "argon2-cffi i": "$argon2i$v=19$m=64,t=1,p=1$eY51GklxzbIty2whQFnrWA$8UaGXG4cUyhhK2NyMBFNvUv8OBY320/GtaguOzKHt10",
    "argon2-cffi id, version 16": "$argon2id$v=16$m=64,t=1,p=1$cXfWtyZZ0V6zL7qu5OrlPw$UPk2dlFuEf1NdDapxpbpiMl7UQ3E1IvP+lZStI+5jt4",
    "bcrypt": "$2b$04$iTM1ofycG9liMZ0lmJ3qyOpmSR06Wyv3j4ffxGamNUwUdp0DESRkW",
}
"""Who made it -> a hash of PASSWORD: by doveadm pw 2.3.19 for tim@example.com where it is a scheme."""


def config(**options: Any) -> dict[str, Any]:
    """A server's configuration: the store first, then hashes of every scheme, then SCRAM."""
    settings: dict[str, Any] = {"decoys": [CHEAP], "weak_schemes": list(WEAK), **options}
    return {
        "allow_cleartext": True,
        "scram_iteration_counter": 4096,
        "pwcheck_method": ["auxprop", "hashes"],
        "auto_transition": "noplain",
        "pwcheck": {"hashes": settings},
    }


def give(store: Any, user: str, *hashes: str | bytes, **more: Any) -> None:
    """Make a user who has these hashes."""
    stored = tuple(text.encode() if isinstance(text, str) else text for text in hashes)
    values = {"passwordHash": stored} if stored else {}
    store.write(UserName.parse(user), Change(values, create=True, exist_ok=True, **more))


def logs_in(server: Any, user: str, password: str = PASSWORD) -> bool:
    """Whether the password is good."""
    try:
        return bool(server.session().start("PLAIN", f"\0{user}\0{password}".encode()).done)
    except AuthenticationError:
        return False


def values(store: Any, user: str, name: str = "passwordHash") -> Sequence[bytes]:
    """The user's values of a property."""
    found = store.read(UserName.parse(user), (name,)).values
    return tuple(found.get(name, ()))


def verifiers(store: Any, user: str) -> set[str]:
    """The hashes of the user's SCRAM verifiers."""
    return set(store.read(UserName.parse(user), ("authPassword",)).verifiers)
