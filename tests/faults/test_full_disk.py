"""A full disk or file-size limit at any moment of training ends it with a message and no lost data; full streams."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bnbench.training import job as jobs
from tests.faults import test_process_ends
from tests.faults.processes import ended, started, told
from tests.support.miniature import Project, miniature
from tests.support.shell import PROGRAM, namespace
from tests.training import test_job

prepared = test_job.prepared  # a fixture: the digits as a prepared folder
reference = test_process_ends.reference  # a fixture: a project before its first start, and a copy with all results

FULL = "no space is left on the disk; free some and run the same command again"
SIZES = (4, 8, 16, 24, 40, 60, 90, 120, 150, 180)  # kB: the disk fills up at a different moment for each size


def _told_and_whole(told: str, code: int) -> None:
    assert "Traceback" not in told
    assert code in (0, 4), told
    assert (FULL in told) == (code == 4), told


@pytest.mark.parametrize("size", [SIZES[1], *(pytest.param(size, marks=pytest.mark.slow) for size in SIZES)])
def test_a_disk_that_fills_in_a_training_ends_it_and_loses_nothing(tmp_path: Path, prepared: Path, size: int) -> None:
    job = test_job._job(tmp_path, prepared, test_job.RUNS, width=3)
    whole = tmp_path / "whole"
    jobs.train_job(job, test_job._space(whole), 2)
    small, kept = tmp_path / "small", tmp_path / "kept"
    for folder in (small, kept):
        folder.mkdir()
    prefix = namespace("-t", "tmpfs", "-o", f"size={size}k", "none", str(small))
    script = '"$@"; code=$?; cp -a small/. kept/; exit $code'
    command = [*prefix, "sh", "-c", script, "sh", *test_job._command(job, small, "--checkpoint-seconds", "0.001")]
    with started(command, tmp_path) as process:
        code = ended(process)
    _told_and_whole(told(tmp_path), code)
    stored, expected = test_job._contents(kept), test_job._contents(whole)
    assert stored.items() <= expected.items()
    subprocess.run(test_job._command(job, kept), check=True, timeout=60)
    assert test_job._contents(kept) == expected
    print(f"{size} kB: {len(stored) // 2} of {len(test_job.RUNS)} runs were stored")


# start in a copy on a small disk; fill the disk once this many files exist; free it, copy everything back
FILL = """
cp -a "$1" disk/project && cd disk/project || exit 99
snakemake --cores 2 & start=$!
count() { find . -name .snakemake -prune -o -type f -print | wc -l; }
until [ "$(count)" -ge "$2" ] || ! kill -0 $start 2>/dev/null; do :; done
cat /dev/zero >../filler 2>/dev/null
wait $start; code=$?
rm ../filler && cd ../.. && rm -rf "$1" && cp -a disk/project "$1" && exit $code
"""


def _files(project: Project) -> int:
    """Return the number of a project's files, without Snakemake's own."""
    return sum(path.is_file() and ".snakemake" not in path.parts for path in project.folder.rglob("*"))


@pytest.mark.slow
def test_a_disk_that_fills_at_any_moment_of_a_start_ends_it_and_loses_nothing(
    reference: tuple[Project, Project], tmp_path: Path
) -> None:
    project, complete = reference
    copy = Project(tmp_path / "project")
    shutil.copytree(project.folder, copy.folder)
    (tmp_path / "disk").mkdir()
    prefix = namespace("-t", "tmpfs", "-o", "size=256m", "none", str(tmp_path / "disk"))
    first, last = _files(project), _files(complete)
    for count in (first + (last - first) * i // 10 for i in range(10)):
        before = copy.stored()
        words = [*prefix, "sh", "-c", FILL, "sh", str(copy.folder), str(count)]
        with started(words, tmp_path, copy.environment) as start:
            code = ended(start)
        print(f"full at {count} of {last} files: exit code {code}, {len(copy.stored())} files of runs")
        assert code in (0, 1), told(tmp_path)
        assert "bnbench/" not in "".join(
            re.findall(r'^ *File ".*', told(tmp_path), re.MULTILINE)
        )  # Snakemake's own may be
        assert copy.outputs() == complete.outputs() if code == 0 else "no space" in told(tmp_path).lower()
        assert before.items() <= copy.stored().items()
    with started(["snakemake", "--cores", "2"], copy.folder, copy.environment) as start:
        assert ended(start, 300) == 0, told(copy.folder)
    assert copy.stored() == complete.stored()
    assert copy.outputs() == complete.outputs()


@pytest.mark.parametrize("size", [1000, 3000])
def test_files_that_may_not_grow_end_a_training_with_the_remedy(tmp_path: Path, prepared: Path, size: int) -> None:
    job = test_job._job(tmp_path, prepared, test_job.RUNS)
    limit = ["bash", "-c", f'ulimit -f {size // 1000}; exec "$@"', "bash"]
    with started([*limit, *test_job._command(job, tmp_path)], tmp_path) as process:
        assert ended(process) == 4
    assert "raise the limit (ulimit -f) and run the same command again" in told(tmp_path)
    assert "Traceback" not in told(tmp_path)


@pytest.mark.slow
def test_a_start_without_room_for_temporary_files_says_so(tmp_path: Path) -> None:
    project = miniature(tmp_path / "project")
    room = tmp_path / "room"
    room.mkdir()
    prefix = namespace("-t", "tmpfs", "-o", "size=8k", "none", str(room))
    with started(
        [*prefix, "snakemake", "--cores", "2"], project.folder, project.environment | {"TMPDIR": str(room)}
    ) as process:
        assert ended(process) == 1
    assert f"snakemake: cannot write {room}" in told(project.folder)
    assert FULL in told(project.folder)
    assert "Traceback" not in told(project.folder)


# command -> whether it prints to its standard output
COMMANDS = {
    "plan": True, "status": True, "doctor": True, "prune": True, "--help": True, "train --help": True,
    "schema --out made/schema.json": False, "nonsense": False,
    "prepare digits --out made/digits": True,
}  # fmt: skip
STREAMS = (">/dev/full", ">&-", "2>/dev/full", "2>&-", "<&- >&- 2>&-", ">/dev/full 2>&1")


@pytest.mark.slow
@pytest.mark.parametrize("streams", STREAMS)
@pytest.mark.parametrize("words", COMMANDS)
def test_a_stream_that_is_full_or_closed_is_no_traceback(project: Path, words: str, streams: str) -> None:
    usual = subprocess.run([PROGRAM, *words.split()], capture_output=True, check=False, timeout=100)
    before = _made(project)
    shutil.rmtree(project / "made", ignore_errors=True)
    line = f"'{PROGRAM}' {words} {streams}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, timeout=100)
    silent = COMMANDS[words] and ">" in streams.replace("2>", "")
    assert done.returncode == (4 if silent else usual.returncode)
    if silent and "2>" not in streams:
        why = "it is closed" if "&-" in streams else "no space left on device"
        assert f"cannot write the standard output: {why}; send it elsewhere (`> FILE`)" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    assert _made(project) == before


def _made(project: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted((project / "made").rglob("*")) if path.is_file()}
