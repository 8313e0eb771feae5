# SPDX-License-Identifier: BSD-2-Clause
"""The programs of README.md run as they stand."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import unittest

from support import LIBRARY, NodeTest


class Readme(NodeTest):
    def start(self, directory, name):
        made = subprocess.Popen(
            [sys.executable, name], cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=dict(os.environ, PYTHONPATH=LIBRARY, PYTHONDONTWRITEBYTECODE="1"))
        self.addCleanup(made.communicate)
        self.addCleanup(made.kill)
        return made

    def test_a_running_worker_in_ten_lines(self):
        with open(os.path.join(LIBRARY, "README.md"), encoding="utf-8") as f:
            programs = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", f.read(), re.DOTALL)
        self.assertEqual([name for name, _ in programs], ["worker.py", "ask.py"])
        with tempfile.TemporaryDirectory() as directory:
            for name, text in programs:
                self.assertLessEqual(len(text.strip().splitlines()), 10)
                with open(os.path.join(directory, name), "w", encoding="utf-8") as f:
                    f.write(text)
            worker = self.start(directory, "worker.py")
            said, _ = self.start(directory, "ask.py").communicate(timeout=30)
            self.assertEqual(said, b"Hello, world!\n")
            worker.send_signal(signal.SIGTERM)
            said, _ = worker.communicate(timeout=30)
            self.assertEqual((worker.returncode, said), (0, b""))


if __name__ == "__main__":
    unittest.main()
