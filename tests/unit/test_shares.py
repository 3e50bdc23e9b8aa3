"""How many steps may be handed out where workers serve different versions."""

from collections import Counter
from itertools import chain, combinations

from hypothesis import given
from hypothesis import strategies as st
from support.live_workers import live_worker
from touchstone_conductor.shares import Shares
from touchstone_contracts.messages import LiveWorker

QUEUE = "trainer"


def workers(*channels: str) -> list[LiveWorker]:
    """One for each text, which names its channels by a letter each."""
    return [live_worker(QUEUE, f"w{number}", tuple(served)) for number, served in enumerate(channels)]


def handed_out(staff: list[LiveWorker], ready: str) -> str:
    """Of steps that are ready in this order, each named by its channel."""
    shares = Shares(staff, per_worker=2)
    return "".join(channel for channel in ready if shares.take(QUEUE, channel))


def test_workers_of_one_release_have_a_share_each_whatever_the_channel() -> None:
    assert handed_out(workers("ab", "ab"), "aaabbbb") == "aaab"
    assert handed_out(workers("ab"), "ba") == "ba"


def test_a_queue_without_workers_has_the_share_of_one() -> None:
    assert handed_out([], "abc") == "ab"


def test_steps_that_wait_for_a_worker_to_start_take_nothing_from_those_that_live() -> None:
    assert handed_out(workers("a"), "bbbaaa") == "bbaa"


def test_each_of_two_releases_gets_what_it_alone_serves() -> None:
    assert handed_out(workers("a", "b"), "aaaaabbbbb") == "aabb"


def test_two_channels_of_one_release_do_not_use_up_the_share_of_the_other() -> None:
    """With a limit for the queue and one for each channel they would: two of each are all that two workers may have."""
    assert handed_out(workers("ab", "c"), "aabbccc") == "aacc"


def test_a_step_that_both_serve_is_counted_where_there_is_room_for_it() -> None:
    assert handed_out(workers("ab", "bc"), "bbcca") == "bbcc"
    assert handed_out(workers("ab", "bc"), "bbaacc") == "bbaa"
    assert handed_out(workers("ab", "b", "bc"), "bbaacc") == "bbaacc"


def test_queues_have_shares_of_their_own() -> None:
    shares = Shares([live_worker("trainer", "t", ("a",)), live_worker("judge", "j", ("z",))], per_worker=1)
    asked = (("trainer", "a"), ("trainer", "a"), ("judge", "z"), ("generator", "x"), ("retrieval", "x"), ("judge", "x"))
    assert [shares.take(queue, channel) for queue, channel in asked] == [True, False, True, True, True, True]


def test_channels_with_room_are_told_and_asking_takes_nothing() -> None:
    shares, asked = Shares(workers("ab", "c"), per_worker=2), dict.fromkeys("abcx", QUEUE)
    assert shares.with_room(asked) == {"a", "b", "c", "x"}
    assert [shares.take(QUEUE, channel) for channel in "aabx"] == [True, True, False, True]
    assert shares.with_room(asked) == {"c", "x"}
    assert [shares.take(QUEUE, channel) for channel in "ccx"] == [True, True, True]
    assert shares.with_room(asked) == set()


def test_more_leases_than_the_workers_that_are_left_may_have_leave_no_room() -> None:
    assert handed_out(workers("ab"), "aaaaaaaab") == "aa"


STAFF = st.lists(st.sets(st.sampled_from("abcd"), min_size=1).map(lambda served: "".join(sorted(served))), max_size=6)


@given(STAFF, st.text("abcde", max_size=30))
def test_no_set_of_workers_is_given_more_than_its_shares_of_what_only_they_serve_and_no_room_is_left(
    served: list[str], ready: str
) -> None:
    """Hall's condition, for every set of workers; the channel `e` is nobody's."""
    given_out = Counter(handed_out(workers(*served), ready))

    def fits(leases: Counter[str]) -> bool:
        nobodys = {channel for channel in "abcde" if not any(channel in each for each in served)}
        sets = chain.from_iterable(combinations(served, size) for size in range(len(served) + 1))
        return leases_of(nobodys, leases) <= 2 and all(
            leases_of(only_served_by(chosen, served) - nobodys, leases) <= 2 * len(chosen) for chosen in sets
        )

    assert fits(given_out)
    for channel, count in Counter(ready).items():
        assert count == given_out[channel] or not fits(given_out + Counter(channel))


def leases_of(channels: set[str], leases: Counter[str]) -> int:
    return sum(leases[channel] for channel in channels)


def only_served_by(chosen: tuple[str, ...], served: list[str]) -> set[str]:
    others = Counter(served) - Counter(chosen)
    return {channel for channel in "abcde" if not any(channel in each for each in others)}
