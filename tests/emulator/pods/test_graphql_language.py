"""As much of GraphQL as RunPod's clients write."""

from __future__ import annotations

import pytest

from comfypod.emulator.pods.graphql_language import Field, SyntaxProblem, parse


def test_arguments_inline_and_as_variables() -> None:
    inline = parse('mutation { podStop(input: {podId: "x", n: [1, -2.5, true, null, ALL]}) { id } }', {})
    assert inline.kind == "mutation"
    assert inline.fields[0].arguments == {"input": {"podId": "x", "n": [1, -2.5, True, None, "ALL"]}}
    given = parse("mutation Stop($input: PodStopInput!) { podStop(input: $input) { id } }", {"input": {"podId": 'a"b'}})
    assert given.fields[0].arguments == {"input": {"podId": 'a"b'}}
    assert given.variable_types == {"input": "PodStopInput"}


def test_aliases_nested_fields_comments_and_defaults() -> None:
    found = parse('query Q($a: [String!]! = ["x"], $b: Int) { mine: myself { pods { id } } # all\n, pod { id } }', {})
    assert [(field.key, field.name) for field in found.fields] == [("mine", "myself"), ("pod", "pod")]
    assert found.fields[0].fields[0] == Field("pods", "pods", {}, (Field("id", "id", {}),))
    assert found.variable_types == {"a": "String", "b": "Int"}


def test_escapes_in_strings() -> None:
    assert parse(r'{ pod(x: "a\"b\n\u00e9") { id } }', {}).fields[0].arguments == {"x": 'a"b\né'}


@pytest.mark.parametrize(
    "document",
    [
        "",
        "{",
        "{ }",
        "{ pod(input: ) { id } }",
        '{ pod(x: "unended) { id } }',
        '{ pod(x: "\\q") { id } }',
        "{ pod { id } } more",
        "{ pod(x: $unknown) { id } }",
        "{ ...Fragment }",
        "{ pod { id } %",
        "mutation M($a) { pod { id } }",
        "{a" * 100,
        "{ a(b: " + "[" * 100,
    ],
)
def test_what_is_no_document_is_refused_and_no_more(document: str) -> None:
    with pytest.raises(SyntaxProblem):
        parse(document, {})
