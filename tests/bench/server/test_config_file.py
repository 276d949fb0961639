"""vLLM drops `enable_prefix_caching: false` from a YAML file and says nothing; we say it, with the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunefork.base.errors import BadInput
from tunefork.bench.server.prepare import check_extra


@pytest.mark.parametrize("line", ["enable_prefix_caching: false", "enable_prefix_caching:   False  # off", "'enable_prefix_caching': no", "enable_prefix_caching: OFF"])
@pytest.mark.parametrize("joined", [True, False])
def test_an_underscored_false_is_refused_with_its_line(line: str, joined: bool, tmp_path: Path) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text(f"max-num-seqs: 4\n# a comment\n{line}\n")
    with pytest.raises(BadInput, match=r"serve\.yaml:3: vLLM drops") as error:
        check_extra([f"--config={file}"] if joined else ["--config", str(file)])
    assert error.value.remedy.startswith("write enable-prefix-caching: ")


@pytest.mark.parametrize("line", ["enable-prefix-caching: false", "enable_prefix_caching: true", "max_num_seqs: 4", "#enable_prefix_caching: false",
                                  "compilation-config:\n  use_inductor: false", "served_model_name: 'no'"])
def test_what_vllm_reads_is_left_alone(line: str, tmp_path: Path) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text(line + "\n")
    check_extra(["--config", str(file)])
    check_extra(["--config", str(tmp_path / "none.yaml")])
    check_extra(["--config"])


@pytest.mark.slow
def test_it_is_what_the_installed_vllm_does(tmp_path: Path) -> None:
    """The loader of the vLLM installed here: the underscored line gives no word, the dashed one does."""
    pytest.importorskip("vllm", reason="NOT TESTED: needs vLLM's dependencies (`python3 build.py develop`)")
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = FlexibleArgumentParser()
    parser.add_argument("--enable-prefix-caching", "--no-enable-prefix-caching", dest="on")
    words = []
    for name in ("enable_prefix_caching", "enable-prefix-caching"):
        (tmp_path / "serve.yaml").write_text(f"{name}: false\n")
        words.append(parser.load_config_file(str(tmp_path / "serve.yaml")))
    assert words == [[], ["--no-enable-prefix-caching"]]
