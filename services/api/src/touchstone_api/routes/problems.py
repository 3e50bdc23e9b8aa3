"""/problems: what every problem code means and its remedy. The same for everybody, so nobody needs a key."""

from fastapi import APIRouter, Response
from touchstone_contracts.problems import NotFound

from touchstone_api.dashboard.rendering import html_page
from touchstone_api.problem_sections import Chapter, chapters, section_of

router = APIRouter(include_in_schema=False)


@router.get("/problems")
def get_problems() -> Response:
    return html_page("problems.html", title="Problem codes", chapters=chapters())


@router.get("/problems/{code}")
def get_problem(code: str) -> Response:
    section = section_of(code)
    if section is None:
        raise NotFound("There is no problem code of this name; /problems lists them all.")
    return html_page("problems.html", title=section.code, chapters=(Chapter("", (section,)),))
