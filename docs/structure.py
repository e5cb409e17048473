"""Measure the structure of the package from its own source: rooms, modules, import levels, cycles, doubled names.

    python docs/structure.py           print the measures, with the limits that tests/repository/test_structure.py holds
    python docs/structure.py --write   also draw docs/images/architecture.svg again, from the imports

Imports count wherever they stand: at the head of a file, inside a function, under TYPE_CHECKING. Nothing is imported: files
are parsed.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from statistics import median

from gradfaith import registry
from gradfaith.dag import code_digest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "workflow/gradfaith"
PICTURE = Path(__file__).with_name("images") / "architecture.svg"
LAYERS = (  # from the top; the layers contract in pyproject.toml is the same, and a test compares both
    ("cli",),
    ("dag", "reporting", "scoring"),
    ("attribution", "stats"),
    ("metrics", "models", "data"),
    ("config",),
    ("runtime",),
    ("storage",),
    ("registry",),
    ("vocabulary", "rng", "errors"),
)
QUESTIONS = {
    "cli": "what can a person ask from the shell?",
    "dag": "which jobs exist, with which parameters?",
    "reporting": "how are results shown?",
    "scoring": "one module per scoring job",
    "attribution": "how is a map made?",
    "stats": "what do the numbers say?",
    "metrics": "how is a map judged?",
    "models": "how is a classifier built, trained, asked?",
    "data": "how do raw files become images?",
    "config": "what may a study contain?",
    "runtime": "what surrounds a job on a machine?",
    "storage": "how are files written and read?",
    "registry": "which plug-ins exist?",
    "vocabulary": "words that rooms share",
    "rng": "random streams by name",
    "errors": "problem, reason, fix",
}


@dataclass(frozen=True)
class Structure:
    """The package as its files describe it; modules are named without the leading `gradfaith.`."""

    package: Path = PACKAGE
    tests: Path = ROOT / "tests/unit"

    @cached_property
    def trees(self) -> Mapping[str, ast.Module]:
        """Return module -> syntax tree, without empty `__init__` files."""
        found = {}
        for path in sorted(self.package.rglob("*.py")):
            name = ".".join(path.relative_to(self.package).with_suffix("").parts)
            if path.name != "__init__.py":
                found[name] = ast.parse(path.read_text(encoding="utf-8"))
        return found

    @property
    def root_modules(self) -> list[str]:
        """Return the modules in the package root, `__init__` among them."""
        return sorted(path.stem for path in self.package.glob("*.py"))

    @property
    def rooms(self) -> list[str]:
        """Return the folders of the package."""
        return sorted(path.name for path in self.package.iterdir() if (path / "__init__.py").is_file())

    @cached_property
    def plugins(self) -> set[str]:
        """Return the modules that are found by name."""
        return {
            entry.module.removeprefix("gradfaith.")
            for group in registry.PLUGIN_GROUPS
            for entry in registry.entries(group).values()
        }

    @property
    def others(self) -> list[str]:
        """Return the modules in rooms that are no plug-ins."""
        return [name for name in self.trees if "." in name and name not in self.plugins]

    def lines(self, module: str) -> int:
        """Return the length of a module's file."""
        return len(
            self.package.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8").splitlines()
        )

    @cached_property
    def imports(self) -> Mapping[str, set[str]]:
        """Return module -> modules of the package that it imports."""
        return {name: set(self._imports(tree)) - {name} for name, tree in self.trees.items()}

    def _imports(self, tree: ast.Module) -> Iterator[str]:
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "gradfaith":
                base = node.module.removeprefix("gradfaith").removeprefix(".")
                for alias in node.names:
                    longer = f"{base}.{alias.name}".removeprefix(".")
                    yield from (name for name in (longer, base) if name in self.trees)
            elif isinstance(node, ast.Import):
                names = (alias.name.removeprefix("gradfaith.") for alias in node.names)
                yield from (name for name in names if name in self.trees)

    @cached_property
    def room_imports(self) -> Mapping[str, set[str]]:
        """Return room (or root module) -> rooms that it imports."""
        found: dict[str, set[str]] = defaultdict(set)
        for name, imported in self.imports.items():
            room = name.split(".")[0]
            found[room] |= {other.split(".")[0] for other in imported} - {room}
        return found

    @property
    def levels(self) -> int:
        """Return the longest chain of rooms of which each imports the next."""
        return max(self._depth(room) for room in self.rooms)

    def _depth(self, room: str) -> int:
        return 1 + max((self._depth(other) for other in self.room_imports[room] if other in self.rooms), default=0)

    def cycles(self, graph: Mapping[str, set[str]]) -> list[list[str]]:
        """Return the groups of nodes that import each other in a circle."""
        reach = {node: _reachable(graph, node) for node in graph}
        circles = {
            frozenset(other for other in reach[node] if node in reach.get(other, ()))
            for node in graph
            if node in reach[node]
        }
        return sorted(sorted(circle) for circle in circles)

    @property
    def doubled_classes(self) -> dict[str, list[str]]:
        """Return class name -> modules for names that several modules define, except those that the registry expects."""
        found: dict[str, list[str]] = defaultdict(list)
        for name, tree in self.trees.items():
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    found[node.name].append(name)
        return {name: modules for name, modules in sorted(found.items()) if len(modules) > 1}

    @property
    def homeless_tests(self) -> list[str]:
        """Return the files in tests/unit that are in no room's folder."""
        paths = (path.relative_to(self.tests) for path in self.tests.rglob("*.py"))
        return sorted(str(path) for path in paths if path.parts[0] not in self.rooms)

    def reached_by(self, module: str) -> set[str]:
        """Return the modules that importing one module imports, itself included."""
        return _reachable(self.imports, module) | {module}

    def reached_by_rule(self, rule: str) -> set[str]:
        """Return the modules that the Snakefile and a rule's script import, and those that these import."""
        snakefile = (ROOT / "Snakefile").read_text(encoding="utf-8")
        lines = [line for line in snakefile.splitlines() if line.startswith("from gradfaith")]
        script = ast.parse((ROOT / f"scripts/{rule}.py").read_text(encoding="utf-8"))
        start = {*self._imports(ast.parse("\n".join(lines))), *self._imports(script)}
        return set().union(*(self.reached_by(module) for module in start))

    def report(self) -> list[tuple[str, int | float | str, str]]:
        """Return measure, value and limit."""
        sizes = [self.lines(name) for name in self.others]
        longest = max(self.trees, key=self.lines)
        circles = self.cycles(self.imports) + self.cycles(self.room_imports)
        doubled = ", ".join(f"{name} ({', '.join(modules)})" for name, modules in self.doubled_classes.items())
        return [
            ("modules in the root", len(self.root_modules), "5"),
            ("rooms", len(self.rooms), "12"),
            ("files", len(self.trees), ""),
            ("plug-ins", len(self.plugins), ""),
            ("other modules", len(self.others), "200"),
            ("median of their lines", median(sizes), "80 to 200"),
            ("longest file", f"{self.lines(longest)} ({longest})", "300"),
            ("import levels between rooms", self.levels, "8"),
            ("cycles", len(circles), "0"),
            ("class names defined more than once", f"{len(self.doubled_classes)} {doubled}".strip(), "5"),
            ("files in tests/unit outside a room", len(self.homeless_tests), "0"),
            ("modules that reach rule explain", len(self.reached_by_rule("explain")), "69"),
            ("files that decide a Grad-CAM map", len(files_of_gradcam()), "17"),
        ]


def files_of_gradcam() -> set[Path]:
    """Return the files of the package whose change makes Grad-CAM's maps stale."""
    method = registry.entry("methods", "gradcam").path
    return {
        path for path in code_digest.numeric_files(ROOT / "scripts/explain.py", method) if path.is_relative_to(PACKAGE)
    }


def _reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    """Return the nodes that a walk from `start` meets; `start` itself only if it lies on a circle."""
    seen: set[str] = set()
    waiting = list(graph.get(start, ()))
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting.extend(graph.get(node, ()))
    return seen


def draw(structure: Structure) -> str:
    """Return an SVG of the rooms in their layers; of the imports only those that no chain of others implies are drawn."""
    width, box, row = 920, (268, 50), 92
    places: dict[str, tuple[float, float]] = {}
    for level, names in enumerate(LAYERS):
        for place, name in enumerate(names):
            places[name] = (width / 2 + (place - (len(names) - 1) / 2) * (box[0] + 28), 40 + level * row)
    lines = []
    for room, imported in sorted(structure.room_imports.items()):
        direct = {
            other
            for other in imported
            if not any(other in _reachable(structure.room_imports, via) for via in imported - {other})
        }
        for other in sorted(direct):
            (x1, y1), (x2, y2) = places[room], places[other]
            shift = (x2 - x1) * 0.12
            lines.append(
                f'<path d="M{x1 + shift:.0f} {y1 + 25:.0f} L{x2 - shift:.0f} {y2 - 27:.0f}" marker-end="url(#tip)"/>'
            )
    boxes = []
    for name, (x, y) in places.items():
        files = sum(module.split(".")[0] == name for module in structure.trees)
        label = f"{name}/" if name in structure.rooms else f"{name}.py"
        count = f'<tspan class="count">  {files} files</tspan>' if name in structure.rooms else ""
        boxes.append(
            f'<rect x="{x - box[0] / 2:.0f}" y="{y - 25:.0f}" width="{box[0]}" height="{box[1]}" rx="6"/>'
            f'<text x="{x:.0f}" y="{y - 4:.0f}" class="name">{label}{count}</text>'
            f'<text x="{x:.0f}" y="{y + 15:.0f}">{QUESTIONS[name]}</text>'
        )
    height = 40 + (len(LAYERS) - 1) * row + 45
    style = (
        "rect{fill:#fff;stroke:#4a6c8c}path{stroke:#9fb3c6;fill:none;stroke-width:1.4}"
        "text{font:12px sans-serif;text-anchor:middle;fill:#333}.name{font-weight:bold;font-size:14px}"
        ".count{font-weight:normal;font-size:11px;fill:#777}"
    )
    tip = (
        '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L8 4 L0 8" fill="none" stroke="#9fb3c6"/></marker>'
    )
    body = "\n".join([*lines, *boxes])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="The rooms of the package in their layers">\n'
        f'<style>{style}</style><defs>{tip}</defs>\n<rect width="{width}" height="{height}" style="fill:#fff;stroke:none"/>\n{body}\n</svg>\n'
    )


def layers_of_contract(text: str) -> list[set[str]]:
    """Return the layers that the import contract in pyproject.toml names."""
    start = text.index("layers = [")
    body = text[start : text.index("]", start)]
    return [set(line.strip(' ",').split(" | ")) for line in body.splitlines()[1:] if line.strip()]


def main() -> None:
    structure = Structure()
    rows = [("measure", "found", "at most"), *((what, str(value), limit) for what, value, limit in structure.report())]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for what, value, limit in rows:
        print(f"{what:<{widths[0]}}  {value:<{min(widths[1], 60)}}  {limit}".rstrip())
    chain = max(structure.rooms, key=structure._depth)
    print(
        f"the longest chain of imports between rooms starts at {chain}; layers: {', '.join(' | '.join(names) for names in LAYERS)}"
    )
    assert all(upper != lower for upper, lower in pairwise(LAYERS))
    if "--write" in sys.argv:
        PICTURE.write_text(draw(structure), encoding="utf-8")


if __name__ == "__main__":
    main()
