"""The container's command."""

import json
import os
import sys

import pytest
from click.testing import CliRunner

from tunefork.base.errors import BadInput, MissingTool
from tunefork.base.layout import Layout
from tunefork.cli.container import container as command
from tunefork.develop.gfx950 import container as containers
from tunefork.develop.gfx950.container import GUIDE, engine, image_of, required_engine
from tunefork.patchset.sources import pins

IMAGE = GUIDE


def container(root, cache, image=IMAGE, **how):
    return containers.container(root, cache, image=image, **how)


def test_the_command_of_the_guide(tmp_path):
    found = container(tmp_path / "project", tmp_path / "cache", environment={"HOME": "/home/me", "HF_TOKEN": "secret"}).argv
    assert found[:4] == ["docker", "run", "--rm", "-it"]
    for word in (
        "--ipc=host", "--shm-size=16g", "--network=host", "--privileged", "--cap-add=CAP_SYS_ADMIN", "--device=/dev/kfd",
        "--device=/dev/dri", "--device=/dev/mem", "--cap-add=SYS_PTRACE", "seccomp=unconfined",
        f"{tmp_path / 'project'}:/workspace", "/home/me/.cache/huggingface:/root/.cache/huggingface",
        f"{tmp_path / 'cache'}:/root/.cache/tunefork",
    ):  # fmt: skip
        assert word in found
    assert found[found.index("seccomp=unconfined") - 1] == "--security-opt"
    assert found[-4:] == ["-w", "/workspace", IMAGE, "bash"]


def test_the_token_is_passed_by_name_only(tmp_path):
    found = container(tmp_path, tmp_path, environment={"HOME": "/", "HF_TOKEN": "secret"}).argv
    assert found[found.index("HF_TOKEN") - 1] == "-e"
    assert not any("secret" in word for word in found)


def test_weights_and_mounts(tmp_path):
    (tmp_path / "models").mkdir()
    environment = {"HOME": "/", "HF_HOME": "/data/hf"}
    found = container(tmp_path, tmp_path, mounts=[f"{tmp_path}/models:/models"], environment=environment)
    assert f"{tmp_path}/models:/models" in found.argv
    assert "/data/hf:/root/.cache/huggingface" in found.argv
    replaced = container(tmp_path, tmp_path, mounts=[f"{tmp_path}/models:/root/.cache/huggingface"], environment=environment)
    assert [inside for _, inside in replaced.mounts].count("/root/.cache/huggingface") == 1


@pytest.mark.parametrize("mount", ["/tmp", ":/x", "/tmp:relative", "/no/such/folder:/x"])
def test_a_mount_that_is_none(tmp_path, mount):
    with pytest.raises(BadInput):
        container(tmp_path, tmp_path, mounts=[mount])


def test_engines(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert engine() is None
    with pytest.raises(MissingTool, match="neither docker nor podman is installed here"):
        required_engine()
    with pytest.raises(MissingTool, match="podman is not installed here"):
        required_engine("podman")
    (tmp_path / "podman").write_text("#!/bin/sh\n")
    (tmp_path / "podman").chmod(0o755)
    assert engine() == "podman"
    with pytest.raises(BadInput):
        engine("lxc")


def test_run_replaces_this_process_by_the_engine(tmp_path, monkeypatch):
    (tmp_path / "docker").write_text("#!/bin/sh\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    ran = []
    monkeypatch.setattr(os, "execvp", lambda program, argv: (ran.append((program, argv)), sys.exit(0)))
    CliRunner().invoke(command, ["--run", "--", "python3", "build.py", "develop", "--target", "gfx950"])
    ((program, argv),) = ran
    assert program == "docker"
    assert argv[-6:] == [image_of(pins.load(Layout.here())["vllm"].tag), "python3", "build.py", "develop", "--target", "gfx950"]
    assert "-it" not in argv


def test_json_and_settings(monkeypatch, tmp_path):
    monkeypatch.setenv("TUNEFORK_IMAGE", "other:1")
    monkeypatch.setenv("TUNEFORK_MOUNTS", f"{tmp_path}:/a {tmp_path}:/b")
    printed = json.loads(CliRunner().invoke(command, ["--json"]).output)
    assert printed["image"] == "other:1"
    assert {f"{tmp_path}:/a", f"{tmp_path}:/b"} <= set(printed["argv"])


def test_the_image_is_of_the_pin_and_starts_no_server(tmp_path):
    tag = pins.load(Layout.here())["vllm"].tag
    words = json.loads(CliRunner().invoke(command, ["--json"], catch_exceptions=False).stdout)
    assert words["image"] == image_of(tag) == f"vllm/vllm-openai-rocm:{tag}"
    assert words["argv"][words["argv"].index("--entrypoint") + 1] == "", "its own entry point is `vllm serve`"
    assert words["argv"][-2:] == [words["image"], "bash"]


def test_the_guides_image_stays_an_option():
    words = json.loads(CliRunner().invoke(command, ["--image", "guide", "--json"], catch_exceptions=False).stdout)
    assert words["image"] == GUIDE and "--entrypoint" not in words["argv"]
