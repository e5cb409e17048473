"""What is written of the code by the code: the schema that editors complete from, the keys in config/README.md, methods and metrics.

All are generated; a test fails when they and what they describe drift apart.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from gradfaith import registry
from gradfaith.cli.reference import plugin_tables as methods_reference
from gradfaith.config.dataset import Dataset
from gradfaith.config.study import Study
from gradfaith.storage.atomic import write_text

SCHEMA = Path("workflow/schemas/study.schema.json")
README = Path("config/README.md")
METHODS = Path("docs/methods.md")
METRICS = Path("docs/metrics.md")
SINGULAR = {"architectures": "architecture", "bundles": "bundle", "batteries": "battery"}
METHODS_HEAD = """# Methods

Written by `gradfaith schema` from what every file in `workflow/gradfaith/attribution/methods/` declares. `gradfaith methods` prints the same at
the prompt, and `gradfaith methods --arch resnet50` or `--study S` says for which networks each is defined and, where it is not, why.
Formulas, and where we differ from the papers, stand at the head of each file; the papers are in `resources/references.bib`.
"""
METRICS_HEAD = """# Metrics

Written by `gradfaith schema` from what every file in `workflow/gradfaith/metrics/` declares. "By chance" is what a map of independent random
pixels gets on average, where there is a closed form; "unchanged by" is tested. Forwards are per map and imputer, were the metric
alone: those of a battery share them; some run the method again, and a composite is made of others' scores. Names ending in
`_literature` or `_pgc` are the numbers as others compute them, for comparison. Options stand in the [key list](config.md); formulas and
readings at the head of each file.
"""
BEGIN, END = "<!-- generated: `gradfaith schema` -->", "<!-- end of generated -->"
PLACES = {
    "localization": "localization", "composite": "composite", "agreement": "agreement", "figures": "figures",
    "batteries.<battery>.metrics": "faithfulness", "batteries.<battery>.imputers": "imputers", "bundles.<bundle>.methods": "methods",
}  # fmt: skip


def schema() -> str:
    """The JSON schema of a study, with the names that exist."""
    found = Study.model_json_schema()
    found["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    found["title"] = "GradFaith study"
    for key in ("localization", "composite", "agreement", "figures"):
        found["properties"][key] = _named(registry.names(key), found["properties"][key])
    methods = found["$defs"]["Bundle"]["properties"]
    methods["methods"] = _named(registry.names("methods"), methods["methods"])
    battery = found["$defs"]["Battery"]["properties"]
    battery["metrics"] = _named(registry.names("faithfulness"), battery["metrics"])
    battery["imputers"] = _named(registry.names("imputers"), battery["imputers"])
    return json.dumps(found, indent=2) + "\n"


def keys() -> str:
    """Every key of a study and of a dataset, and every name with its options, as Markdown."""
    lines = ["### Keys of a study", "", "| key | default | what it says |", "|---|---|---|"]
    lines += [f"| `{path}` | {default} | {words} |" for path, default, words in _fields(Study, "")]
    lines += [
        "",
        "### Keys of a dataset (`config/datasets/<name>.yaml`)",
        "",
        "| key | default | what it says |",
        "|---|---|---|",
    ]
    lines += [f"| `{path}` | {default} | {words} |" for path, default, words in _fields(Dataset, "") if path != "name"]
    lines += ["", "### Options of the readers", ""]
    for name in registry.names("readers"):
        model = registry.load("readers", name).Options
        lines += [
            f"**`{name}`**: {registry.entry('readers', name).summary}",
            "",
            "| option | default | what it says |",
            "|---|---|---|",
        ]
        lines += [f"| `{path}` | {default} | {words} |" for path, default, words in _fields(model, "")] + [""]
    lines += ["### Names", "", "| where | name | what it is | options |", "|---|---|---|---|"]
    for where, room in PLACES.items():
        lines += [_name_line(where, entry) for entry in registry.entries(room).values()]
    lines += [_name_line("in every study", entry) for entry in registry.entries("controls").values()]
    return "\n".join(lines) + "\n"


def readme(text: str) -> str:
    """config/README.md with its generated part made new."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{keys()}\n{END}{after}"


def methods() -> str:
    """docs/methods.md: every method and control, as `gradfaith methods --markdown` prints them."""
    return f"{METHODS_HEAD}\n{methods_reference.methods_markdown({})}"


def metrics() -> str:
    """docs/metrics.md: every metric, family by family."""
    return f"{METRICS_HEAD}\n{methods_reference.metrics_markdown()}"


def write(root: Path) -> None:
    write_text(root / SCHEMA, schema())
    write_text(root / README, readme((root / README).read_text(encoding="utf-8")))
    write_text(root / METHODS, methods())
    write_text(root / METRICS, metrics())


def _fields(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        default = "**needed**" if field.is_required() else f"`{_plain(field.get_default(call_default_factory=True))}`"
        inner, holder = _inner(field.annotation)
        yield path, "" if inner is not None and not field.is_required() else default, field.description or ""
        if inner is not None:
            yield from _fields(inner, f"{path}.{f'<{SINGULAR[name]}>.' if holder else ''}")


def _inner(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The model inside an annotation, and whether it stands under labels. A named use is told by the table of names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (None, False) if annotation.__name__ in {"Uses", "MethodUse"} else (annotation, False)
    parts = [part for part in getattr(annotation, "__args__", ()) if part is not type(None)]
    for part in parts:
        found, _ = _inner(part)
        if found is not None:
            return found, getattr(annotation, "__origin__", None) is dict
    return None, False


def _plain(value: Any) -> str:
    if value is PydanticUndefined or value is None:
        return "empty"
    return json.dumps(value.model_dump() if isinstance(value, BaseModel) else value)


def _name_line(where: str, entry: registry.Entry) -> str:
    return f"| {where} | `{entry.name}` | {entry.summary} | {methods_reference.options(entry)} |"


def _named(names: tuple[str, ...], mapping: dict[str, Any]) -> dict[str, Any]:
    """A list of known names, or the mapping that pydantic describes."""
    listed = {"type": "array", "items": {"enum": list(names)}}
    kept: dict[str, Any] = {key: mapping[key] for key in ("description", "default") if key in mapping}
    return kept | {"anyOf": [listed, {key: value for key, value in mapping.items() if key not in kept}]}
