"""Code that a study names runs only with the permission of the person at the shell."""

import sys
from pathlib import Path

import pytest

from gradfaith.dag.code_digest import digest_own_code
from gradfaith.errors import CodeNotTrusted, ModelUnusable
from gradfaith.runtime import own_code


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder with a package whose import leaves a trace."""
    package = tmp_path / "hospital_nets"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "small.py").write_text('open("imported", "w").close()\n\n\ndef build():\n    return 1\n\n\nVALUE = 3\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("hospital_nets", "hospital_nets.small"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delenv("GRADFAITH_TRUST_CODE", raising=False)
    return tmp_path


def test_without_permission_nothing_is_imported(folder: Path) -> None:
    for ask in (own_code.load, own_code.find_file, digest_own_code):
        with pytest.raises(CodeNotTrusted, match=r"hospital_nets\.small:build"):
            ask("hospital_nets.small:build")
    assert not (folder / "imported").exists()


def test_a_file_cannot_give_the_permission(folder: Path) -> None:
    config = {"study": "x", "trust_code": 1}
    own_code.take_permission(config, {})
    assert "trust_code" in config  # the study refuses it as an unknown key
    with pytest.raises(CodeNotTrusted):
        own_code.load("hospital_nets.small:build")


@pytest.mark.parametrize("value", [0, "no", "false", ""])
def test_a_no_on_the_command_line_is_a_no(folder: Path, value: object) -> None:
    config = {"trust_code": value}
    own_code.take_permission(config, {"trust_code": value})
    assert config == {}
    with pytest.raises(CodeNotTrusted):
        own_code.load("hospital_nets.small:build")


def test_with_permission_the_file_is_found_without_an_import_and_loaded_with_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADFAITH_TRUST_CODE", "")  # so that it is restored
    config = {"study": "x", "trust_code": "1"}
    own_code.take_permission(config, {"trust_code": "1"})
    assert config == {"study": "x"}
    assert own_code.find_file("hospital_nets.small:build") == folder / "hospital_nets/small.py"
    assert not (folder / "imported").exists()
    assert own_code.load("hospital_nets.small:build")() == 1
    assert (folder / "imported").exists()


def test_the_digest_follows_the_code_and_not_its_comments(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADFAITH_TRUST_CODE", "1")
    file = folder / "hospital_nets/small.py"
    text, digest = file.read_text(), digest_own_code("hospital_nets.small:build")

    def digest_of(new: str) -> str:
        from gradfaith.dag import code_digest

        file.write_text(new)
        code_digest._source.cache_clear()
        return digest_own_code("hospital_nets.small:build")

    assert digest_of("# a comment\n" + text) == digest
    assert digest_of(text.replace("return 1", "return 2")) != digest
    assert digest_own_code("") == ""


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("hospital_nets", "form package.module:callable"),
        ("../x:build", "form package.module:callable"),
        ("hospital_nets.tall:build", 'no module "hospital_nets.tall"'),
        ("hospital_nets.small:make", "AttributeError"),
        ("hospital_nets.small:VALUE", "is a int, which cannot be called"),
    ],
)
def test_what_cannot_be_loaded_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str) -> None:
    monkeypatch.setenv("GRADFAITH_TRUST_CODE", "1")
    with pytest.raises(ModelUnusable) as error:
        own_code.find_file(code)
        own_code.load(code)
    assert said in error.value.problem
