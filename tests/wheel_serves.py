"""Whether an installed penstock serves: started on a free port, asked once, stopped. Needs nothing but the package."""

import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

HELLO = Path(__file__).parents[1] / "examples" / "hello.py"

command = [sys.executable, "-m", "penstock", "serve", str(HELLO), "--port", "0"]
with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
    try:
        assert process.stderr is not None
        said = process.stderr.readline()
        address = re.search(r"http://\S+", said)
        assert address, said
        request = urllib.request.Request(address[0], data=json.dumps({"x": 21}).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:
            body = json.load(answer)
        assert body == {"x": 42}, body
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
print(f"penstock in Python {sys.version.split()[0]} served {body} and stopped")
