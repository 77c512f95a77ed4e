# SPDX-License-Identifier: Apache-2.0
"""Child processes start clean, fail with a sentence, and never stay behind."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import anyseg_ros.demo.stage as stage_module
from anyseg_ros.demo.play import Tail
from anyseg_ros.demo.stage import SEGMENT, Stage, StageError, clean_environment, dds_profile, random_domain
from anyseg_ros.resources import share_path

SLEEPER = "import signal, sys, time\nprint('ready', flush=True)\ntime.sleep(600)\n"
STUBBORN = (
    "import signal, subprocess, sys, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "print('ready', child.pid, flush=True)\ntime.sleep(600)\n"
)


@pytest.fixture
def stage(tmp_path):
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    (tmp_path / "failing.py").write_text("import sys\nprint('the weights are not there')\nsys.exit(3)\n")
    (tmp_path / "brief.py").write_text("print('done')\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with Stage(tmp_path / "logs", environment) as stage:
        yield stage


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"


def gone(pid: int, patience_s: float = 10.0) -> bool:
    end = time.monotonic() + patience_s
    while alive(pid) and time.monotonic() < end:
        os.sched_yield()
    return not alive(pid)


def until_ready(stage, child):
    stage.wait(lambda: "ready" in child.tail(), 30, "the child", lambda: None)


def test_a_sourced_ros_shell_does_not_reach_the_children(tmp_path):
    shell = {
        "PATH": "/usr/bin",
        "HOME": "/home/someone",
        "PYTHONPATH": "/opt/ros/jazzy/lib/python3.12/site-packages",
        "AMENT_PREFIX_PATH": "/opt/ros/jazzy",
        "LD_LIBRARY_PATH": "/opt/ros/jazzy/lib",
        "RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp",
        "_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1",
        "ROS_DOMAIN_ID": "0",
        "ROS_LOCALHOST_ONLY": "1",
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF",
        "FASTDDS_DEFAULT_PROFILES_FILE": "/etc/other.xml",
    }
    clean = clean_environment(shell, 42, tmp_path / "ros", tmp_path / "dds.xml")
    assert clean == {
        "PATH": "/usr/bin",
        "HOME": "/home/someone",
        "ROS_DOMAIN_ID": "42",
        "ROS_LOG_DIR": str(tmp_path / "ros"),
        "FASTRTPS_DEFAULT_PROFILES_FILE": str(tmp_path / "dds.xml"),
        "PYTHONUNBUFFERED": "1",
    }


def test_domains_stay_below_the_ephemeral_ports():
    assert {random_domain() for _ in range(200)} <= set(range(1, 102))


def test_a_domain_in_use_is_not_taken(monkeypatch):
    with socket.socket(type=socket.SOCK_DGRAM) as first, socket.socket(type=socket.SOCK_DGRAM) as second:
        for one in (first, second):
            one.bind(("", 0))
        low, high = sorted(one.getsockname()[1] for one in (first, second))
        monkeypatch.setattr(stage_module, "DOMAINS", range(2))
        monkeypatch.setattr(stage_module, "PARTICIPANTS", 1)
        monkeypatch.setattr(stage_module, "FIRST_PORT", low)
        monkeypatch.setattr(stage_module, "PORTS_PER_DOMAIN", high - low)
        with pytest.raises(StageError, match="from 0 to 1 are in use"):
            random_domain()
        (second if second.getsockname()[1] == high else first).close()
        assert {random_domain() for _ in range(20)} == {1}


def test_the_profile_is_the_packages_own_where_shared_memory_is_large(tmp_path):
    assert dds_profile(tmp_path, free_bytes=10**10) == share_path("config/fastdds.xml").resolve()


def test_the_profile_shrinks_where_shared_memory_is_small(tmp_path):
    profile = dds_profile(tmp_path, free_bytes=60_000_000)
    assert [int(size) for size in SEGMENT.findall(profile.read_text())] == [12_000_000]


def test_a_dead_child_gives_a_sentence_with_the_end_of_its_log(stage):
    child = stage.start("segmentor", "failing", [])
    with pytest.raises(StageError, match=r"(?s)the segmentor ended with exit code 3.*the weights are not there"):
        stage.wait(lambda: False, 30, "nothing", lambda: None)
    assert not child.running


def test_a_lasting_child_that_ends_is_a_failure_too(stage):
    stage.start("recorder", "brief", [], lasting=True)
    with pytest.raises(StageError, match="the recorder ended with exit code 0"):
        stage.wait(lambda: False, 30, "nothing", lambda: None)


def test_waiting_has_an_end_and_says_for_what(stage):
    child = stage.start("player", "sleeper", [])
    until_ready(stage, child)
    with pytest.raises(StageError, match=r"(?s)for the player to finish, in vain.*player.*ready"):
        stage.wait(lambda: False, 0.3, "the player to finish", lambda: None)


def test_leaving_the_stage_ends_children_and_grandchildren_even_stubborn_ones(stage):
    child = stage.start("stubborn", "stubborn", [])
    until_ready(stage, child)
    grandchild = int(child.tail().split()[-1])
    assert alive(child.process.pid) and alive(grandchild)
    stage.close()
    assert gone(child.process.pid) and gone(grandchild)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends the children of a killed process")
def test_children_die_with_a_parent_that_is_killed(tmp_path):
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    parent = textwrap.dedent(
        f"""
        import os, time
        from pathlib import Path
        from anyseg_ros.demo.stage import Stage
        stage = Stage(Path({str(tmp_path / "logs")!r}), {{**os.environ, "PYTHONPATH": {str(tmp_path)!r}}})
        child = stage.start("sleeper", "sleeper", [])
        stage.wait(lambda: "ready" in child.tail(), 30, "the child", lambda: None)
        print(child.process.pid, flush=True)
        time.sleep(600)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    pid = int(process.stdout.readline())
    assert alive(pid)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    process.stdout.close()
    assert gone(pid)


def test_a_tail_gives_whole_new_rows_only(tmp_path):
    path = tmp_path / "rows.jsonl"
    tail = Tail(path)
    assert tail.new() == []
    path.write_text('{"a": 1}\n[INFO] not a row\n{"a": ')
    assert tail.new() == [{"a": 1}]
    with path.open("a") as file:
        file.write("2}\n")
    assert tail.new() == [{"a": 2}]
    assert tail.new() == []
