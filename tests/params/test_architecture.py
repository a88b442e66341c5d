"""Models in shorthand: the layers they are parsed into, and errors with a mark under the wrong character."""

import re

import pytest

from bnbench.params.architecture import Conv, Dense, Drop, Layer, Lrn, NotationError, Pool, check, parse

MEANINGS: dict[str, list[Layer]] = {
    "784-100-10": [Dense(units=100), Dense(units=10)],
    "64-10D": [Dense(units=10)],
    "32C5-P2-64C7-P2-10D": [
        Conv(filters=32, size=5),
        Pool(size=2),
        Conv(filters=64, size=7),
        Pool(size=2),
        Dense(units=10),
    ],
    "16K-2C2B-64D-Dropout0.5-10D": [
        *[Conv(filters=16, size=3)] * 2,
        Pool(size=2),
        *[Conv(filters=32, size=3)] * 2,
        Pool(size=2),
        Dense(units=64),
        Drop(rate=0.5),
        Dense(units=10),
    ],
    "8K-1C1B-16K-1C1B-Dropout.25-10": [
        Conv(filters=8, size=3),
        Pool(size=2),
        Conv(filters=16, size=3),
        Pool(size=2),
        Drop(rate=0.25),
        Dense(units=10),
    ],
}


@pytest.mark.parametrize(("text", "layers"), MEANINGS.items())
def test_a_model_is_its_layers_in_order(text: str, layers: list[Layer]) -> None:
    assert list(parse(text).layers) == layers


def test_a_bare_number_at_the_start_is_the_input_width() -> None:
    assert parse("784-100-10").inputs == 784
    assert parse("100D-10").inputs is None
    assert parse("8C3-10").inputs is None


def test_filters_double_from_block_to_block() -> None:
    filters = [layer.filters for layer in parse("64K-4C3B-10D").layers if isinstance(layer, Conv)]
    assert filters == [64] * 4 + [128] * 4 + [256] * 4


@pytest.mark.parametrize("text", ["64K-3C2B", "64K-3C3B", "64K-3C4B", "64K-4C3B", "256K-4C3B", "4K-1C1B"])
def test_blocks_are_conv_layers_of_3x3_then_a_pool_of_2x2(text: str) -> None:
    width, convs, blocks = (int(number) for number in re.findall(r"\d+", text))
    expected: list[Layer] = []
    for _ in range(blocks):
        expected += [Conv(filters=width, size=3) for _ in range(convs)]
        expected.append(Pool(size=2))
        width = width + width
    assert list(parse(f"{text}-10D").layers[:-1]) == expected


def test_local_response_normalisation_may_follow_a_conv_layer() -> None:
    layers = [Conv(filters=32, size=5), Lrn(), Pool(size=2), Conv(filters=64, size=5), Lrn(), Dense(units=10)]
    assert list(parse("32C5-LRN-P2-64C5-LRN-10D").layers) == layers


def test_each_layer_has_its_position_in_the_text() -> None:
    text = "8C3-4K-2C1B-P2-Dropout0.5-10D"
    starts = [text[position:].split("-")[0] for position in parse(text).positions]
    assert starts == ["8C3", "2C1B", "2C1B", "2C1B", "P2", "Dropout0.5", "10D"]


# the model, with a mark before the wrong character, and the problem
WRONG = {
    "784-^foo-10": "'foo' is no layer; known are 784 (width)",
    "784-^-10": "'' is no layer",
    "784-^100 -10": "'100 ' is no layer",
    "^8C4-10D": "'8C4' is no layer",  # an even size has no centre
    "8C3-^P0-10D": "a size of 0",
    "8C3-^0D-10D": "a size of 0",
    "^0K-2C2B-10D": "a size of 0",
    "784-^0100-10": "a size with a leading 0",
    "^0784-100-10": "a size with a leading 0",
    "784-^1000000-10": "a size above 100000",
    f"784-^{'9' * 180}-10": "a size above 100000",
    "^4C3B-10D": "blocks need a number of filters before them",
    "64K-^100C1B-10D": "'100C1B' is no layer",
    "8C3-P2^": "a model ends with a dense layer",
    "784^": "a model ends with a dense layer",
    "64K^": "a model ends with a dense layer",
    "^": "'' is no layer",
    "784-10-Dropout0.5^": "a model ends with a dense layer",
    "784-^Dropout1.5-10": "'Dropout1.5' is no layer",
    "784-^-5-10": "'' is no layer",
    "784-^\u0661\u0660\u0660-10": "is no layer",  # digits outside ASCII
    "64-^8C3-10": "a conv layer, a pool or LRN takes images",
    "8C3-100-^LRN-10": "a conv layer, a pool or LRN takes images",
    "^Lrn-10D": "'Lrn' is no layer",
    "8C3-100-^P2-10": "a conv layer, a pool or LRN takes images",
    "^\x1b[31m-10": "'\\x1b[31m' is no layer",
}


@pytest.mark.parametrize(("marked", "problem"), WRONG.items())
def test_a_model_that_cannot_be_parsed_is_marked_at_the_character_at_fault(marked: str, problem: str) -> None:
    text = marked.replace("^", "")
    with pytest.raises(NotationError) as caught:
        parse(text)
    rule, shown, mark = str(caught.value).split("\n")
    assert problem in rule
    assert mark.index("^") - 4 == marked.index("^")
    assert len(shown) == len(text) + 4
    assert shown.isprintable()


@pytest.mark.parametrize(
    ("marked", "shape", "problem"),
    [
        ("^784-100-10", (1, 8, 8), "images of 1x8x8 have 64 inputs, not 784"),
        ("64-100-^7", (1, 8, 8), "the data set has 10 classes, the model 7 outputs"),
        ("8C3-^100D", (3, 32, 32), "10 classes, the model 100 outputs"),
        ("8C3-P2-8C3-P2-^P3-10D", (1, 8, 8), "its pools leave nothing of an image of 8x8"),
        ("8K-^1C4B-10D", (1, 8, 8), "its pools leave nothing"),
    ],
)
def test_a_model_that_does_not_fit_its_data_is_marked(marked: str, shape: tuple[int, int, int], problem: str) -> None:
    with pytest.raises(NotationError) as caught:
        check(marked.replace("^", ""), shape, 10)
    rule, _, mark = str(caught.value).split("\n")
    assert problem in rule
    assert mark.index("^") - 4 == marked.index("^")


def test_a_model_that_fits_is_returned() -> None:
    assert check("64-100-10", (1, 8, 8), 10) == parse("64-100-10")
    assert check("8C3-P2-P2-P2-10D", (1, 8, 8), 10) == parse("8C3-P2-P2-P2-10D")
    assert check("3072-10", (3, 32, 32), 10).inputs == 3072
