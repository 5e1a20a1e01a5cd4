"""`runward` in processes forked from one that has imported everything: an import costs more than
most commands. `python forking.py serve SOCKET` forks them, `… call SOCKET ARGUMENTS` asks for one.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys


def call(path: str, arguments: list[str]) -> int:
    """Have one command carried out here, with this process's files, folder and environment."""
    folder = os.getcwd()  # noqa: PTH109, whose import would be most of what this costs
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        asked = {"arguments": arguments, "folder": folder, "environment": dict(os.environ)}
        socket.send_fds(server, [b"3"], [0, 1, 2])
        server.sendall(json.dumps(asked).encode())
        server.shutdown(socket.SHUT_WR)
        return int(server.recv(8) or b"137")


def serve(path: str) -> None:
    """Fork for each who asks, until a SIGTERM."""
    __import__("warmed")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            print("ready", flush=True)
            while True:
                asking, _ = listener.accept()
                if os.fork() == 0:
                    listener.close()
                    _carry_out(asking)
                asking.close()
    finally:
        while True:
            try:
                os.wait()
            except ChildProcessError:
                break


def _carry_out(asking: socket.socket) -> None:
    """In the child: become what was asked for; never returns."""
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _, files, _, _ = socket.recv_fds(asking, 1, 3)
        asked = json.loads(b"".join(iter(lambda: asking.recv(65536), b"")))
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os.chdir(asked["folder"])
        os.environ.clear()
        os.environ.update(asked["environment"])
        sys.argv = ["runward", *asked["arguments"]]
        code = _ended()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        asking.sendall(str(code).encode())
        os._exit(code)


def _ended() -> int:
    import traceback

    from ledger.commands import main

    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(call(sys.argv[2], sys.argv[3:]))
