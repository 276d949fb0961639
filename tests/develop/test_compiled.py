"""The record of a checkout's compiled files: there only while every file is as it was placed."""

import pytest

from tunefork.develop import compiled, store


def artefact(workshop, digest, **files):
    def fill(folder):
        for name, text in files.items():
            (folder / f"{name}.so").write_text(text)

    return store.add(workshop.layout, digest * 64, fill)


def test_a_placed_artefact_is_known_until_a_file_of_it_changes(workshop):
    assert compiled.digest_in(workshop.vllm) is None
    compiled.place(artefact(workshop, "a", one="1", two="2"), workshop.vllm)
    assert compiled.digest_in(workshop.vllm) == "a" * 64
    assert compiled.files_of(workshop.vllm) == ["one.so", "two.so"]
    (workshop.vllm / "two.so").write_text("3")
    assert compiled.digest_in(workshop.vllm) is None


def test_an_interrupted_placing_is_known_as_nothing(workshop, monkeypatch):
    compiled.place(artefact(workshop, "a", one="1"), workshop.vllm)
    second = artefact(workshop, "b", two="2")
    monkeypatch.setattr(store, "place", lambda *_args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        compiled.place(second, workshop.vllm)
    assert compiled.digest_in(workshop.vllm) is None


def test_a_damaged_record_is_no_record(workshop):
    compiled.place(artefact(workshop, "a", one="1"), workshop.vllm)
    for damage in ("", "[]", '{"digest": "a"}', '{"digest": "a", "files": []}'):
        (workshop.vllm / compiled.RECORD).write_text(damage)
        assert compiled.digest_in(workshop.vllm) is None
        assert compiled.files_of(workshop.vllm) == []


def test_what_a_build_left_is_what_git_ignores(workshop):
    package = workshop.vllm / "vllm"
    (package / "_C.abi3.so").write_text("built")
    (package / "_version.py").write_text("")
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "x.pyc").write_text("")
    (package / "new.py").write_text("mine")
    assert compiled.built_files(workshop.vllm, "vllm") == ["vllm/_C.abi3.so"]
    compiled.keep(workshop.layout, workshop.vllm, "vllm", "k" * 64)
    assert store.find(workshop.layout, "k" * 64).files.keys() == {"vllm/_C.abi3.so"}
    assert compiled.digest_in(workshop.vllm) == "k" * 64
