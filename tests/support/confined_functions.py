"""What the processes of test_confined run: each does to its own process what a hostile file might."""

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path


def obey(request: memoryview) -> Iterator[bytes]:
    """One answer for each word of the request."""
    for word in bytes(request).decode().split():
        yield getattr(Deeds, word.partition("=")[0])(word.partition("=")[2])


class Deeds:
    @staticmethod
    def echo(text: str) -> bytes:
        return text.encode()

    @staticmethod
    def pid(_: str) -> bytes:
        return str(os.getpid()).encode()

    @staticmethod
    def spin(_: str) -> bytes:
        while True:
            pass

    @staticmethod
    def allocate(count: str) -> bytes:
        return str(len(bytearray(int(count)))).encode()

    @staticmethod
    def signal(name: str) -> bytes:
        if name not in ("SIGKILL", "SIGSTOP"):  # whoever was started with `nohup` passes on that it ignores SIGHUP
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        os.kill(os.getpid(), getattr(signal, name))
        return b"survived"

    @staticmethod
    def open(count: str) -> bytes:
        files: list[int] = []
        try:
            while len(files) < int(count):
                files.append(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            return os.strerror(error.errno or 0).encode()
        finally:
            for file in files:
                os.close(file)
        return str(len(files)).encode()

    @staticmethod
    def write(path: str) -> bytes:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            return str(Path(path).write_bytes(b"x")).encode()
        except OSError as error:
            return os.strerror(error.errno or 0).encode()

    @staticmethod
    def environment(name: str) -> bytes:
        return os.environ.get(name, "absent").encode()

    @staticmethod
    def print(text: str) -> bytes:
        os.write(1, text.encode() * 100)
        os.write(2, text.encode() * 100)
        return b"printed"

    @staticmethod
    def cores(_: str) -> bytes:
        return str(resource.getrlimit(resource.RLIMIT_CORE)[0]).encode()

    @staticmethod
    def fail(text: str) -> bytes:
        raise ValueError(text)
