"""What a pod takes from its environment, and what it refuses to start without."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from comfypod.errors import ConfigurationError
from comfypod.listening import is_loopback
from comfypod.pod.surroundings import comfyui_address, outside_host, state_file, take_key
from comfypod.pod.worker_output import WorkerOutput

KEY = "0123456789abcdef"
EVERYWHERE = "0.0.0.0"  # noqa: S104


@pytest.mark.parametrize("host", [EVERYWHERE, "::", "192.168.1.7", "pod.example", ""])
@pytest.mark.parametrize("key", ["", "   ", KEY[1:], f" {KEY[1:]} "])
def test_beyond_this_machine_there_must_be_a_long_key(host: str, key: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(ConfigurationError) as refusal:
        take_key({"COMFYPOD_API_KEY": key}, host, has_page=False)
    assert "COMFYPOD_API_KEY" in str(refusal.value)
    assert not key.strip() or key.strip() not in str(refusal.value)


def test_on_this_machine_a_key_is_wanted_for_the_page_alone() -> None:
    for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        assert take_key({}, host, has_page=False) is None
        assert take_key({"COMFYPOD_API_KEY": "short"}, host, has_page=False) == "short"
        for key in ("", "short"):
            with pytest.raises(ConfigurationError, match="ComfyUI's page"):
                take_key({"COMFYPOD_API_KEY": key}, host, has_page=True)


def test_what_is_started_later_does_not_see_the_key() -> None:
    environment = {"COMFYPOD_API_KEY": f" {KEY}\n", "PATH": "/bin"}
    assert take_key(environment, EVERYWHERE, has_page=True) == KEY
    assert environment == {"PATH": "/bin"}


def test_the_name_outside_is_that_of_runpods_proxy() -> None:
    assert outside_host({"RUNPOD_POD_ID": "abc123"}, 8000) == "abc123-8000.proxy.runpod.net"
    for environment in ({}, {"RUNPOD_POD_ID": ""}, {"RUNPOD_POD_ID": "evil.example/"}):
        assert outside_host(environment, 8000) is None


def test_jobs_are_kept_where_it_is_told_or_on_the_volume(tmp_path: Path) -> None:
    volume = Path("/proc")  # mounted everywhere, and no folder can be made there
    pod = {"RUNPOD_POD_ID": "abc123"}
    assert state_file(str(tmp_path / "a" / "jobs.db"), pod, [volume]) == tmp_path / "a" / "jobs.db"
    assert (tmp_path / "a").is_dir()
    assert state_file(None, pod, [tmp_path / "none", tmp_path]) is None, "a folder is no volume"
    assert state_file("none", pod, [volume]) is None
    with pytest.raises(ConfigurationError, match=r"/proc/\.comfypod/pod-abc123\.db .* COMFYPOD_STATE"):
        state_file(None, pod, [volume])
    with pytest.raises(ConfigurationError, match=r"/pod-local\.db"):
        state_file(None, {"RUNPOD_POD_ID": "../x"}, [volume])


@pytest.mark.parametrize(
    ("environment", "url", "told"),
    [
        ({"COMFYUI_URL": "http://10.0.0.1:1", "COMFYUI_COMMAND": "x --port 2"}, "http://10.0.0.1:1", {}),
        ({"COMFYUI_COMMAND": "python main.py --port 8199 --cpu"}, "http://127.0.0.1:8199", {}),
        ({"COMFYUI_COMMAND": "python 'my main.py' --port=8199"}, "http://127.0.0.1:8199", {}),
        ({"COMFYUI_PORT": "8199"}, "http://127.0.0.1:8199", {"COMFYUI_PORT": "8199"}),
        (
            {"COMFYUI_PORT": "8199", "COMFYUI_COMMAND": "python main.py"},
            "http://127.0.0.1:8199",
            {"COMFYUI_PORT": "8199"},
        ),
    ],
)
def test_where_comfyui_will_be(environment: dict[str, str], url: str, told: dict[str, str]) -> None:
    assert comfyui_address(environment) == (url, told)


def test_without_a_word_comfyui_gets_a_free_port_and_keeps_it() -> None:
    url, told = comfyui_address({})
    assert url == f"http://127.0.0.1:{told['COMFYUI_PORT']}"
    with pytest.raises(ConfigurationError, match="COMFYUI_COMMAND"):
        comfyui_address({"COMFYUI_COMMAND": "python 'main.py"})


def test_the_workers_last_words_are_the_error_that_it_ended_with(capsys: pytest.CaptureFixture[str]) -> None:
    output = WorkerOutput()

    def say(*lines: str) -> None:
        with output.path.open("ab") as log:
            log.write("".join(f"{line}\n" for line in lines).encode())
        deadline = time.monotonic() + 10
        while capsys.readouterr().err.splitlines()[-1:] != [lines[-1]]:
            assert time.monotonic() < deadline
            time.sleep(0.005)

    assert (output.last_words, output.last_code) == ("", None)
    say("12:00:00 INFO    comfyui_starting", "comfyui | configuration: not the worker's own", "Traceback: x")
    assert (output.last_words, output.last_code) == ("Traceback: x", None)
    say("gpu_unavailable: There is no driver.", "", "12:00:01 INFO    comfyui_stopped")
    assert (output.last_words, output.last_code) == ("gpu_unavailable: There is no driver.", "gpu_unavailable")
    say(*(f"line {number}" for number in range(20)))
    assert (output.last_words, output.last_code) == ("line 19", None), "an old error is not the reason"
    output.close()
