"""Jobs whose ComfyUI dies, hangs, stalls or runs out of memory: each ends truthfully, and the next one succeeds."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import aiohttp
import pytest
from supervised import SupervisedWorker, engine_command, engine_only, supervised_worker
from worker_jobs import job, queue_of, save_color

from comfypod.errors import ComfyUIUnavailable, ConfigurationError

SLOW = "slow:node=ImageInvert,seconds=30"
"""A node that is interruptible and would take too long."""
HANG = "hang:node=ImageInvert,seconds=60"
"""A node that never looks for an interrupt."""


async def assert_next_job_succeeds(worker: SupervisedWorker, color: int = 0xABCDEF) -> None:
    answer = await worker.handler(job(workflow=save_color(color)))
    assert answer["status"] == "success", answer


async def test_a_job_whose_comfyui_dies_runs_again_on_the_next_one(tmp_path: Path) -> None:
    with supervised_worker(tmp_path) as worker:
        await worker.plan("slow:node=ImageInvert,seconds=0.3", "exit:node=ImageInvert,code=139")
        answer = await worker.handler(job(workflow=save_color(1)))
        assert answer["status"] == "success", answer
        (warning,) = answer["warnings"]
        assert "exited with code 139 (SIGSEGV)" in warning
        assert "the job was run again" in warning
        assert "refresh_worker" not in answer  # once is no reason
        values = [update["value"] for update in worker.updates]
        assert values == sorted(values)
        stages = [update["stage"] for update in worker.updates]
        assert "queue" in stages[stages.index("execute") :]  # and its progress tells so


async def test_an_interrupt_that_meant_another_prompt_costs_one_more_run(tmp_path: Path) -> None:
    with supervised_worker(tmp_path) as worker:
        await worker.plan(SLOW)
        running = asyncio.create_task(worker.handler(job(workflow=save_color(6))))
        await worker.until("execute", current_node="2")
        async with aiohttp.ClientSession((await worker.process()).url) as session, session.post("/interrupt"):
            pass
        answer = await running
    assert answer["status"] == "success", answer
    (warning,) = answer["warnings"]
    assert "the job was run again" in warning


@engine_only
async def test_a_job_under_which_comfyui_dies_twice_fails_with_what_is_known(tmp_path: Path) -> None:
    with supervised_worker(tmp_path, "--fault", "exit:node=ImageInvert,signal=9") as worker:  # of every process
        answer = await worker.handler(job(workflow=save_color(2)))
        assert (answer["status"], answer["code"], answer["retryable"]) == ("error", "comfyui_unavailable", True)
        assert "ended by SIGKILL" in answer["error"]
        assert answer["details"]["exit_code"] == -9
        assert any("strikes" in line for line in answer["details"]["log_tail"])
        assert len(answer["warnings"]) == 1


async def test_a_job_is_not_run_again_where_the_operator_forbids_it(tmp_path: Path) -> None:
    with supervised_worker(tmp_path, retry_after_crash="false") as worker:
        await worker.plan("exit:node=ImageInvert,code=3")
        answer = await worker.handler(job(workflow=save_color(3)))
        assert answer["code"] == "comfyui_unavailable"
        assert "exited with code 3" in answer["error"]
        await assert_next_job_succeeds(worker)


async def test_a_comfyui_that_dies_between_jobs_is_back_for_the_next(tmp_path: Path) -> None:
    with supervised_worker(tmp_path) as worker:
        pid = await worker.pid()
        os.kill(pid, signal.SIGKILL)
        await assert_next_job_succeeds(worker)
        assert await worker.pid() != pid


async def test_a_comfyui_that_dies_often_is_reason_for_another_worker(tmp_path: Path) -> None:
    with supervised_worker(tmp_path, restarts=2) as worker:
        for color, asks in ((20, False), (21, True)):
            await worker.plan("exit:node=ImageInvert,code=1")
            answer = await worker.handler(job(workflow=save_color(color)))
            assert answer["status"] == "success", answer
            assert answer.get("refresh_worker", False) is asks
        assert "restarted 2 times within an hour" in answer["warnings"][-1]


@engine_only
async def test_a_comfyui_that_no_longer_starts_ends_jobs_soon_and_not_with_their_deadline(tmp_path: Path) -> None:
    script = tmp_path / "starts_once.py"
    script.write_text(
        "import os, sys\n"
        f"marker, command = {str(tmp_path / 'started')!r}, {engine_command(tmp_path)!r}\n"
        "if os.path.exists(marker):\n"
        "    sys.exit('RuntimeError: No CUDA GPUs are available')\n"
        "open(marker, 'w').close()\n"
        "os.execv(command[0], command + sys.argv[1:])\n"
    )
    with supervised_worker(tmp_path, command=[sys.executable, str(script)], restarts=2) as worker:
        os.kill(await worker.pid(), signal.SIGKILL)
        begun = time.monotonic()
        answer = await worker.handler(job(workflow=save_color(22), timeout_seconds=60))
        assert time.monotonic() - begun < 10
        assert (answer["code"], answer["details"]["exit_code"]) == ("comfyui_unavailable", 1)
        assert "no usable GPU" in answer["error"]
        assert answer["refresh_worker"] is True


async def test_out_of_memory_is_answered_with_room_and_one_more_run(tmp_path: Path) -> None:
    with supervised_worker(tmp_path) as worker:
        await worker.plan("out_of_memory:node=ImageInvert,form=cuda")
        answer = await worker.handler(job(workflow=save_color(4)))
        assert answer["status"] == "success", answer
        assert "Memory was short in node 2 (ImageInvert)" in answer["warnings"][0]


@engine_only
async def test_a_comfyui_that_makes_no_room_is_not_tried_again(tmp_path: Path) -> None:
    with supervised_worker(tmp_path) as worker:
        await worker.plan("out_of_memory:node=ImageInvert", "respond:path=/free,status=500")
        answer = await worker.handler(job(workflow=save_color(25)))
        assert (answer["code"], answer["warnings"]) == ("out_of_memory", [])


@engine_only
async def test_a_comfyui_that_lives_and_does_not_answer_is_replaced(tmp_path: Path) -> None:
    with supervised_worker(tmp_path) as worker:
        pid = await worker.pid()
        await worker.plan("refuse:path=/view,times=0")
        answer = await worker.handler(job(workflow=save_color(26)))
        assert (answer["code"], answer["details"]["phase"]) == ("comfyui_unavailable", "fetch")
        assert answer["refresh_worker"] is True
        await assert_next_job_succeeds(worker)
        assert await worker.pid() != pid


@pytest.mark.parametrize("form", ["torch", "cuda"])
async def test_out_of_memory_twice_is_told(tmp_path: Path, form: str) -> None:
    with supervised_worker(tmp_path) as worker:
        await worker.plan(f"out_of_memory:node=ImageInvert,form={form},times=2")
        answer = await worker.handler(job(workflow=save_color(5)))
        assert (answer["code"], answer["retryable"]) == ("out_of_memory", True)
        assert "refresh_worker" not in answer
        await assert_next_job_succeeds(worker)


async def test_a_gpu_error_that_sticks_ends_that_comfyui_and_asks_for_another_worker(tmp_path: Path) -> None:
    with supervised_worker(tmp_path) as worker:
        pid = await worker.pid()
        await worker.plan("cuda_error:node=ImageInvert")
        answer = await worker.handler(job(workflow=save_color(6)))
        assert answer["code"] == "prompt_failed"
        assert "illegal memory access" in answer["error"]
        assert answer["refresh_worker"] is True
        await assert_next_job_succeeds(worker)
        assert await worker.pid() != pid
        assert worker.supervisor.refresh_reason  # until the platform has replaced the worker


async def test_a_node_that_ignores_its_interrupt_does_not_poison_the_next_job(tmp_path: Path) -> None:
    with supervised_worker(tmp_path, interrupt_timeout_seconds="0.5") as worker:
        pid = await worker.pid()
        await worker.plan(HANG)
        task = asyncio.create_task(worker.handler(job(workflow=save_color(7))))
        await worker.until("execute", current_node="2")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await assert_next_job_succeeds(worker)
        assert await worker.pid() != pid


async def test_a_deadline_under_a_node_that_ignores_interrupts_is_kept(tmp_path: Path) -> None:
    with supervised_worker(tmp_path, interrupt_timeout_seconds="0.5") as worker:
        await worker.plan(HANG)
        begun = time.monotonic()
        answer = await worker.handler(job(workflow=save_color(8), timeout_seconds=1))
        assert time.monotonic() - begun < 3
        assert (answer["status"], answer["code"]) == ("timeout", "deadline_exceeded")
        assert answer["refresh_worker"] is True
        await assert_next_job_succeeds(worker)


async def test_a_cancelled_job_leaves_the_gpu_within_a_second(tmp_path: Path) -> None:
    with supervised_worker(tmp_path) as worker:
        pid = await worker.pid()
        await worker.plan(SLOW)
        task = asyncio.create_task(worker.handler(job(workflow=save_color(9))))
        await worker.until("execute", current_node="2")
        begun = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - begun < 1
        assert not any((await queue_of((await worker.process()).url)).values())
        assert await worker.pid() == pid  # nothing was killed for it


async def test_the_end_of_the_worker_cancels_its_jobs(tmp_path: Path) -> None:
    with supervised_worker(tmp_path) as worker:
        await worker.plan(SLOW)
        task = asyncio.create_task(worker.handler(job(workflow=save_color(10))))
        await worker.until("execute", current_node="2")
        worker.handler.cancel_jobs()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not any((await queue_of((await worker.process()).url)).values())


async def test_a_stalled_job_is_given_up_and_named(tmp_path: Path) -> None:
    with supervised_worker(tmp_path, stall_timeout_seconds="1", interrupt_timeout_seconds="0.5") as worker:
        await worker.plan(HANG)
        begun = time.monotonic()
        answer = await worker.handler(job(workflow=save_color(11)))
        assert time.monotonic() - begun < 4
        assert (answer["code"], answer["details"]["node_id"]) == ("prompt_stalled", "2")
        assert "Node 2 (ImageInvert)" in answer["error"]
        assert answer["refresh_worker"] is True
        await assert_next_job_succeeds(worker)


async def test_an_execution_thread_that_died_is_noticed_and_replaced(tmp_path: Path) -> None:
    with supervised_worker(tmp_path, stall_timeout_seconds="1", interrupt_timeout_seconds="0.5") as worker:
        await worker.plan("thread_death:node=ImageInvert")
        answer = await worker.handler(job(workflow=save_color(12)))
        assert answer["code"] == "prompt_stalled"
        await assert_next_job_succeeds(worker)


async def test_a_server_that_hangs_is_given_up_and_replaced(tmp_path: Path) -> None:
    with supervised_worker(tmp_path, stall_timeout_seconds="1", interrupt_timeout_seconds="0.5") as worker:
        await worker.plan("hang_server:node=ImageInvert,seconds=60")
        answer = await worker.handler(job(workflow=save_color(13)))
        assert answer["code"] == "prompt_stalled"
        await assert_next_job_succeeds(worker)


@engine_only
async def test_a_slow_node_that_reports_is_no_stall(tmp_path: Path) -> None:
    with supervised_worker(tmp_path, stall_timeout_seconds="1") as worker:
        faults = [f"slow:node=KSampler,step={step},seconds=0.4" for step in range(1, 6)]
        await worker.plan(*faults)
        answer = await worker.handler(job(prompt="a red circle", parameters={"steps": 6, "width": 64, "height": 64}))
        assert answer["status"] == "success", answer
        assert answer["timings"]["execute_ms"] > 1500


@engine_only
async def test_waiting_for_another_prompt_is_no_stall(tmp_path: Path) -> None:
    with supervised_worker(tmp_path, stall_timeout_seconds="1") as worker:
        await worker.plan(*[f"slow:node=KSampler,step={step},seconds=0.4" for step in range(1, 6)])
        sampling = job(prompt="a red circle", parameters={"steps": 6, "width": 64, "height": 64})
        first = asyncio.create_task(worker.handler(sampling))
        await worker.until("execute", current_node_class="KSampler")
        second = await worker.handler(job(workflow=save_color(19)))
        assert (await first)["status"] == second["status"] == "success", second
        assert second["timings"]["queue_ms"] > 1000


async def test_a_server_that_is_held_up_for_a_while_costs_nothing(tmp_path: Path) -> None:
    with supervised_worker(tmp_path) as worker:
        pid = await worker.pid()
        await worker.plan("hang_server:node=ImageInvert,seconds=2")
        answer = await worker.handler(job(workflow=save_color(14)))
        assert (answer["status"], answer["warnings"]) == ("success", [])
        assert await worker.pid() == pid


@engine_only
@pytest.mark.parametrize(
    "fault",
    [
        "refuse:path=/prompt",
        "lost_response:path=/prompt",
        "refuse:path=/queue",
        "respond:path=/queue,status=503",
        "lost_response:path=/history",
        "respond:path=/history,status=500",
        "refuse:path=/ws",
        "cut:message=executing",
        "late_history:seconds=0.3",
    ],
)
async def test_a_fault_of_the_connection_costs_a_moment_and_nothing_else(tmp_path: Path, fault: str) -> None:
    with supervised_worker(tmp_path, retry_after_crash="false") as worker:
        seconds = []
        while len(seconds) < 3 and min(seconds, default=1.0) >= 0.9:  # a busy machine is not slow three times
            await worker.plan(fault)
            begun = time.monotonic()
            answer = await worker.handler(job(workflow=save_color(23 + len(seconds))))
            seconds.append(time.monotonic() - begun)
            assert (answer["status"], answer["warnings"]) == ("success", []), answer
        assert min(seconds) < 0.9  # no silence had to pass, and no closing handshake


@engine_only
async def test_a_job_that_is_cancelled_after_a_reconnection_leaves_the_gpu(tmp_path: Path) -> None:
    with supervised_worker(tmp_path) as worker:
        await worker.plan("cut:message=executing,after=1", SLOW)
        task = asyncio.create_task(worker.handler(job(workflow=save_color(24))))
        await worker.until("execute", current_node="2")  # told on reconnection, when it was asked for as well
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not any((await queue_of((await worker.process()).url)).values())


@engine_only
async def test_a_history_that_was_forgotten_is_no_success_and_the_job_runs_again(tmp_path: Path) -> None:
    with supervised_worker(tmp_path) as worker:
        await worker.plan("evict_history")
        answer = await worker.handler(job(workflow=save_color(15)))
        assert answer["status"] == "success", answer
        assert "no longer knows prompt" in answer["warnings"][0]


@engine_only
async def test_an_output_that_is_no_json_ends_comfyui_and_is_told(tmp_path: Path) -> None:
    with supervised_worker(tmp_path) as worker:
        await worker.plan("unserialisable")
        answer = await worker.handler(job(workflow=save_color(16)))
        assert answer["status"] == "success", answer
        assert "exited with code 1" in answer["warnings"][0]


async def test_a_full_disk_is_a_failure_of_the_node_that_met_it(tmp_path: Path) -> None:
    with supervised_worker(tmp_path) as worker:
        await worker.plan("full_disk:node=SaveImage")
        answer = await worker.handler(job(workflow=save_color(17)))
        assert answer["code"] == "prompt_failed"
        assert "No space left on device" in answer["error"]
        await assert_next_job_succeeds(worker)


@engine_only
async def test_a_node_of_a_pack_that_failed_to_import_is_explained(tmp_path: Path) -> None:
    fault = "broken_nodes:pack=some_pack,reason=No module named 'cv2'"
    with supervised_worker(tmp_path, "--fault", fault) as worker:
        process = await worker.process()
        async with asyncio.timeout(10):  # its log is read in a thread
            while not process.failed_imports:
                await asyncio.sleep(0.01)
        assert process.failed_imports == {"some_pack": "No module named 'cv2'"}
        answer = await worker.handler(job(workflow={"1": {"class_type": "SomeNode", "inputs": {}}}))
        assert answer["code"] == "invalid_workflow"
        assert "some_pack (No module named 'cv2')" in answer["error"]


@engine_only
def test_a_comfyui_that_never_starts_is_told_with_its_last_words(tmp_path: Path) -> None:
    fault = "crash_at_boot:code=1,message=ModuleNotFoundError: No module named 'torchsde'"
    words = "No module named 'torchsde'"
    with pytest.raises(ComfyUIUnavailable, match=words) as caught, supervised_worker(tmp_path, "--fault", fault):
        pass
    assert caught.value.exit_code == 1


@engine_only
async def test_a_comfyui_that_boots_slowly_is_waited_for(tmp_path: Path) -> None:
    with supervised_worker(tmp_path, "--fault", "slow_boot:seconds=1.5,times=0") as worker:
        os.kill(await worker.pid(), signal.SIGKILL)
        await assert_next_job_succeeds(worker)


async def test_the_operator_may_want_a_fresh_worker_after_every_job(tmp_path: Path) -> None:
    with supervised_worker(tmp_path, refresh_worker="true") as worker:
        answer = await worker.handler(job(workflow=save_color(18)))
        assert (answer["status"], answer["refresh_worker"], answer["warnings"]) == ("success", True, [])


def test_a_command_that_is_not_there_is_told(tmp_path: Path) -> None:
    from comfypod.comfyui.process import ComfyUIProcess  # noqa: PLC0415
    from comfypod.comfyui.supervisor import Supervisor  # noqa: PLC0415

    supervisor = Supervisor(lambda: ComfyUIProcess(["/no/such/program"], tmp_path))
    supervisor.start()
    with pytest.raises(ConfigurationError, match="cannot be started"):
        supervisor.wait_until_ready()
    supervisor.stop()
