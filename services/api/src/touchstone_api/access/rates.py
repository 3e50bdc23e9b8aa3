"""How many requests a key may send a minute."""

import math
import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from touchstone_contracts.problems import Invalid
from touchstone_store.keys import Principal


class TooManyRequests(Invalid):
    code = "too_many_requests"
    status = 429
    title = "Too many requests"

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class Rates:
    """Counted in this process: with several of them a key may send as many requests to each."""

    def __init__(self) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def require_within(self, principal: Principal, requests_a_minute: int) -> None:
        """Raises TooManyRequests."""
        item = RateLimitItemPerMinute(requests_a_minute)
        if self._limiter.hit(item, principal.actor):
            return
        free_at = self._limiter.get_window_stats(item, principal.actor).reset_time
        wait = max(1, math.ceil(free_at - time.time()))
        raise TooManyRequests(f"this key may send {requests_a_minute} requests a minute: wait {wait} s", wait)
