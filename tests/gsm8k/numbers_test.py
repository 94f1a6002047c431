"""The numbers that a text states, in digits and in words, at the words where they stand."""

from fractions import Fraction

import pytest

from effxf_jax.gsm8k import numbers

HALF, THIRD, QUARTER = Fraction(1, 2), Fraction(1, 3), Fraction(1, 4)


def stated(text):
    """The values by the word at which they are stated."""
    words = numbers.words(text)
    found = {}
    for value, position in numbers.stated(words):
        found.setdefault(f'{words[position].text}@{position}', set()).add(value)
    return found


def test_words_are_numbers_words_and_marks_with_their_offsets():
    text = "Zoë's 1,250.50 kg, 3-page <<2*.5=1>>1.\n#### 7%"
    words = numbers.words(text)
    assert [word.text for word in words] == [
        "Zoë's", '1,250.50', 'kg', ',', '3', '-', 'page', '<<', '2', '*', '.5', '=', '1', '>>', '1', '.',
        '####', '7', '%',
    ]  # fmt: skip
    assert all(text[word.offset :].startswith(word.text) for word in words)
    assert {word.kind for word in words if word.text[0].isdigit()} == {'number'}


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('a 48 b 1,250 c 0.75', {'48@1': {48}, '1,250@3': {1250}, '0.75@5': {Fraction(3, 4)}}),
        ('20% of it', {'20@0': {20, Fraction(1, 5)}}),
        ('ten percent', {'ten@0': {10, Fraction(1, 10)}}),
        ('3/4 cup', {'3@0': {3, Fraction(3, 4)}, '4@2': {4}}),
        ('1/0', {'1@0': {1}, '0@2': {0}}),
        ('2 1/2 cups', {'2@0': {2, Fraction(5, 2)}, '1@1': {1, HALF}, '2@3': {2}}),
        ('5 million, 3 dozen', {
            '5@0': {5, 5_000_000}, 'million@1': {10**6}, '3@3': {3, 36}, 'dozen@4': {12},
        }),
        ('half', {'half@0': {HALF, 2, 1}}),
        ('half a dozen', {'half@0': {HALF, 2, 1, 6}, 'dozen@2': {12}}),
        ('a third, a Quarter', {'third@1': {THIRD, 3, 1}, 'Quarter@4': {QUARTER, 4, 1}}),
        ('two-thirds', {'two@0': {2, Fraction(2, 3)}, 'thirds@2': {THIRD, 3, 1}}),
        ('one and a half', {'one@0': {1, Fraction(3, 2)}, 'half@3': {HALF, 2, 1}}),
        ('twice, tripled, once', {'twice@0': {2}, 'tripled@2': {3}, 'once@4': {1}}),
        ('twenty-five', {'twenty@0': {25}}),
        ('twenty five', {'twenty@0': {25}}),
        ('two hundred and five men', {'two@0': {205}}),
        ('five and six', {'five@0': {5}, 'six@2': {6}}),
        ('one thousand two hundred thirty-four', {'one@0': {1234}}),
        ('ninety-nine hundred', {'ninety@0': {9900}}),
        ('a hundred and', {'hundred@1': {100}}),
        ('three million forty thousand', {'three@0': {3_040_000}}),
        ('zero', {'zero@0': {0}}),
        ('\xbe of', {'\xbe@0': {Fraction(3, 4), 3, 4}}),
        ('2\xbd', {'2@0': {2, Fraction(5, 2)}, '\xbd@1': {HALF, 1, 2}}),
        ('someone tense hundredth 5th', {'5@3': {5}}),
        ('9' * 5000, {}),
        ('\u0663 and \u00b2', {}),
        ('', {}),
        ('- and / and %', {}),
    ],
)  # fmt: skip
def test_a_text_states_these_numbers(text, expected):
    assert stated(text) == expected


@pytest.mark.parametrize('number', range(100))
def test_numbers_below_a_hundred_are_read_in_words(number):
    units = 'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen'
    units = [*units.split(), 'sixteen', 'seventeen', 'eighteen', 'nineteen']
    tens = ['', '', 'twenty', 'thirty', 'forty', 'fifty', 'sixty', 'seventy', 'eighty', 'ninety']
    if number < 20:
        text = units[number]
    else:
        text = tens[number // 10] + (f'-{units[number % 10]}' if number % 10 else '')
    (values,) = stated(text).values()
    assert values == {number}
