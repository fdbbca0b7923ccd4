"""Fork servers with real zygotes and children, really killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.worker.conftest import PATIENCE_SECONDS, Until, stages_from
from worker.contract import EXIT_FAILED, Outcome, Task
from worker.host.forkserver import Child, Exit, ForkServer, ForkServers, StartFailed, stage_environment


def read(task_file: Path) -> Task:
    return Task.model_validate_json(task_file.read_text())


def outcome_of(task_file: Path) -> Outcome:
    return Outcome.model_validate_json(read(task_file).result.read_text())


def run(server: ForkServer, task_file: Path, **options: object) -> Child:
    return server.run(task_file, task_file.with_name("log"), **{"environment": {}, **options})  # type: ignore[arg-type]


def began(task_file: Path) -> Callable[[], bool]:
    return read(task_file).events.exists


@pytest.fixture(scope="module")
def heavy() -> Iterator[ForkServer]:
    """A fork server whose zygote has imported torch."""
    server = ForkServer("torch")
    with stages_from(train="torch_stage"):
        server.start()
    yield server
    server.close()


def test_a_child_sees_its_environment_and_no_secret(
    light: ForkServer, make_task: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWOSTREAM_DATABASE_URL", "postgresql://user:secret@host/db")
    file = make_task("look")
    child = run(light, file, environment={"CUDA_VISIBLE_DEVICES": "3"})
    assert child.wait(PATIENCE_SECONDS) == Exit(code=0)
    seen = outcome_of(file).summary
    assert seen["environment"]["CUDA_VISIBLE_DEVICES"] == "3"
    assert seen["leader"]
    assert seen["parent"] == seen["imported_by"] == light.pid
    assert not seen["torch"]
    assert seen["threads"] == 1
    assert seen["sockets"] == 0
    assert seen["oom_score"] == 500
    assert not [name for name in stage_environment(os.environ) if name.startswith(("TWOSTREAM_", "AWS_", "PG"))]
    assert "secret" not in str(stage_environment(os.environ))


def test_each_stage_has_a_folder_of_its_own_for_temporary_files(
    light: ForkServer, make_task: Callable[..., Path], tmp_path: Path
) -> None:
    found = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        file = make_task("look")
        child = run(light, file, environment={"TMPDIR": str(tmp_path / name)})
        assert child.wait(PATIENCE_SECONDS) == Exit(code=0)
        found.append(outcome_of(file).summary["temporary"])
    assert found == [str(tmp_path / "one"), str(tmp_path / "other")]


def test_stages_share_no_process(light: ForkServer, make_task: Callable[..., Path]) -> None:
    children = [run(light, make_task("metrics")) for _ in range(3)]
    assert [child.wait(PATIENCE_SECONDS) for child in children] == [Exit(code=0)] * 3
    assert len({child.pid for child in children}) == 3


def test_output_goes_to_the_log_and_failure_to_the_result(light: ForkServer, make_task: Callable[..., Path]) -> None:
    good, bad, odd = make_task("metrics"), make_task("bug"), make_task("exit")
    assert run(light, good).wait(PATIENCE_SECONDS) == Exit(code=0)
    assert good.with_name("log").read_text() == "said on standard output\n"
    assert run(light, bad).wait(PATIENCE_SECONDS) == Exit(code=EXIT_FAILED)
    assert "ZeroDivisionError" in bad.with_name("log").read_text()
    assert outcome_of(bad).status == "failed"
    assert run(light, odd).wait(PATIENCE_SECONDS) == Exit(code=EXIT_FAILED)
    assert "SystemExit" in odd.with_name("log").read_text()


def test_wait_is_bounded_and_a_signal_is_reported(
    light: ForkServer, make_task: Callable[..., Path], until: Until
) -> None:
    file = make_task("sleep")
    child = run(light, file)
    until(began(file))
    assert child.wait(0.01) is None
    child.terminate(signal.SIGTERM)
    assert child.wait(PATIENCE_SECONDS) == Exit(signal=signal.SIGTERM)
    child.terminate(signal.SIGKILL)  # of a child that ended already: nothing


@pytest.mark.parametrize(("script", "how"), [("grandchild", signal.SIGKILL), ("forgetful", None)])
def test_the_whole_group_ends_with_its_leader(
    light: ForkServer,
    make_task: Callable[..., Path],
    until: Until,
    gone: Callable[[int], bool],
    script: str,
    how: signal.Signals | None,
) -> None:
    file = make_task(script)
    child = run(light, file)
    note = read(file).state / "grandchild"
    until(lambda: note.exists() and note.read_text())
    if how is not None:
        child.terminate(how)
    assert child.wait(PATIENCE_SECONDS) is not None
    until(lambda: gone(int(note.read_text())))


def test_many_threads_share_a_server(light: ForkServer, make_task: Callable[..., Path]) -> None:
    files = [make_task("metrics") for _ in range(12)]
    exits: list[Exit | None] = []

    def run_one(file: Path) -> None:
        exits.append(run(light, file).wait(PATIENCE_SECONDS))

    threads = [threading.Thread(target=run_one, args=(file,)) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert exits == [Exit(code=0)] * 12


def test_after_the_death_of_the_zygote_its_stages_are_lost_and_the_next_one_runs(
    light: ForkServer, make_task: Callable[..., Path], until: Until, gone: Callable[[int], bool]
) -> None:
    file = make_task("grandchild")
    child = run(light, file)
    note = read(file).state / "grandchild"
    until(lambda: note.exists() and note.read_text())
    zygote = light.pid
    assert zygote is not None
    os.kill(zygote, signal.SIGKILL)
    assert child.wait(PATIENCE_SECONDS) == Exit(zygote_died=True)
    until(lambda: gone(child.pid) and gone(int(note.read_text())))
    child.terminate(signal.SIGTERM)  # nobody is there to hear it
    assert run(light, make_task("metrics")).wait(PATIENCE_SECONDS) == Exit(code=0)
    assert light.pid not in {zygote, None}


def test_a_killed_worker_leaves_no_process(
    make_task: Callable[..., Path], until: Until, gone: Callable[[int], bool]
) -> None:
    file = make_task("grandchild")
    code = (  # it sleeps until it is killed
        "import sys, time; from pathlib import Path; from worker.host.forkserver import ForkServer\n"
        "server = ForkServer('light'); task = Path(sys.argv[1])\n"
        "child = server.run(task, task.with_name('log'), {})\n"
        "print(server.pid, child.pid, flush=True); time.sleep(300)"
    )
    command = [sys.executable, "-c", code, str(file)]
    with stages_from(), subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        pids = [int(word) for word in worker.stdout.readline().split()]
        note = read(file).state / "grandchild"
        until(lambda: note.exists() and note.read_text())
        pids.append(int(note.read_text()))
        assert not any(gone(pid) for pid in pids)
        worker.kill()
        until(lambda: all(gone(pid) for pid in pids))


def test_close_ends_running_stages(make_task: Callable[..., Path], gone: Callable[[int], bool]) -> None:
    servers = ForkServers()
    with stages_from():
        servers.start(["index"])
    file = make_task("sleep")
    child = servers.run("index", file, file.with_name("log"), {})
    servers.close()
    assert gone(child.pid)
    assert child.wait(1) == Exit(signal=signal.SIGKILL)


def test_close_does_not_wait_for_imports(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time; time.sleep(3600)")  # an import that takes longer than any test may
    server = ForkServer("light")
    with stages_from(tmp_path, index="slow"):
        server.start()
    server.close(patience_seconds=3600)
    assert server.pid is None


def test_a_zygote_that_cannot_live_is_said_so(make_task: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import os; os._exit(9)")
    server = ForkServer("light")
    with stages_from(tmp_path, index="broken"), pytest.raises(StartFailed, match="light zygote died"):
        run(server, make_task("metrics"))
    server.close()


def test_a_module_that_does_not_import_fails_its_own_stage_only(make_task: Callable[..., Path]) -> None:
    server = ForkServer("light")
    good, bad = make_task("metrics"), make_task("metrics", kind="flow")
    with stages_from(index="scripted_stage", flow="no_such_stage"):
        server.start()
    assert run(server, good).wait(PATIENCE_SECONDS) == Exit(code=0)
    assert run(server, bad).wait(PATIENCE_SECONDS) == Exit(code=EXIT_FAILED)
    assert "no_such_stage" in outcome_of(bad).message
    server.close()


def test_a_torch_stage_computes_on_its_threads_with_what_its_zygote_imported(
    heavy: ForkServer, make_task: Callable[..., Path]
) -> None:
    for _ in range(2):
        file = make_task(threads=2)
        assert run(heavy, file).wait(PATIENCE_SECONDS) == Exit(code=0)
        assert outcome_of(file).summary == {"product": 256.0, "threads": 2, "imported_by": heavy.pid}


def test_several_ranks_are_started_by_torchrun_and_the_one_that_fails_says_why(
    light: ForkServer, make_task: Callable[..., Path]
) -> None:
    file = make_task("second_rank_fails")
    how = run(light, file, gpus=2).wait(PATIENCE_SECONDS)
    assert how is not None
    assert how.code not in {0, None}
    assert outcome_of(file).message == "MemoryError: rank 1 has no memory left"


@pytest.mark.long  # ranks are started by torchrun above, and signals sent to single ones
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_ranks_under_torchrun_follow_a_signal_to_it(
    light: ForkServer,
    make_task: Callable[..., Path],
    until: Until,
    gone: Callable[[int], bool],
    how: signal.Signals,
) -> None:
    file = make_task()
    child = run(light, file, gpus=2)
    notes = [read(file).state / f"pid{rank}" for rank in range(2)]
    until(lambda: all(note.exists() and note.read_text() for note in notes))
    child.terminate(how)
    assert child.wait(PATIENCE_SECONDS) not in {None, Exit(code=0)}
    until(lambda: all(gone(int(note.read_text())) for note in notes))
    if how is signal.SIGTERM:
        assert outcome_of(file).status == "interrupted"
        assert (read(file).state / "checkpoint.pt").exists()
