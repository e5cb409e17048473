"""Generate the JSON schemas of a study and of a verdict, and the reference pages: keys, methods, metrics, commands.

`gradfaith schema` writes these files. A test fails when they differ from what the code declares.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticUndefined

from gradfaith import registry
from gradfaith.cli.reference import plugin_tables
from gradfaith.config import tabular
from gradfaith.config.claims import ClaimPart, DeclaredClaim
from gradfaith.config.dataset import Dataset
from gradfaith.config.options import options_model
from gradfaith.config.study import Battery, Bundle, MethodUse, PluginUse, Study
from gradfaith.reporting.escaping import markdown
from gradfaith.stats.verdict import StudyVerdict
from gradfaith.storage import json_file
from gradfaith.storage.atomic import write_text
from gradfaith.storage.identity import VERDICT_FORMAT
from gradfaith.vocabulary import TABLE

SCHEMA = Path("workflow/schemas/study.schema.json")
TABLE_SCHEMA = Path("workflow/schemas/table_study.schema.json")
VERDICT_SCHEMA = Path("workflow/schemas/verdict.schema.json")
KEYS = Path("docs/keys.md")
METHODS = Path("docs/methods.md")
METRICS = Path("docs/metrics.md")
COMMANDS = Path("docs/commands.md")
SINGULAR = {"architectures": "architecture", "bundles": "bundle", "batteries": "battery", "claims": "claim"}
KEYS_HEAD = """# Keys of a study

`gradfaith schema` writes this page from the models in `workflow/gradfaith/config/` and from what the plug-ins
declare. [How a study is put together](study.md) explains the sections. Unknown keys are rejected, so that
typing errors cannot change results.
"""
METHODS_HEAD = """---
hide: [toc]
---

# Methods

`gradfaith schema` writes this page from what every file in `workflow/gradfaith/attribution/methods/`
declares. `gradfaith methods` prints the same. `gradfaith methods --arch resnet50` or `--study S` shows for
which networks each method is defined and, if it is not, why. Formulas and differences from the papers are at
the head of each file. The papers are in `resources/references.bib`.
"""
METRICS_HEAD = """---
hide: [toc]
---

# Metrics

`gradfaith schema` writes this page from what every file in `workflow/gradfaith/metrics/` declares. Formulas
and notes on reading are at the head of each file. Options are in [Keys of a study](keys.md#names).

- *Map of*: whether the metric uses the map of the predicted or of the true class.
- *By chance*: the mean value for a map of independent random pixels, if a formula for it is known.
- *Unchanged by*: what can be done to a map without changing the value. *A factor*: all its values are
  multiplied by one positive number. *Any increasing change*: only the order of its values stays. *Mirroring
  all*: map, image and evidence are mirrored together. Tests check every entry.
- *Forwards*: forward passes of the network for one map and one imputer (what replaces removed pixels), if the
  metric is computed alone. Metrics in one battery (a group of metrics in the study) share forward passes. *Of
  the method*: the method also makes new maps. *Made of*: the metric is computed from the scores of other
  metrics and needs no pass.
- *Fooled by*: controls that get a good value although they do not use the model.
- Names that end in `_literature` or `_pgc` are metrics as a paper, its code or the package grad-cam (`_pgc`)
  computes them, for comparison with published numbers.
"""
COMMANDS_HEAD = """# Commands

`gradfaith schema` writes this page. `gradfaith COMMAND --help` prints the same. A command runs in the
folder of the project, the one with the `Snakefile`.
"""
TABLES_NOTE = "A file with the key `table:` is such a study; [Tables](tabular.md) explains it."
PLUGIN_KEYS = {
    "localization": "localization", "composite": "composite", "agreement": "agreement", "figures": "figures",
    "batteries.<battery>.metrics": "faithfulness", "batteries.<battery>.imputers": "imputers", "bundles.<bundle>.methods": "methods",
}  # fmt: skip


def study_schema() -> str:
    """Return the JSON schema of a study, with the names of methods, metrics, imputers and figures that exist."""
    schema = Study.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "GradFaith study"
    for key in ("localization", "composite", "agreement", "figures"):
        schema["properties"][key] = _names_or_mapping(registry.names(key), schema["properties"][key])
    methods = schema["$defs"][Bundle.__name__]["properties"]
    methods["methods"] = _names_or_mapping(registry.names("methods"), methods["methods"])
    battery = schema["$defs"][Battery.__name__]["properties"]
    battery["metrics"] = _names_or_mapping(registry.names("faithfulness"), battery["metrics"])
    battery["imputers"] = _names_or_mapping(registry.names("imputers"), battery["imputers"])
    schema["properties"]["claims"] = _claims_schema(schema["$defs"], schema["properties"]["claims"])
    return json.dumps(schema, indent=2) + "\n"


def table_study_schema() -> str:
    """Return the JSON schema of a study of tables."""
    schema = tabular.TabularStudy.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "GradFaith study of tables"
    for key, group in tabular.PLUGIN_KEYS.items():
        schema["properties"][key] = _names_or_mapping(registry.names(group), schema["properties"][key])
    return json.dumps(schema, indent=2) + "\n"


def _claims_schema(models: dict[str, Any], mapping: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of `claims`: names, a path, or a mapping; the keys of a single part may stand in the claim itself."""
    claim, part = models[DeclaredClaim.__name__], models[ClaimPart.__name__]
    claim["properties"] |= part["properties"]
    claim["required"] = ["says"]
    del part["required"]
    one = {"anyOf": [{"$ref": f"#/$defs/{DeclaredClaim.__name__}"}, {"type": "null"}]}
    names = {"type": "array", "items": {"type": "string"}}
    kinds = [names, {"type": "string"}, {"type": "object", "additionalProperties": one}]
    return {"description": mapping["description"], "anyOf": kinds}


def verdict_schema() -> str:
    """Return the JSON schema of verdict.json."""
    schema = TypeAdapter(StudyVerdict).json_schema(mode="serialization")
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "GradFaith verdict"
    schema["properties"] |= {
        json_file.FORMAT_KEY: {"const": VERDICT_FORMAT},
        json_file.IDENTITY_KEY: {"type": "object"},
        json_file.DIGEST_KEY: {"type": "string"},
    }
    schema["required"] += [json_file.FORMAT_KEY, json_file.IDENTITY_KEY, json_file.DIGEST_KEY]
    return json.dumps(schema, indent=2) + "\n"


def keys_page() -> str:
    """Return docs/keys.md: every key of a study and of a dataset, and every plug-in with its options."""
    lines = [
        KEYS_HEAD,
        "## Study",
        "",
        "The file is `config/studies/<name>.yaml`.",
        "",
        "| key | default | meaning |",
        "|---|---|---|",
    ]
    lines += _field_rows(Study)
    lines += [
        "",
        "## Dataset",
        "",
        "The file is `config/datasets/<name>.yaml`.",
        "",
        "| key | default | meaning |",
        "|---|---|---|",
    ]
    lines += _field_rows(Dataset, left_out="name")
    lines += ["", "## Options of the readers", ""]
    for name in registry.names("readers"):
        model = options_model("readers", name)
        lines += [
            f"### `{name}`",
            "",
            registry.entry("readers", name).summary,
            "",
            "| option | default | meaning |",
            "|---|---|---|",
        ]
        lines += [*_field_rows(model), ""]
    lines += ["## Names"]
    for where, group in PLUGIN_KEYS.items():
        lines += _plugin_table(markdown(where, code=True), group)
    lines += _plugin_table("Controls, in every study", "controls")
    lines += ["", "## Study of tables", "", TABLES_NOTE, "", "| key | default | meaning |", "|---|---|---|"]
    lines += _field_rows(tabular.TabularStudy)
    for group, place in registry.PLUGIN_GROUPS.items():
        if group.startswith(f"{TABLE}_"):
            lines += _plugin_table(f"{place.singular.capitalize()}", group)
    return "\n".join(lines) + "\n"


def methods_page() -> str:
    """Return docs/methods.md: every method and control, as `gradfaith methods --markdown` prints them."""
    return f"{METHODS_HEAD}\n{plugin_tables.methods_markdown({})}"


def metrics_page() -> str:
    """Return docs/metrics.md: every metric, family by family."""
    return f"{METRICS_HEAD}\n{plugin_tables.metrics_markdown()}"


def commands_page() -> str:
    """Return docs/commands.md: every command with its arguments."""
    lines = [COMMANDS_HEAD]
    for name, entry in registry.entries("commands").items():
        summary = entry.declared["summary"]
        parser = argparse.ArgumentParser(add_help=False)
        registry.load("commands", name).add_arguments(parser)
        lines += [f"## gradfaith {name}", "", markdown(f"{summary[0].upper()}{summary[1:]}."), ""]
        rows = [_argument_cells(action) for action in parser._actions]
        if rows:
            lines += ["| argument | meaning |", "|---|---|", *map(plugin_tables.markdown_row, rows), ""]
        if parser.epilog:
            lines += [f"{parser.epilog}.", ""]
    return "\n".join(lines).rstrip() + "\n"


def _argument_cells(action: argparse.Action) -> tuple[str, str]:
    """Return an argument as a person types it, and its help with the choices that it has."""
    value = str(action.metavar or action.dest).upper() if action.nargs != 0 else ""
    typed = f"{', '.join(action.option_strings)} {value}".strip() if action.option_strings else f"{action.dest.upper()}"
    if action.nargs == "+":
        typed += " ..."
    choices = f"one of {', '.join(str(choice) for choice in action.choices if choice)}" if action.choices else ""
    required = "required" if action.required and action.option_strings else ""
    words = "; ".join(text for text in (required, action.help, choices) if text).split(" ")
    return markdown(typed, code=True), " ".join(markdown(word, code="<" in word) for word in words)


def write_all(root: Path) -> None:
    """Write all generated files under the checkout `root`."""
    write_text(root / SCHEMA, study_schema())
    write_text(root / TABLE_SCHEMA, table_study_schema())
    write_text(root / VERDICT_SCHEMA, verdict_schema())
    write_text(root / KEYS, keys_page())
    write_text(root / METHODS, methods_page())
    write_text(root / METRICS, metrics_page())
    write_text(root / COMMANDS, commands_page())


def _field_rows(model: type[BaseModel], left_out: str = "") -> list[str]:
    """Return a row per field; its description is Markdown."""
    fields = [field for field in _list_fields(model, "") if field[0] != left_out]
    return [plugin_tables.markdown_row((markdown(path, code=True), default, words)) for path, default, words in fields]


def _list_fields(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        default = (
            "**required**" if field.is_required() else _format_default(field.get_default(call_default_factory=True))
        )
        inner, holder = _inner_models(field.annotation)
        yield path, "" if inner and not field.is_required() else default, field.description or ""
        for one in inner:
            yield from _list_fields(one, f"{path}.{f'<{SINGULAR[name]}>.' if holder else ''}")


def _inner_models(annotation: Any) -> tuple[list[type[BaseModel]], bool]:
    """Return the pydantic models inside an annotation, and whether they are a mapping's values; none for a named plug-in."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return ([], False) if annotation in (PluginUse, MethodUse) else ([annotation], False)
    parts = [part for part in getattr(annotation, "__args__", ()) if part is not type(None)]
    found = [inner for part in parts for inner in _inner_models(part)[0]]
    return found, bool(found) and getattr(annotation, "__origin__", None) is dict


def _format_default(value: Any) -> str:
    if value is PydanticUndefined or value is None:
        return markdown("empty", code=True)
    return markdown(json.dumps(value.model_dump() if isinstance(value, BaseModel) else value), code=True)


def _plugin_table(heading: str, group: str) -> list[str]:
    """Return a heading and a table of the plug-ins of a group, with their options and limits."""
    rows = [
        (markdown(name, code=True), markdown(entry.summary), plugin_tables.format_options(entry, code=True))
        for name, entry in registry.entries(group).items()
    ]
    head = ["", f"### {heading}", "", "| name | what it is | options |", "|---|---|---|"]
    return [*head, *map(plugin_tables.markdown_row, rows)]


def _names_or_mapping(names: tuple[str, ...], mapping: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a list of known names, or of the mapping that pydantic describes."""
    listed = {"type": "array", "items": {"enum": list(names)}}
    kept: dict[str, Any] = {key: mapping[key] for key in ("description", "default") if key in mapping}
    return kept | {"anyOf": [listed, {key: value for key, value in mapping.items() if key not in kept}]}
