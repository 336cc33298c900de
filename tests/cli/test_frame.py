"""What all commands share: help, errors in one line, exit codes, pipes that close, completion in a real shell."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from spanloom.cli._errors import ExitCode
from spanloom.cli._main import COMMANDS, commands
from spanloom.cli._output import print_text
from tests.environments import without_ours

TIMEOUT_S = 60
RUNS = 30


def environment(**variables: str) -> dict[str, str]:
    return without_ours() | {"PYTHONIOENCODING": "utf-8"} | variables


def spanloom(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spanloom", *arguments],
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a record of two runs."""
    folder = tmp_path_factory.mktemp("frame")
    (folder / "first.py").write_text("from spanloom import get_callback_manager as m\nm().emit(name='a')")
    (folder / "second.py").write_text("pass")
    for name in ("first.py", "second.py"):
        assert spanloom(folder, "run", name).returncode == 0
    return folder


def run_of(folder: Path, name: str) -> str:
    runs = json.loads(spanloom(folder, "ls", "--json").stdout)["runs"]
    return next(run["run_id"] for run in runs if run["name"] == name)


# -- help --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_command_ends_with_an_example(name: str) -> None:
    """What a reader copies is there, and it is a command that there is."""
    result = CliRunner().invoke(commands, [name, "--help"])
    assert result.exit_code == 0
    ending = re.split(r"^\s*Examples?:$", result.output, flags=re.MULTILINE)
    assert len(ending) == 2, result.output
    lines = [line.strip() for line in ending[1].strip().splitlines()]
    assert all(line.startswith(f"spanloom {name}") for line in lines), lines


def test_the_help_lists_every_command_without_loading_it(tmp_path: Path) -> None:
    """One line each; the modules of the commands, and rich, stay where they are."""
    program = (
        "import sys; from spanloom.cli._main import commands\n"
        "commands(['--help'], standalone_mode=False)\n"
        "print(sorted(name for name in sys.modules if name.startswith(('rich', 'sqlite3', 'spanloom.cli.'))))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True)
    for name, line in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(line)}$", done.stdout, re.MULTILINE)
    assert (
        done.stdout.splitlines()[-1]
        == "['spanloom.cli._entry', 'spanloom.cli._errors', 'spanloom.cli._main']"
    )


def test_every_command_that_shows_something_has_json() -> None:
    """All but `run`, whose output is the script's."""
    for name in COMMANDS:
        result = CliRunner().invoke(commands, [name, "--help"])
        assert ("--json" in result.output) is (name != "run")


def test_the_version_is_said(tmp_path: Path) -> None:
    """`--version` names the program and its version."""
    assert re.fullmatch(r".*version \d+\.\d+\.\d+\n", spanloom(tmp_path, "--version").stdout)


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ls", "show", "top", "diff", "export"])
def test_where_nothing_was_recorded(tmp_path: Path, name: str) -> None:
    """One line that says which file is missing, exit code 1, and no file is made."""
    arguments = {"diff": ["a", "b"], "export": ["last", "--format", "json"]}.get(name, [])
    done = spanloom(tmp_path, name, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"Error: .*\.spanloom/runs\.db.*\n", done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_there_is_not(folder: Path) -> None:
    """The runs that there are, by their ids; the same with `--json`, on standard error."""
    for arguments in (["show", "ffff"], ["show", "ffff", "--json"], ["top", "ffff"]):
        done = spanloom(folder, *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert re.fullmatch(
            r"Error: no run .* begins with 'ffff'; there are [0-9a-f]{8} \(second\.py\).*\n", done.stderr
        )


@pytest.mark.parametrize(
    "ref", ["nosuch.db", "/nonexist/x.db", "nope.db:last", "nope.db:ffff", "./last", "x:"]
)
def test_a_file_that_there_is_not(folder: Path, ref: str) -> None:
    """What can only be a file is called a missing file, not a run that is none of those there are."""
    for arguments in (["show", ref], ["top", ref], ["diff", ref], ["export", ref, "--format", "csv"]):
        done = spanloom(folder, *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        file = ref.removesuffix(":last").removesuffix(":ffff").removesuffix(":")
        assert done.stderr == f"Error: there is no file {file!r}, and no id of a run looks like that\n"


def test_last_is_the_last_run_whatever_files_there_are(folder: Path, tmp_path: Path) -> None:
    """A file of that name is called ``./last``."""
    (tmp_path / "last").write_text("mine")
    record = str(folder / ".spanloom" / "runs.db")
    assert "second.py" in spanloom(tmp_path, "show", "last", "--file", record).stdout
    assert "last" in spanloom(tmp_path, "show", "./last").stderr


def test_a_process_that_there_is_not(folder: Path) -> None:
    """`top` says that it has looked for one."""
    done = spanloom(folder, "top", "4194304")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: no run is that of a process 4194304, and no run of ")


def test_a_slip_is_put_right_and_nonsense_is_not(folder: Path) -> None:
    """What is proposed for an unknown option looks like it, hyphens aside."""
    assert "Did you mean" not in spanloom(folder, "run", "--bogus", "first.py").stderr
    assert "--json" in spanloom(folder, "ls", "--jsn").stderr.partition("Did you mean")[2]


def test_an_unknown_command_is_answered_with_what_was_meant(folder: Path) -> None:
    """A script lacks `run`, a slip has a command like it, and of anything else all commands are named."""
    assert "to run a script: spanloom run first.py" in spanloom(folder, "first.py").stderr
    assert "did you mean 'show'?" in spanloom(folder, "shwo").stderr
    assert f"there are {', '.join(COMMANDS)}" in " ".join(spanloom(folder, "nix").stderr.split())
    assert "\x1b" not in spanloom(folder, "\x1b[2J.py").stderr


def test_a_run_is_not_compared_with_itself_by_leaving_b_out(folder: Path) -> None:
    """`diff last` lacks a run; `diff last last` is what was asked for."""
    done = spanloom(folder, "diff", "last")
    assert (done.returncode, done.stdout) == (2, "")
    assert "name B, too" in done.stderr
    assert spanloom(folder, "diff", "last", "last").returncode == 0


def test_the_help_says_which_run_is_meant_if_none_is(folder: Path) -> None:
    """In the help of every command that takes one."""
    for name in ("show", "top", "export", "diff"):
        assert "the last run" in " ".join(spanloom(folder, name, "--help").stdout.split())


def test_numbers_agree_with_their_nouns(folder: Path) -> None:
    """One event is no events."""
    assert (
        ": 1 event, "
        in spanloom(folder, "export", "--format", "json", "-o", "1.json", run_of(folder, "first.py")).stderr
    )
    (folder / "1.json").unlink()
    spanloom(folder, "run", "--record", "single.db", "second.py")
    assert "1 run, " in spanloom(folder, "doctor", "--file", "single.db").stdout


def test_what_is_not_understood(folder: Path) -> None:
    """Exit code 2, and what is wrong with it."""
    for arguments in (["nix"], ["show", "--nix"], ["run"], ["diff"], ["run", "-m"]):
        done = spanloom(folder, *arguments)
        assert done.returncode == 2, arguments
        assert "Error: " in done.stderr
        assert "Traceback" not in done.stderr


def test_hostile_words_do_not_steer_the_terminal(folder: Path) -> None:
    """Control characters in what was typed, and in names of files, come back escaped."""
    done = spanloom(folder, "show", "\x1b[2J\x07", "--file", "runs\x1b[31m.db")
    assert done.returncode == 1
    assert "\x1b" not in done.stderr
    assert "\x07" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_hostile_names_do_not_steer_the_terminal_as_json(tmp_path: Path) -> None:
    """JSON is shown on terminals, too: what JSON itself leaves as it is, C1 control characters for one, is escaped."""
    code = "from spanloom import get_callback_manager as m\nm().emit(name='a\\x9b31m\\u202e')"
    (tmp_path / "hostile.py").write_text(code)
    assert spanloom(tmp_path, "run", "hostile.py").returncode == 0
    for command in ("show", "top"):
        shown = spanloom(tmp_path, command, "--json").stdout
        assert shown.rstrip("\n").isprintable()
    assert "a\\u009b31m\\u202e" in spanloom(tmp_path, "show", "--json").stdout


def test_a_file_that_may_not_be_written(folder: Path) -> None:
    """What the system says, and of which file, in one line."""
    done = spanloom(folder, "export", "last", "--format", "json", "-o", "no/such/folder/out.json")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr


def test_an_output_that_cannot_say_everything(folder: Path) -> None:
    """An ASCII terminal gets what it can show; nothing fails for that."""
    done = spanloom(folder, "show", "last", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()


# -- pipes -------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
@pytest.mark.parametrize(
    "command", ["show last", "ls --json", "export last --format csv", "doctor", "--help"]
)
def test_a_reader_that_has_enough_is_no_error(folder: Path, command: str) -> None:
    """`| head` ends quietly: nothing on standard error, and at most the exit code that SIGPIPE would give."""
    line = f"{sys.executable} -m spanloom {command} | (exec 0<&-); echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout in {"141\n", "0\n"}


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
@pytest.mark.parametrize(
    "command", ["ls", "ls --json", "show", "top", "diff last last", "export --format csv", "doctor"]
)
def test_without_a_standard_output_it_fails_in_a_line(folder: Path, command: str) -> None:
    """``>&-`` is said to be the reason, as other programs say it."""
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m spanloom {command} >&-"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "Error: standard output is closed\n")


def test_a_closed_pipe_has_the_exit_code_of_sigpipe(folder: Path) -> None:
    """141, as of a program in C."""
    read, written = os.pipe()
    os.close(read)
    with subprocess.Popen(
        [sys.executable, "-m", "spanloom", "show", "last"],
        cwd=folder,
        env=environment(),
        stdout=written,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        os.close(written)
        _, err = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, err) == (141, "")


def test_json_is_printed_whatever_the_output_can_show(tmp_path: Path) -> None:
    """In ASCII where it has to be: a program reads the same, of characters beyond 16 bits, too."""
    name = "é…\U0001f40d.py"
    (tmp_path / name).write_text("pass")
    assert spanloom(tmp_path, "run", name).returncode == 0
    for encoding in ("ascii", "latin-1", "utf-8"):
        done = spanloom(tmp_path, "ls", "--json", PYTHONIOENCODING=encoding)
        assert done.stderr == ""
        assert json.loads(done.stdout)["runs"][0]["name"] == name


def test_text_is_printed_whatever_the_output_can_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it cannot is escaped."""
    output = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", output)
    print_text(["LOCK_CYCLE: überweisen → …"])
    output.flush()
    assert output.buffer.getvalue() == b"LOCK_CYCLE: \\xfcberweisen > ~\n"


def test_output_elsewhere_than_in_a_terminal_is_plain(folder: Path) -> None:
    """No escape sequence, even where the environment says what kind of terminal there is."""
    for arguments in (["ls"], ["show", "last"], ["top", "last"], ["doctor"]):
        assert "\x1b" not in spanloom(folder, *arguments, TERM="xterm-256color", COLORTERM="truecolor").stdout


# -- completion --------------------------------------------------------------------------------------------------------


def complete(folder: Path, line: str) -> list[str]:
    """Return what a real bash completes `line` with, after having loaded what the docs tell it to load."""
    bin_folder = folder / "bin"
    bin_folder.mkdir(exist_ok=True)
    program = bin_folder / "spanloom"
    program.write_text(f"#!{sys.executable}\nimport sys\nfrom spanloom.cli import main\nsys.exit(main())\n")
    program.chmod(0o755)
    script = f"""
        eval "$(_SPANLOOM_COMPLETE=bash_source spanloom)"
        COMP_LINE={line!r}; COMP_POINT=${{#COMP_LINE}}
        read -ra COMP_WORDS <<< "$COMP_LINE"
        [[ "$COMP_LINE" == *" " ]] && COMP_WORDS+=("")
        COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
        $(complete -p spanloom | sed 's/.*-F \\([^ ]*\\) .*/\\1/') spanloom "${{COMP_WORDS[COMP_CWORD]}}" ""
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        cwd=folder,
        env=environment(PATH=f"{bin_folder}:{os.environ['PATH']}"),
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.split()


needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")


@needs_bash
def test_bash_completes_commands_and_options(folder: Path) -> None:
    """Names of commands, and the options of one."""
    assert complete(folder, "spanloom ") == list(COMMANDS)
    assert complete(folder, "spanloom d") == ["diff", "doctor"]
    assert {"--file", "--json"} <= set(complete(folder, "spanloom show --"))


@needs_bash
def test_bash_completes_runs(folder: Path) -> None:
    """`last`, and the ids of the runs in the record, the newest first; also of another record."""
    found = complete(folder, "spanloom show ")
    assert found[0] == "last"
    assert len(found) == 3
    assert all(re.fullmatch("[0-9a-f]{8,}", run) for run in found[1:])
    assert complete(folder, f"spanloom show {found[2][:6]}") == [found[2]]
    assert complete(folder, f"spanloom diff {found[1]} {found[2][:6]}") == [found[2]]
    assert complete(folder, "spanloom show --file nix.db ") == ["last"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(folder: Path, shell: str) -> None:
    """What the documentation tells to load is there for all three."""
    result = CliRunner().invoke(
        commands, [], env={"_SPANLOOM_COMPLETE": f"{shell}_source"}, prog_name="spanloom"
    )
    assert "_SPANLOOM_COMPLETE" in result.output
    assert f"{shell}_complete" in result.output


# -- the reference -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_in_the_reference(name: str) -> None:
    """What can be typed can be looked up."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "command-line.md").read_text("utf-8")
    assert f"`spanloom {name}" in page
    context = commands.make_context("spanloom", [], resilient_parsing=True)
    command = commands.get_command(context, name)
    assert command is not None
    options = [option for param in command.params for option in param.opts if option.startswith("-")]
    assert [option for option in options if not re.search(rf"`{option}\b", page)] == []


def test_every_exit_code_is_in_the_reference() -> None:
    """Each has its row."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "command-line.md").read_text("utf-8")
    for code in ExitCode:
        assert f"\n| {code:d} | " in page
