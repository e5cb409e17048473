"""The pages of the site show what exists: included files, complete studies, the command of the container."""

import html
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gradfaith import registry
from gradfaith.dag.plan import Plan

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


def pages(root: Path) -> list[Path]:
    return sorted((root / "docs").glob("*.md"))


def test_an_include_is_written_as_one(root: Path) -> None:
    """Tidied as Python, it would be shown and not followed."""
    found = [
        (page.name, line)
        for page in pages(root)
        for line in page.read_text().splitlines()
        if re.match(r"\s*--\s*8", line)
    ]
    assert ("extend.md", '--8<-- "workflow/gradfaith/attribution/methods/hirescam.py"') in found
    for page, line in found:
        named = re.fullmatch(r'--8<-- "(.+)"', line)
        assert named, f"{page}: {line}"
        assert (root / named[1]).is_file()


def test_the_page_holds_the_text_of_the_file_it_includes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    markdown = pytest.importorskip("markdown", reason="`make docs` installs what builds the site")
    pytest.importorskip("pymdownx", reason="`make docs` installs what builds the site")
    monkeypatch.chdir(root)
    names, options = list[str](), dict[str, Any]()
    for one in yaml.safe_load((root / "mkdocs.yml").read_text())["markdown_extensions"]:
        names.extend(one if isinstance(one, dict) else [one])
        options.update(one if isinstance(one, dict) else {})
    built = markdown.markdown((root / "docs/extend.md").read_text(), extensions=names, extension_configs=options)
    assert (root / "workflow/gradfaith/attribution/methods/hirescam.py").read_text() in html.unescape(
        re.sub(r"<[^>]+>", "", built)
    )


def test_every_group_of_plugins_is_on_the_page_on_extending(root: Path) -> None:
    text = (root / "docs/extend.md").read_text()
    for group in registry.PLUGIN_GROUPS.values():
        assert f"`{group.folder}/`" in text, group.folder


def test_the_studies_on_the_pages_about_one_s_own_data_and_models_are_valid(root: Path, tmp_path: Path) -> None:
    read = "".join((root / f"docs/{page}.md").read_text() for page in ("your-data", "foreign-models"))
    texts = [text for kind, text in FENCE.findall(read) if kind == "yaml" and text.startswith("# config/")]
    files = {tmp_path / text.splitlines()[0].removeprefix("# "): text for text in texts}
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    studies = [path for path in files if path.parent.name == "studies"]
    assert [path.name for path in studies] == ["mine.yaml", "own.yaml", "outside.yaml"]
    for path in studies[:2]:  # the third one needs a finished study
        assert Plan.read(yaml.safe_load(path.read_text()), tmp_path, str(path)).study.study == path.stem


def test_the_container_s_command_is_the_code_of_the_folder_one_stands_in(root: Path, tmp_path: Path) -> None:
    post = (root / "envs/apptainer.def").read_text().split("%post\n")[1].split("\n%")[0]
    lines = [line.strip() for line in post.splitlines() if "/usr/local/bin/gradfaith" in line]
    command = tmp_path / "gradfaith"
    script = "\n".join(lines).replace("/usr/local/bin/gradfaith", str(command))
    subprocess.run(["sh", "-e", "-c", script], check=True)
    folder = tmp_path / "here/workflow/gradfaith/cli"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("")
    (folder / "__init__.py").write_text("")
    (folder / "main.py").write_text("import sys\nprint(sys.argv[1:])\n")
    done = subprocess.run([command, "doctor", "a b"], cwd=tmp_path / "here", capture_output=True, text=True, check=True)
    assert done.stdout == "['doctor', 'a b']\n"
