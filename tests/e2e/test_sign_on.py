"""Logging in at an OpenID provider with a real browser."""

from playwright.sync_api import Browser
from support.served_api import serving_api
from support.sign_on import Serve, issuer, services_with

__all__ = ["issuer", "services_with"]


def test_a_real_browser_ends_on_the_page_it_asked_for(services_with: Serve, browser: Browser) -> None:
    """The provider is another site to the browser (localhost, and 127.0.0.1), which strict cookies do not survive."""
    with serving_api(services_with(), needs_login=True) as address:
        page = browser.new_page()
        page.goto(f"{address}/new")
        page.get_by_role("link", name="Log in with your organisation's account").click()
        page.get_by_role("button", name="1", exact=True).click()
        page.wait_for_url("**/new")
        assert page.get_by_role("button", name="Log out").is_visible()
        page.close()
