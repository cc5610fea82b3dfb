"""The command line, as its users and their scripts use it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as parquet
import pytest
import rich
from conftest import paint
from PIL import Image
from typer.testing import CliRunner

from lit_buckets import ConfigError, load_config
from lit_buckets.cli import app

COMMANDS = ["init", "scan", "plan", "report", "show", "diff", "export", "bench"]


def invoke(*arguments: object, **environment: str):
    env = {"COLUMNS": "200", "TERM": "dumb"} | environment
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env=env)


def done(*arguments: object, code: int = 0) -> str:
    """What a command prints, if it ends with the code that it should."""
    result = invoke(*arguments)
    assert result.exit_code == code, result.output + result.stderr
    assert result.stderr == ""
    return result.stdout


def process(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lit_buckets", *map(str, arguments)]
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "TERM")}
    return subprocess.run(command, env=kept | environment, capture_output=True, text=True)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """A working directory of its own, and output as wide as it wants to be."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rich.get_console(), "_width", 200)
    return tmp_path


@pytest.fixture
def config(images, here) -> Path:
    (here / "config.yaml").write_text(
        f"data: {{train: {images}}}\n"
        "buckets: {max_area: 4096, divisor: 16}\n"
        "batches: {batch_size: 4}\n"
        "loader: {num_workers: 0}\n"
    )
    return Path("config.yaml")


# -- help -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    text = done(command, "--help")
    assert "Usage:" in text
    assert command in done("--help")
    assert done(command, "-h") == text


def test_without_a_command_there_is_help():
    assert done() == done("--help")
    assert "Exit codes: 0 done" in done()


def test_version():
    assert re.fullmatch(r"lit_buckets \d+\.\d+.*\n", done("--version"))


def test_help_does_not_wait_for_torch():
    code = (
        "import sys; from lit_buckets.cli import app\n"
        "app(['--help'], standalone_mode=False)\n"
        "app(['plan', '--help'], standalone_mode=False)\n"
        "print({'torch', 'lightning', 'torchvision'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout.splitlines()[-1] == "set()", ran.stderr


def test_the_shell_completes_commands_and_keys():
    def complete(words: str) -> list[str]:
        ran = process(
            _LIT_BUCKETS_COMPLETE="complete_bash",
            COMP_WORDS=f"lit-buckets {words}",
            COMP_CWORD=str(len(words.split())),
        )
        return ran.stdout.split()

    assert {"show", "scan"} <= set(complete("s"))
    assert complete("plan config.yaml batches.se") == ["batches.seed="]


# -- from a folder to a plan ----------------------------------------------------------------------


def test_init_writes_what_loads_and_plans(images, here):
    assert "lit-buckets plan config.yaml" in done("init", images)
    text = Path("config.yaml").read_text()
    assert "Found: 45 images, 0 of them with captions." in text
    assert load_config("config.yaml").data.train[0].captions is None
    assert "45" in done("plan", "config.yaml")


def test_init_replaces_nothing_unless_told(images, here):
    Path("mine.yaml").write_text("precious")
    result = invoke("init", images, "-o", "mine.yaml")
    assert result.exit_code == 2
    assert "'mine.yaml' is there already" in result.stderr
    assert Path("mine.yaml").read_text() == "precious"
    done("init", images, "-o", "mine.yaml", "--force")
    assert load_config("mine.yaml").batches.batch_size == 8


def test_scan_counts_and_names_what_cannot_be_read(here):
    folder = paint(here / "images", 12)
    (folder / "[bold]rotten.png").write_bytes(b"no image")
    text = done("scan", folder, "data.val=0.25")
    assert re.search(r"train\s*│\s*9\s*│\s*1\s*│", text)
    assert re.search(r"val\s*│\s*3\s*│\s*0\s*│", text)
    assert "[bold]rotten.png: " in text
    result = invoke("scan", folder, "data.on_unreadable=error")
    assert result.exit_code == 1


def test_plan_tells_what_an_epoch_takes(config):
    text = done("plan", config, "--ranks", 2)
    assert "train: 45 images" in text
    assert "45 samples in" in text
    assert "on 2 ranks" in text
    one = json.loads(done("plan", config, "--json"))["train"]
    two = json.loads(done("plan", config, "--json", "--ranks", "2"))["train"]
    assert one["images"] == one["samples"] == 45
    assert one["epoch"]["ranks"] == 1
    assert two["epoch"]["rounds"] < one["epoch"]["rounds"]
    assert sum(bucket["images"] for bucket in one["buckets"]) == 45


def test_overrides_follow_the_configuration(config, images):
    square = json.loads(done("plan", config, "buckets.max_buckets=1", "--json"))
    assert len(square["train"]["buckets"]) == 1
    folder = json.loads(done("plan", images, "buckets.max_area=4096", "--json"))
    assert folder["train"]["images"] == 45


def test_a_plan_and_its_rows_are_kept(config):
    done("plan", config, "--save", "plan.arrow", "--rows", "new/rows.parquet", "--json")
    assert len(parquet.read_table("new/rows.parquet")) == 45
    pinned = done("plan", config, "buckets.plan=plan.arrow", "--json")
    assert (
        json.loads(pinned)["train"]["hash"]
        == json.loads(done("plan", config, "--json"))["train"]["hash"]
    )


# -- looking --------------------------------------------------------------------------------------


def test_the_report_is_a_page(config):
    assert "look.html is written" in done("report", config, "-o", "look.html", "--ranks", 4)
    assert Path("look.html").read_text().startswith("<!doctype html>")


def test_show_draws_batches(config):
    printed = done("show", config, "--batches", 2, "-o", "pages", "--epoch", 3).split()
    assert printed == [f"pages/train-epoch3-batch000{n}.png" for n in (1, 2)]
    for file in printed:
        with Image.open(file) as page:
            page.load()


def test_diff_names_images_and_tells_by_its_code(config, here):
    folder = paint(here / "images", 12)
    for name, override in (("a", "seed=1"), ("b", "seed=2")):
        done("plan", folder, f"batches.{override}", "--save", f"{name}.arrow", "--json")
    assert "The plans are the same." in done("diff", "a.arrow", "b.arrow")
    # one more in front moves all others by a row, and is the only difference
    (folder / "aaa.png").write_bytes((folder / "image_0003.png").read_bytes())
    done("plan", folder, "--save", "c.arrow", "--json")
    text = done("diff", "a.arrow", "c.arrow", code=1)
    assert re.search(r"aaa\.png\s*│ added", text)
    assert "1 differences" in text
    done("plan", folder, "buckets.max_area=4096", "--save", "d.arrow", "--json")
    assert "13 differences" in done("diff", "c.arrow", "d.arrow", code=1)


# -- using ----------------------------------------------------------------------------------------


def test_export_says_what_it_did_and_what_to_do(here):
    folder = paint(here / "images", 6)
    (folder / "rotten.png").write_bytes(b"no image")
    command = ("export", folder, "out", "buckets.max_area=4096", "batches.batch_size=1")
    text = done(*command, "--workers", 0, "--format", "webp", "--quality", 80)
    assert "6 images written, 0 were there already." in text
    assert re.search(r"left out: .*rotten\.png: ", text)
    assert "out/config.yaml" in text
    assert len(list(Path("out/train").glob("*.webp"))) == 6
    again = done(*command, "--workers", 0, "--format", "webp", "--quality", 80)
    assert "0 images written, 6 were there already." in again
    assert "6 samples in" in done("plan", "out/config.yaml", "batches.batch_size=1")


def test_bench_ends_with_what_to_set(config):
    text = done("bench", config, "--seconds", "0.1", "--workers", "0")
    assert re.search(r"An image takes [\d.]+ ms in one process: read \d+%, decode \d+%", text)
    assert re.search(r"0\s*│\s*[\d,.]+\s*│\s*[\d.]+ s", text)
    assert text.endswith("Set loader.num_workers=0\n")


# -- mistakes -------------------------------------------------------------------------------------

MISTAKES = [
    (["nonsense"], 2, "No such command 'nonsense'"),
    (["--nope"], 2, "No such option: --nope"),
    (["init"], 2, "Missing argument 'FOLDER'"),
    (["init", "nowhere", "-o", "new.yaml"], 2, "data.train=nowhere must be an existing folder"),
    (["scan", "nowhere.yaml"], 2, "must be an existing YAML file"),
    (["scan", "empty"], 1, "holds no image"),
    (["scan", "config.yaml", "data.on_unreadable=maybe"], 2, "must be skip or error"),
    (["plan"], 2, "Missing argument 'CONFIG'"),
    (["plan", "config.yaml", "buckets.divsor=3"], 2, "Did you mean buckets.divisor?"),
    (["plan", "config.yaml", "no override"], 2, "must have the form section.key=value"),
    (["plan", "config.yaml", "--ranks", "0"], 2, "--ranks"),
    (["init", "empty", "-o", ".", "--force"], 2, "is a directory"),
    (["plan", "config.yaml", "--save", "."], 2, "is a directory"),
    (["plan", "config.yaml", "--save", "p.csv"], 2, "a plan is kept as .arrow, and --rows writes"),
    (["plan", "config.yaml", "--ranks", f"{2**63 - 1}"], 2, "--ranks"),
    (["plan", "config.yaml", "--rank", "2"], 2, "No such option: --rank"),
    (["plan", "config.yaml", "--rows", "rows.xls"], 2, "must end in one of .arrow, .csv"),
    (["plan", "config.yaml", "batches.batch_size=4000"], 2, "exceeds the training set"),
    (["plan", "bad.yaml"], 2, "must be valid YAML"),
    (["report", "config.yaml", "-o", "nowhere/report.html"], 1, "No such file or directory"),
    (["report", "config.yaml", "--stage", "tset"], 2, "--stage"),
    (["show", "config.yaml", "--stage", "test"], 2, "data.test=null names no images"),
    (["show", "config.yaml", "-o", "bad.yaml"], 1, "File exists"),
    (["diff", "bad.yaml"], 2, "Missing argument"),
    (["diff", "bad.yaml", "nowhere"], 2, "nowhere"),
    (["diff", "bad.yaml", "bad.yaml"], 2, "bad.yaml is not a plan"),
    (["export", "config.yaml"], 2, "Missing argument 'DIR'"),
    (["export", "config.yaml", "."], 2, "holds other files, and no export"),
    (["export", "config.yaml", "out", "--format", "bmp"], 2, "--format"),
    (["export", "config.yaml", "bad.yaml"], 1, "File exists"),
    (["bench", "config.yaml", "--workers", "two"], 2, "no list of whole numbers"),
    (["bench", "config.yaml", "--seconds", "0"], 2, "--seconds"),
]


@pytest.mark.parametrize(("arguments", "code", "told"), MISTAKES)
def test_a_mistake_is_one_line_and_a_code(config, arguments, code, told):
    Path("bad.yaml").write_text("data: [")
    Path("empty").mkdir()
    result = invoke(*arguments)
    assert result.exit_code == code, result.stderr
    assert isinstance(result.exception, SystemExit)
    assert re.fullmatch(r"error: .+\n", result.stderr)
    assert told in result.stderr
    assert result.stdout == ""


def test_a_mistake_in_a_process_of_its_own(here):
    ran = process("plan", "nowhere.yaml")
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert re.fullmatch(r"error: config=nowhere.yaml must be an existing YAML file.+\n", ran.stderr)


def test_names_cannot_write_to_the_terminal(here):
    folder = here / "x\x1b[31m\n[red]y"
    result = invoke("init", folder)
    assert result.exit_code == 2
    assert re.fullmatch(r"error: [^\x00-\x1f]+\n", result.stderr)
    assert "[red]y" in result.stderr
    paint(folder, 3)
    (folder / "rotten.png").write_bytes(b"")
    for arguments in (["scan"], ["plan", "batches.batch_size=1"], ["export"]):
        command, *rest = arguments
        where = ["out"] if command == "export" else []
        text = done(command, folder, *where, "data.cache_dir=cache", "loader.num_workers=0", *rest)
        assert "\x1b" not in text
        assert "[red]y" in text or command == "plan"


@pytest.mark.parametrize("how", [{"LIT_BUCKETS_DEBUG": "1"}, {}])
def test_debug_shows_where_an_error_comes_from(how, here):
    arguments = ["plan", "nowhere.yaml"] if how else ["--debug", "plan", "nowhere.yaml"]
    result = invoke(*arguments, **how)
    assert isinstance(result.exception, ConfigError)


def test_colours_only_where_they_are_wanted(config):
    """Colours are the codes 30 to 49 and 90 to 107; bold and dim stay without them."""
    colour = re.compile(r"\x1b\[[0-9;]*?\b([34][0-9]|9[0-7]|10[0-7])[0-9;]*m")
    wanted = {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    assert colour.search(process("plan", "nowhere.yaml", **wanted).stderr)
    assert not colour.search(process("plan", "nowhere.yaml", NO_COLOR="1", **wanted).stderr)
    assert not colour.search(process("--help", NO_COLOR="1", **wanted).stdout)


@pytest.mark.slow
@pytest.mark.parametrize("option", ["", "--json"])
def test_a_reader_may_stop_reading(config, option):
    command = f"{sys.executable} -W ignore -m lit_buckets plan config.yaml {option} | true"
    ran = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True
    )
    assert (ran.returncode, ran.stderr) == (0, "")
