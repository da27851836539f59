"""What each reStructuredText directive and role of Sphinx, Django and others contributes to the plain text."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive, directives, roles
from docutils.statemachine import StringList

from indexing.converted import one_line


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


DROPPED = _words(
    "toctree index highlight highlightlang module currentmodule py:module py:currentmodule js:module default-domain "
    "contents sectnum section-numbering sectionauthor codeauthor moduleauthor meta include literalinclude raw "
    "tabularcolumns program graphviz inheritance-diagram autosummary automodule template title rst-class role "
    "default-role header footer target-notes restructuredtext-test-directive cssclass date"
)
CODE = _words(
    "code-block sourcecode code console snippet prompt doctest testcode testoutput testsetup testcleanup ipython "
    "parsed-literal productionlist math literal highlight-block jupyter-execute shell bash code-output"
)
VERSIONS = {
    "versionadded": "New in version",
    "versionchanged": "Changed in version",
    "deprecated": "Deprecated since version",
    "versionremoved": "Removed in version",
    "deprecated-removed": "Deprecated since version",
    "soft-deprecated": "Soft deprecated since version",
}
DOMAINS = _words("py c cpp js rst std")
OBJECTS = _words(
    "class method attribute function data exception classmethod staticmethod decorator decoratormethod property "
    "object describe option cmdoption envvar confval setting templatetag templatefilter fieldlookup django-admin "
    "django-admin-option opcode pdbcommand 2to3fixer type typealias member macro struct union enum enumerator var "
    "directive role event signal command autofunction autoclass automethod autoattribute autodata autoexception "
    "autoproperty autodecorator awaitablefunction awaitablemethod coroutinefunction coroutinemethod abstractmethod "
    "monitoring-event audit-event"
)
TARGETS = _words("setting templatetag templatefilter fieldlookup django-admin envvar-target")
"""Objects that Django names right before the heading of the same name; without content they add nothing."""

_KEPT = _words(
    "note warning tip hint important caution danger attention error admonition topic sidebar rubric epigraph "
    "highlights pull-quote compound container line-block table csv-table list-table figure image replace "
    "unicode"
)
_ROLES_KEPT = _words("emphasis strong literal subscript superscript sub sup title title-reference")
_ROLES_CALL = _words("func meth function method")
_ROLES_LINK = _words("ref numref doc")
_TITLED = re.compile(r"^(?P<title>.+?)\s*(?<!\\)<(?P<target>[^<>]*)>$", re.DOTALL)
_BRACED = re.compile(r"[{}]")


class described(nodes.General, nodes.Element):  # type: ignore[misc]
    """An object's signatures and, as children, its description."""


class version_note(nodes.General, nodes.Element):  # type: ignore[misc]
    """A note on the version in which something changed."""


class _AnyOption(dict[str, Any]):
    """Accepts whatever option a directive is given, and keeps its text."""

    def __missing__(self, name: str) -> Any:
        return directives.unchanged


class _Lenient(Directive):  # type: ignore[misc]
    """Shared by all: any options, an argument or none, any content."""

    optional_arguments = 1
    final_argument_whitespace = True
    has_content = True
    option_spec = _AnyOption(name=directives.unchanged)

    def argument(self) -> str:
        return str(self.arguments[0]) if self.arguments else ""

    def nested(self, lines: list[str] | None = None) -> list[Any]:
        """The children that the content, or other ``lines``, parse to."""
        holder = nodes.container()
        content = self.content if lines is None else StringList(lines, source="page")
        self.state.nested_parse(content, self.content_offset, holder, match_titles=False)
        return list(holder.children)


class Dropped(_Lenient):
    """Adds nothing to the text."""

    def run(self) -> list[Any]:
        return []


class Code(_Lenient):
    """Content as it stands, under its caption; the argument is a language, or for a few the code itself."""

    def run(self) -> list[Any]:
        lines = list(self.content)
        if not lines and self.argument():
            lines = self.argument().splitlines()
        caption = self.nested([self.options["caption"]]) if self.options.get("caption") else []
        return [*caption, nodes.literal_block("\n".join(lines), "\n".join(lines))] if lines else []


class Version(_Lenient):
    """``versionadded`` and its kin: what changed, in which version."""

    def run(self) -> list[Any]:
        version, _, rest = self.argument().partition(" ") if " " in self.argument() else (self.argument(), "", "")
        if "\n" in version:
            version, _, more = version.partition("\n")
            rest = f"{more} {rest}"
        node = version_note(label=f"{VERSIONS[self.name.lower()]} {version.strip()}")
        node += self.nested([one_line(rest)]) if rest.strip() else []
        node += self.nested() if self.content else []
        return [node]


class Described(_Lenient):
    """A function, class, setting, option …: signatures, then a description."""

    def run(self) -> list[Any]:
        name = self.name.lower().rpartition(":")[2]
        if name in TARGETS and not self.content:
            return []
        signatures = [one_line(line.replace("\\", "")) for line in re.split(r"(?<!\\)\n", self.argument())]
        node = described(signatures=[signature for signature in signatures if signature])
        node += self.nested() if self.content else []
        return [node]


class Content(_Lenient):
    """Anything else: its argument reads as a paragraph, its content as what it is."""

    def run(self) -> list[Any]:
        argument = self.nested(self.argument().splitlines()) if self.argument() else []
        return argument + (self.nested() if self.content else [])


def register_names(directive_names: set[str], role_names: set[str]) -> None:
    """Give docutils a meaning for these names, as a page uses them; those known to us or to docutils keep theirs."""
    for name in directive_names:
        lower = name.lower()
        if lower not in _KEPT:
            directives.register_directive(lower, _directive(lower))
    for name in role_names:
        lower = name.lower()
        if lower not in _ROLES_KEPT:
            roles.register_local_role(lower, _role)


def _directive(name: str) -> type[_Lenient]:
    domain, _, last = name.rpartition(":")
    last = name if domain and domain not in DOMAINS else last
    if name in DROPPED:
        return Dropped
    if last in VERSIONS:
        return Version
    if last in CODE:
        return Code
    if last in OBJECTS:
        return Described
    return Content


def _role(
    name: str, raw: str, text: str, line: int, inliner: Any, options: Any = None, content: Any = None
) -> tuple[list[Any], list[Any]]:
    """A role's text as a reader of the built page would see it."""
    plain, kind = nodes.unescape(text), name.lower().rpartition(":")[2]
    title = inliner.document.settings.link_titles.get(plain.strip()) if kind in _ROLES_LINK else None
    shown = title or role_text(kind, plain)
    return [nodes.inline(raw, shown)], []


def role_text(role: str, text: str) -> str:
    """``:meth:`~a.b.C.save``` shows ``save()``; ``:doc:`Title </path>``` shows ``Title``."""
    titled = _TITLED.match(text)
    if titled and role not in {"abbr", "samp", "file", "kbd", "math"}:
        return titled["title"]
    if role in {"class", "meth", "func", "attr", "mod", "exc", "data", "obj", "const", "type", "member"}:
        text = text.lstrip("!.")
        text = text[1:].rpartition(".")[2] if text.startswith("~") else text
        text = re.sub(r"^~?[\w.]+\.(?=[^.]*$)", "", text) if text.startswith("~") else text
    if role in _ROLES_CALL and not text.endswith(")"):
        return f"{text}()"
    if role in {"file", "samp"}:
        return _BRACED.sub("", text)
    if role == "menuselection":
        return text.replace("-->", "›").replace("&", "")
    prefix = {"ticket": "#", "pep": "PEP ", "rfc": "RFC ", "cve": "CVE-", "bpo": "bpo-", "issue": "#", "gh": "gh-"}
    return f"{prefix.get(role, '')}{text.lstrip('!')}"
