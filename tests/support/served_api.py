"""The api on a socket of this machine, inside the test's own process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import uvicorn
from touchstone_api.bootstrap import Services
from touchstone_api.main import create_app


@contextmanager
def serving_api(services: Services, *, needs_login: bool = False) -> Iterator[str]:
    """Its address. Browsers of this machine open its pages without a login, as after `make up`."""
    settings = services.settings.model_copy(update={"open_on_this_machine": not needs_login})
    app = create_app(replace(services, settings=settings))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    listening = server.config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(timeout=20)
        listening.close()
