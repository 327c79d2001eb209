from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sightwords.images.helpers import Helpers
from sightwords.images.member import Member, digests, image_key


def members(tmp_path, count: int) -> list[Member]:
    for i in range(count):
        (tmp_path / f"{i}").write_bytes(b"%d" % i)
    return [Member(str(tmp_path / f"{i}"), f"{i}") for i in range(count)]


def keys(answers) -> list[str]:
    return [key.hex() for answer in answers for key in answer]


@pytest.mark.parametrize("num_processes", [0, 1, 2, 5])
def test_answers_come_in_the_order_of_the_questions(tmp_path, num_processes):
    files = members(tmp_path, 23)
    with Helpers(num_processes) as helpers:
        for _ in range(2):
            answers = helpers.map(digests, ([file] for file in files))
            assert keys(answers) == [image_key(b"%d" % i) for i in range(23)]


def test_what_cannot_be_read_is_told_by_helpers_as_here(tmp_path):
    questions = [[Member(str(tmp_path / "gone"), "gone")], [Member(str(tmp_path), "folder")]]
    with Helpers(0) as here, Helpers(2) as there:
        assert list(there.map(digests, questions)) == list(here.map(digests, questions))


def test_a_helper_that_dies_loses_nothing(tmp_path):
    files = members(tmp_path, 40)
    with Helpers(3) as helpers:
        answers = helpers.map(digests, ([file] for file in files))
        for process in helpers._processes[:2]:
            process.kill()
        assert keys(answers) == [image_key(b"%d" % i) for i in range(40)]


def test_no_helper_outlives_the_block(tmp_path):
    with pytest.raises(KeyboardInterrupt), Helpers(2) as helpers:
        helpers.map(digests, [[file] for file in members(tmp_path, 400)])
        raise KeyboardInterrupt
    assert all(process.returncode is not None for process in helpers._processes)


def test_a_helper_runs_nothing_of_the_users_script(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "print('once')\n"
        "from sightwords.images.keys import Helpers\n"
        "from sightwords.images.keys import Member, digests\n"
        "with Helpers(2) as helpers:\n"
        "    print(len(list(helpers.map(digests, [[Member(__file__, '')]] * 4))))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, env={**os.environ})
    assert done.stdout == "once\n4\n"


@pytest.mark.parametrize("module", ["member", "walk", "helpers"])
def test_what_helpers_import_is_light(module):
    code = (
        f"import sightwords.images.{module}, sys; print([m for m in ('numpy', 'pyarrow', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
