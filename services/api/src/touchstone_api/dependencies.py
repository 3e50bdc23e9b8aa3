"""What routes ask for by annotation: `services: Annotated[Services, Depends(services)]`, or `ServicesHere`."""

from typing import Annotated

from fastapi import Depends, Request

from touchstone_api.bootstrap import Services


def services(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


ServicesHere = Annotated[Services, Depends(services)]
