"""The index leaves out only what cannot match."""

from __future__ import annotations

import pytest

from server_tracing.frameworks.prefix_index import PrefixIndex, literal_of, literal_of_regex


def index(*templates: str) -> PrefixIndex[str]:
    return PrefixIndex((*literal_of(template, "{"), template) for template in templates)


def test_candidates_come_in_the_order_given():
    """The first that matches wins, as in the router."""
    found = index("/{anything}", "/users/me", "/users/{id}", "/users/{id}/cart", "/about").candidates(
        "/users/me"
    )
    assert found == ["/{anything}", "/users/me", "/users/{id}", "/users/{id}/cart"]


def test_a_segment_cut_by_a_variable_counts_for_nothing():
    """`/user-{id}` begins like `/user-4`, and like no segment that is known."""
    assert index("/user-{id}").candidates("/user-4") == ["/user-{id}"]


def test_a_route_without_variables_is_found_by_all_of_it():
    """Ten thousand of them are one candidate."""
    routes = index(*(f"/r{number}" for number in range(10_000)))
    assert routes.candidates("/r77") == ["/r77"]


@pytest.mark.parametrize(
    ("regex", "literal"),
    [
        ("^archive/(?P<year>[0-9]{4})/$", "archive/"),
        ("^users/?$", "users"),
        ("^users?/x$", "user"),
        ("^a{2}/b$", ""),
        ("^one$|^two$", ""),
        ("unanchored/x$", ""),
        ("^", ""),
        (r"^a\.b/c$", "a"),
    ],
)
def test_of_a_regular_expression_only_what_is_certain_counts(regex, literal):
    """What may be missing, repeated or another alternative is no literal."""
    assert literal_of_regex(regex) == (literal, False)
