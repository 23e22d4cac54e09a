"""The configuration of one application: the core's options, and the tables of the plugins.

It comes from `sasl.toml`, from a flat `<appname>.conf`, or from a mapping of the same
shape as `sasl.toml`. An option of the application (`[applications.NAME]`) goes before the
same option for all. The core's own keys are checked here and now; a plugin's keys when
the plugin asks for them with its schema. No key is ignored: what nobody knows is refused.
Immutable once made, and safe to share.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from sasl_core.conf_tables import KINDS, read_tables
from sasl_core.conf_values import Setting, Settings, suggestion, wrong
from sasl_core.edge import sever
from sasl_core.errors import ConfigError, UsageError, printable
from sasl_core.names import base_name
from sasl_core.options import ONE_OF, AutoTransition, CoreOptions, LogLevel, read_core

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["AutoTransition", "Configuration", "CoreOptions", "Declared", "LogLevel"]

T = TypeVar("T")

Declared: TypeAlias = "Callable[[], Mapping[str, Collection[str]]]"
"""Gives the names of the installed plugins by kind; called only when they are needed."""


class Configuration:
    """What one application is configured to do.

    `core` has the core's options. `origin` is the file that was read, "defaults" when
    there was none, or "mapping". `shadowed` are files of the search path that were not
    read because another was found before them. `applications` are the names of all
    applications with a table of their own.
    """

    __slots__ = ("_file", "_settings", "applications", "appname", "core", "origin", "shadowed")

    def __init__(
        self,
        appname: str,
        settings: Settings,
        *,
        file: str | None = None,
        origin: str | None = None,
        shadowed: tuple[str, ...] = (),
    ) -> None:
        self.appname: Final = appname
        self.core: Final[CoreOptions] = read_core(settings.core)
        self.origin: Final = file or origin or "defaults"
        self.applications: Final = settings.applications
        self.shadowed: Final = shadowed
        self._file: Final = file
        self._settings: Final = settings

    def __repr__(self) -> str:
        return f"<Configuration of {self.appname!r} from {printable(self.origin)}>"

    # --- how it is made ---------------------------------------------------------------

    @classmethod
    def load(
        cls,
        appname: str,
        *,
        path: str | PathLike[str] | None = None,
        search: Sequence[str] | None = None,
        declared: Declared | None = None,
    ) -> Configuration:
        """Read the configuration of the application `appname` from files.

        `path`: this file and no other; TOML when its name ends in ".toml", else flat.
        Otherwise the first of `sasl.toml` and `<appname>.conf` in the directories
        `search`, by default those of the environment variable SASL_CONF_PATH, or
        /etc/sasl and /etc/sasl2. Without any file everything has its default.

        Raises:
            ConfigError: `path` is not there, or a file cannot be read, cannot be trusted
                (anybody may write to it), or holds something wrong.
            UsageError: `appname` is no name of an application.
        """
        _check_appname(appname)
        try:
            return cls._load(appname, path, search, declared or _installed)
        except ConfigError as error:
            raise sever(error) from None  # its frames hold what was read, secrets too

    @classmethod
    def _load(
        cls,
        appname: str,
        path: str | PathLike[str] | None,
        search: Sequence[str] | None,
        declared: Declared,
    ) -> Configuration:
        from sasl_core import conf_files

        if path is not None:
            file = conf_files.absolute(path)
            text = conf_files.read_text(file)
            if text is None:
                raise wrong("there is no such file", file=file)
            return cls(appname, _parse(text, file, appname, declared), file=file)
        directories = conf_files.search_path() if search is None else search
        files = list(conf_files.candidates(directories, appname))
        for index, file in enumerate(files):
            text = conf_files.read_text(file)
            if text is not None:
                shadowed = conf_files.present(files[index + 1 :])
                settings = _parse(text, file, appname, declared)
                return cls(appname, settings, file=file, shadowed=shadowed)
        return cls(appname, Settings({}, {}))

    @classmethod
    def from_mapping(cls, tables: Mapping[str, object], appname: str) -> Configuration:
        """Take the tables of a `sasl.toml` as Python values.

        Beside what TOML can write, members of enums, flags and paths may stand for
        themselves.

        Raises:
            ConfigError: something in it is wrong; `key` says which.
            UsageError: `appname` is no name of an application.
        """
        _check_appname(appname)
        try:
            return cls(appname, read_tables(tables, appname, None), origin="mapping")
        except ConfigError as error:
            raise sever(error) from None  # its frames hold what was read, secrets too

    def overlaid(self, tables: Mapping[str, object]) -> Configuration:
        """A copy in which what `tables` says goes before what was configured, key by key.

        For what a command line says on top of the files. `tables` as for `from_mapping`.

        Raises:
            ConfigError: something in it is wrong, or contradicts what was configured.
        """
        try:
            over = read_tables(tables, self.appname, None)
            plugins = {key: dict(options) for key, options in self._settings.plugins.items()}
            for key, options in over.plugins.items():
                plugins.setdefault(key, {}).update(options)
            core = dict(self._settings.core)
            if not over.core.keys().isdisjoint(ONE_OF):
                # The one that is given takes the place of the other.
                core = {key: setting for key, setting in core.items() if key not in ONE_OF}
            settings = Settings({**core, **over.core}, plugins, self.applications)
            return type(self)(
                self.appname,
                settings,
                file=self._file,
                origin=self.origin,
                shadowed=self.shadowed,
            )
        except ConfigError as error:
            raise sever(error) from None  # its frames hold what was read, secrets too

    def without_options(self, kind: str, name: str) -> Configuration:
        """A copy in which the plugin `name` of `kind` has been given no options."""
        plugins = {key: of for key, of in self._settings.plugins.items() if key != (kind, name)}
        return type(self)(
            self.appname,
            Settings(dict(self._settings.core), plugins, self.applications),
            file=self._file,
            origin=self.origin,
            shadowed=self.shadowed,
        )

    def option_given(self, kind: str, name: str, key: str) -> object:
        """What the plugin `name` of `kind` was given for `key`, unchecked; None: nothing."""
        setting = self._settings.plugins.get((kind, name), {}).get(key)
        return None if setting is None else setting.value

    @property
    def given(self) -> frozenset[str]:
        """The core's keys that were given a value; the others have their defaults."""
        return frozenset(self._settings.core)

    def error(self, key: str, problem: ConfigError) -> ConfigError:
        """`problem` of a part of the core's `key`, with where that was given in front."""
        setting = self._settings.core.get(key, Setting(None, key))
        place = f"{setting.key}{problem.key or ''}"
        return Setting(None, place, setting.file, setting.line).error(problem.problem)

    def plugins_given(self, kind: str) -> frozenset[str]:
        """The plugins of `kind` that were given options."""
        return frozenset(name for of, name in self._settings.plugins if of == kind)

    # --- what plugins ask of it ---------------------------------------------------------

    def plugin_options(self, kind: str, name: str, schema: type[T]) -> T:
        """The options of the plugin `name` of `kind`, as an instance of the attrs class `schema`.

        The class's fields are the keys, their defaults the defaults; types and validators
        are checked, as docs/configuration.md describes.

        Raises:
            ConfigError: an unknown key, a missing one, or a value that the key cannot have.
            PluginError: `schema` is no attrs class, or has a field of a type that no
                configuration can give.
        """
        from sasl_core.conf_schema import read_options

        given = self._settings.plugins.get((kind, name), {})
        try:
            return read_options(schema, given, f"{kind}.{name}", name, self._file)
        except ConfigError as error:
            raise sever(error) from None  # its frames hold what was read, secrets too

    def refuse_options(self, kind: str, name: str) -> None:
        """For a plugin that asks for no options: make sure that none were given.

        Raises:
            ConfigError: there is one.
        """
        for setting in self._settings.plugins.get((kind, name), {}).values():
            raise setting.error(f"plugin {printable(name)!r} takes no options")

    def missing_plugins(self, declared: Mapping[str, Collection[str]]) -> tuple[ConfigError, ...]:
        """What the configuration names although it is not installed, each as an error to show.

        `declared`: the names of the installed plugins, by kind. A plugin's table without
        the plugin is as good as ignored; a mechanism of `mech_list` that is not there is
        not offered. `plugin_list` is left to the registry, which knows distributions.
        """
        errors: list[ConfigError] = []
        for (kind, name), options in self._settings.plugins.items():
            if name not in (known := declared.get(kind, ())):
                line = next((setting.line for setting in options.values()), None)
                table = Setting(None, f"{kind}.{name}", self._file, line)
                errors.append(table.error(_not_installed(name, known)))
        core = self.core
        listed: tuple[tuple[str, Collection[str], Collection[str]], ...] = (
            ("mech_list", core.mech_list or (), declared.get("mechanisms", ())),
            ("client_mech_list", core.client_mech_list or (), declared.get("mechanisms", ())),
            ("canon_user_plugin", (core.canon_user_plugin,), declared.get("canon_user", ())),
            ("auxprop_plugin", core.auxprop_plugin, declared.get("auxprop", ())),
            (
                "credentials_plugin",
                (core.credentials_plugin,) if core.credentials_plugin else (),
                declared.get("credentials", ()),
            ),
            ("pwcheck_method", core.pwcheck_method, {"auxprop", *declared.get("pwcheck", ())}),
        )
        for key, names, known in listed:
            setting = self._settings.core.get(key, Setting(None, key, self._file))
            errors += [
                setting.error(_not_installed(name, known))
                for name in names
                if name not in known
                and not (key.endswith("mech_list") and base_name(name) in known)
            ]
        return tuple(errors)


def _not_installed(name: str, known: Collection[str]) -> str:
    return f"no plugin {printable(name, 64)!r} is installed{suggestion(name, known)}"


def _check_appname(appname: object) -> None:
    # It becomes the name of a file, of which most systems take 255 bytes.
    if (
        not isinstance(appname, str)
        or not appname.isprintable()
        or not 0 < len(appname.encode()) <= 200
        or appname.startswith(".")
        or "/" in appname
        or "\\" in appname
    ):
        raise UsageError(
            "an application's name is 1 to 200 bytes of printable UTF-8, holds no '/' nor '\\' "
            f"and begins with no '.', unlike {printable(appname, 64)!r}"
        )


def _parse(text: str, file: str, appname: str, declared: Declared) -> Settings:
    """The settings of a file's text, TOML or flat by the file's name."""
    if file.endswith(".toml"):
        from sasl_core.conf_files import parse_toml

        return read_tables(parse_toml(text, file), appname, file)
    from sasl_core.conf_flat import parse_flat

    return parse_flat(text, file, declared)


def _installed() -> Mapping[str, Collection[str]]:
    """The names of the installed plugins, from their entry points; loads none of them."""
    from sasl_core.entrypoints import KINDS as GROUPS
    from sasl_core.entrypoints import installed

    points, _ = installed()
    return {kind: {p.name for p in points if p.group == GROUPS[kind]} for kind in KINDS}
