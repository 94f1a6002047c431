"""Word problems: what the dials promise, read from the text; every legal order; bounds counted one by one."""

import itertools
import math
import re

import numpy as np
import pytest

from effxf_jax import dependencies, tasks
from effxf_jax.gsm8k import judging
from effxf_jax.tasks import EOS
from effxf_jax.tasks.words import grammar
from effxf_jax.theory.enumeration import count_classes

BEFORE = {'num_steps': 12, 'alive': 3, 'distractors': 2}
STORY = {'num_steps': 12, 'alive': 3, 'distractors': 2, 'told': 'between'}
both = pytest.mark.parametrize('options', [BEFORE, STORY], ids=['before', 'between'])


def draw(count=30, **options):
    task = tasks.make('word_problems', **options)
    return task, task.encode(task.sample(np.random.default_rng(0), count)).tokens


def sentences(text):
    return re.findall(r'[^.?]+[.?]|#### \d+', text)


def quantities(text):
    """The quantities of a problem told before its chain, by name, worked out from the words alone."""
    told = {}
    for sentence in sentences(text):
        if match := re.match(r' ?(\w+) has (\d+) \w+ \.', sentence):
            told.setdefault(match[1], int(match[2]))
        elif match := re.match(r' ?(\w+) gets (\d+) (more|fewer) \w+ than (\w+) ha', sentence):
            told[match[1]] = (match[3], match[4], int(match[2]))
        elif match := re.match(r' ?(\w+) gets (\d+) times the \w+ (\w+) ha', sentence):
            told[match[1]] = ('times', match[3], int(match[2]))
        elif match := re.match(r' ?(\w+) gets what (\w+) ha[sd] (plus|minus|times) (\w+) ha', sentence):
            told[match[1]] = (match[3], match[2], match[4])

    def value(name):
        if isinstance(name, int) or isinstance(told[name], int):
            return name if isinstance(name, int) else told[name]
        kind, left, right = told[name]
        left, right = value(left), value(right)
        return {'more': left + right, 'plus': left + right, 'times': left * right}.get(kind, left - right)

    return {name: value(name) for name in told}


def test_steps_and_answer_are_what_the_words_say():
    task, rows = draw(**BEFORE)
    for row in rows:
        text = task.decode_text(row)
        question, chain = text.split(' ? ')
        values = quantities(f'{question} ?')
        steps = re.findall(
            r"(\w+) : (\w+) 's (\d+) (\w+) (\w+) (?:'s|number) (\d+) = "
            r'<< (\d+) ([-+*]) (\d+) = (\d+) >> (\d+) , \1 has \11 ',
            chain,
        )
        assert len(steps) == task.num_steps
        for name, first, left, word, second, right, *annotation, value, again in steps:
            assert int(value) == int(again) == values[name]
            operator = {'plus': '+', 'minus': '-', 'times': '*'}[word]
            assert annotation == [left, operator, right]
            left, right = int(left), int(right)
            assert values[first] == left
            assert values.get(second, right) == right
            assert values[name] == {'+': left + right, '-': left - right, '*': left * right}[operator]
        asked = re.search(r'does (\w+) have', question)[1]
        assert text.endswith(f'#### {values[asked]}')
        assert all(0 <= value <= task.largest for value in values.values())


@both
def test_as_many_quantities_are_alive_as_the_dial_says(options):
    task, rows = draw(**options)
    for row in rows:
        living, most = set(), []
        for sentence in sentences(task.decode_text(row)):
            owner = sentence.split()[0]
            if ' gets ' in sentence:
                living -= set(re.findall(r'(\w+) had', sentence))
            if ' gets ' in sentence or re.match(r' ?\w+ has \d', sentence):
                living.add(owner)
            most.append(len(living))
        if options is STORY:
            assert max(most) == task.alive
            assert most.count(task.alive) >= task.num_steps - task.alive + 2
            assert len(living) == 1
    live = [dependencies.live_sets(task.dependencies(row), 'nearest') for row in rows]
    assert max(map(max, live)) == task.alive


def test_no_step_looks_back_farther_than_the_dial_says():
    def farthest(**more):
        task, rows = draw(**STORY, **more)
        chains = [task.dependencies(row) for row in rows]
        return max(max(map(max, filter(None, dependencies.steps_back(c, 'nearest')))) for c in chains)

    assert farthest() > 4
    assert farthest(lookback=4) == 4
    assert farthest(lookback=3) == 3  # every quantity in turn


def test_the_story_is_told_in_the_order_of_its_steps_and_names_come_again():
    task, rows = draw(**STORY)
    text = [sentences(task.decode_text(row)) for row in rows]
    for told in text:
        for sentence, step in itertools.pairwise(told):
            if ' gets ' in sentence:
                assert step.split()[:2] == [sentence.split()[0], ':']
    owners = [[s.split()[0] for s in told if ' gets ' in s] for told in text]
    assert any(len(set(names)) < len(names) for names in owners)


def test_every_order_with_operands_first_is_right_and_no_other():
    task = tasks.make('word_problems', num_steps=3, alive=2)
    question = (
        'Cat gets 1 more pens than Ann had . Dan gets 2 more pens than Ben had . Ann has 3 pens . '
        'Ben has 5 pens . Eve gets what Cat had plus Dan had . How many pens does Eve have ? '
    )
    steps = {
        'Cat': "Cat : Ann 's 3 plus the number 1 = << 3 + 1 = 4 >> 4 , Cat has 4 pens . ",
        'Dan': "Dan : Ben 's 5 plus the number 2 = << 5 + 2 = 7 >> 7 , Dan has 7 pens . ",
        'Eve': "Eve : Cat 's 4 plus Dan 's 7 = << 4 + 7 = 11 >> 11 , Eve has 11 pens . ",
    }
    length = len(question.split())
    for order in itertools.permutations(steps):
        text = question + ''.join(steps[name] for name in order) + '#### 11'
        row = np.append(task.parse_text(text), EOS)[None]
        grade = task.grade(row, np.zeros(row.shape, bool))
        assert grade.answer_correct[0]
        right = order[-1] == 'Eve'
        assert grade.chain_correct[0] == right
        if not right:
            assert grade.first_wrong[0] == length + 24 * order.index('Eve')
    swapped = (
        question
        + ''.join(steps.values()).replace("Cat 's 4 plus Dan 's 7", "Dan 's 7 plus Cat 's 4")
        + '#### 11'
    )
    assert task.diagnose(task.parse_text(swapped)) == (
        f'wrong value at position {length + 50}, step 3: Dan where Cat is expected'
    )


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('Ann has 5 pens .', 'Ann has 5 than .', "'Ann has 5 than .*' is no sentence of this task"),
        ('Ann has 5 pens', 'Ann has 5 books', 'about other things'),
        ('Ben has 4 pens .', 'Ann has 4 pens .', 'refers to a quantity that is not told'),
        ('Ben has 4 pens .', 'Ben has 4 pens . Ben wants 4 pens .', 'comes elsewhere than after 4 sentences'),
        ('Eve had minus', 'Gus had minus', 'refers to a quantity that is not told'),
        (
            'than Ann had',
            'than Ann has',
            'every quantity except the one asked for must be referred to by `had`',
        ),
        ('Ben had .', 'Eve had .', 'refers to one quantity twice'),
        ('does Dan have', 'does Eve have', 'every quantity except the one asked for'),
        ('How many pens', 'How many eggs', 'is no question about the things told of'),
        ('Ann has 5 pens', 'Ann has 1 pens', 'is not from 0 to 20'),
        ('gets 2 more', 'gets 16 more', 'is not from 0 to 20'),
        ('than Ann had', 'than Ann does', 'is no sentence of this task'),
        ('than Ann had', 'than Dan had', ''),
        ('Ben has 4 pens . How many pens does Dan have ?', 'Ben has 4', 'the text ends within the prompt'),
        ('Ann has 5 pens . ', '', 'the question comes elsewhere than after 4 sentences'),
        ('gets 2 more pens', 'gets 2 more eggs', '^.Eve gets 2 more eggs.* is about other things'),
    ],
)
def test_a_prompt_that_is_no_problem_is_refused_with_the_reason(old, new, message):
    task = tasks.make('word_problems', num_steps=2)
    prompt = (
        'Dan gets what Eve had minus Ben had . Ann has 5 pens . Eve gets 2 more pens than Ann had . '
        'Ben has 4 pens . How many pens does Dan have ?'
    )
    assert task.prompt_fault(task.parse_text(prompt)) is None
    assert old in prompt
    assert re.search(message, task.prompt_fault(task.parse_text(prompt.replace(old, new))).detail)


def test_a_quantity_may_be_used_up_before_others_have_used_it():
    task = tasks.make('word_problems', num_steps=3, alive=1)
    text = (
        'Cat gets 1 more pens than Ann had . Dan gets what Ann has plus Cat had . Ann has 3 pens . '
        'Eve gets 2 more pens than Dan had . How many pens does Eve have ? '
        "Cat : Ann 's 3 plus the number 1 = << 3 + 1 = 4 >> 4 , Cat has 4 pens . "
        "Dan : Ann 's 3 plus Cat 's 4 = << 3 + 4 = 7 >> 7 , Dan has 7 pens . "
        "Eve : Dan 's 7 plus the number 2 = << 7 + 2 = 9 >> 9 , Eve has 9 pens . #### 9"
    )
    assert task.diagnose(task.parse_text(text)) is None


def test_a_larger_problem_has_as_many_names_as_it_needs():
    assert tasks.make('word_problems', num_steps=12).scaled(2) == tasks.make('word_problems', num_steps=24)
    assert tasks.make('word_problems', num_steps=12, names=30).scaled(2).names == 30


def test_a_name_that_is_told_again_has_the_place_of_its_own_quantity():
    task = tasks.make('word_problems', num_steps=2, told='between', names=4)
    text = (
        'Ann has 5 pens . Ben gets 2 more pens than Ann had . '
        "Ben : Ann 's 5 plus the number 2 = << 5 + 2 = 7 >> 7 , Ben has 7 pens . "
        'Ann has 3 pens . Cat gets what Ben had plus Ann had . '
        "Cat : Ben 's 7 plus Ann 's 3 = << 7 + 3 = 10 >> 10 , Cat has 10 pens . "
        'How many pens does Cat have ? #### 10'
    )
    row = np.append(task.parse_text(text), EOS)
    chain = task.dependencies(row)
    words = text.split()
    dependencies.check(chain)
    assert [[words[o.origins[0].position] for o in step.operands] for step in chain.steps[:2]] == [
        ['5', '2'],
        ['7', '3'],
    ]


def test_another_number_of_stated_quantities_is_refused():
    text = (
        'Ann has 3 pens . Ben has 4 pens . Cat has 5 pens . Dan gets what Ann had plus Ben had . '
        'Eve gets what Dan had plus Cat had . How many pens does Eve have ?'
    )
    for alive, distractors, is_refused in (3, 0, False), (2, 1, True):
        task = tasks.make('word_problems', num_steps=2, alive=alive, distractors=distractors)
        fault = task.prompt_fault(task.parse_text(text))
        assert (fault is not None) == is_refused
    assert 'another number of stated quantities than 2' in fault.detail


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('than Ann had', 'than Ann has', 'after .* more than 1 quantities are alive'),
        ('than Ben had', 'than Ann had', 'not told or not alive'),
        ('Cat gets', 'Ben gets', 'gives a second quantity to a name'),
    ],
)
def test_a_story_that_refers_to_what_is_used_up_is_refused(old, new, message):
    task = tasks.make('word_problems', num_steps=2, alive=1, told='between', answer_mode='direct')
    prompt = (
        'Ann has 5 pens . Ben gets 2 more pens than Ann had . Cat gets 1 more pens than Ben had . '
        'How many pens does Cat have ?'
    )
    assert task.prompt_fault(task.parse_text(prompt)) is None
    assert re.search(message, task.prompt_fault(task.parse_text(prompt.replace(old, new))).detail)


def test_a_story_that_looks_too_far_back_is_refused():
    text = (
        'Ann has 5 pens . Ben has 4 pens . Cat gets 2 more pens than Ann had . Dan gets 1 more pens than Cat '
        'had . Eve gets what Ben had plus Dan had . How many pens does Eve have ?'
    )
    options = {'num_steps': 3, 'told': 'between', 'answer_mode': 'direct'}
    for lookback, is_refused in (None, False), (3, False), (2, True):
        task = tasks.make('word_problems', lookback=lookback, **options)
        fault = task.prompt_fault(task.parse_text(text))
        assert (fault is not None) == is_refused
    assert 'from more than 2 steps ago' in fault.detail


def test_options_out_of_range_are_all_named():
    with pytest.raises(ValueError) as error:
        tasks.make('word_problems', num_steps=1, alive=3, lookback=2, distractors=-1, largest=0, names=2)
    for part in (
        'num_steps must be at least 2, to merge 3 quantities; got 1',
        "lookback requires told 'between'",
        'distractors must be at least 0; got -1',
        'largest must be from 1 to 10,000; got 0',
        'names must be from 4',
    ):
        assert part in str(error.value)
    with pytest.raises(ValueError, match='lookback must be at least alive = 3'):
        tasks.make('word_problems', num_steps=4, alive=3, lookback=2, told='between')
    with pytest.raises(
        ValueError, match=r'alive \+ num_steps must be at most 62, as there are 62 names; got 63'
    ):
        tasks.make('word_problems', num_steps=61)
    with pytest.raises(ValueError, match="told must be one of before, between; got 'after'"):
        tasks.make('word_problems', num_steps=1, told='after')


@pytest.mark.parametrize('mode', ['chain', 'direct'])
@both
def test_a_row_is_the_record_that_it_becomes(options, mode):
    task, rows = draw(answer_mode=mode, **options)
    for row in rows:
        record = task.to_record(row)
        assert set(record) == {'question', 'answer'}
        np.testing.assert_array_equal(task.from_record(record), row[: list(row).index(EOS)])
    assert record['answer'].splitlines()[-1].startswith('#### ')
    if mode == 'chain':
        assert len(record['answer'].splitlines()) == task.num_steps + 1
    answer_alone = task.from_record(record | {'answer': record['answer'].splitlines()[-1]})
    assert (task.diagnose(answer_alone) is None) == (mode == 'direct')
    with pytest.raises(ValueError, match="'€' is no word"):
        task.from_record(record | {'question': 'Ann has €5 pens .'})
    with pytest.raises(ValueError, match="unknown token 'Bob'"):
        task.from_record(record | {'question': 'Bob has 5 pens .'})


@both
def test_the_judge_of_the_format_finds_nothing_wrong_with_the_records(options):
    task, rows = draw(**options)
    for row in rows:
        judgement = judging.judge(**task.to_record(row))
        assert not judgement.faults
        assert judgement.ends_in_answer
        assert len(judgement.annotations) == task.num_steps
        for judged in judgement.annotations:
            assert judged.verdict == judging.EXACT
            assert judged.is_shown
            assert all(operand.origins for operand in judged.operands)


def problems(task):
    """All legal problems of a tiny task, in the form in which nothing comes between the sentences."""
    names, numbers = grammar.NAMES[: task.names], range(task.largest + 1)
    bases = [f'{a} has {n} pens .' for a in names for n in numbers]
    unary = ['{a} gets {n} more pens than {b} had .', '{a} gets {n} fewer pens than {b} had .']
    unary = [*unary, '{a} gets {n} times the pens {b} had .']
    relations = [text.format(a=a, b=b, n=n) for text in unary for a in names for b in names for n in numbers]
    binary = [f'{a} gets what {b} had {{}} {c} had .' for a, b, c in itertools.permutations(names, 3)]
    relations += [text.format(word) for text in binary for word in ('plus', 'minus', 'times')]
    kinds = [bases] * task.alive + [relations] * task.num_steps
    orders = itertools.permutations(range(len(kinds))) if task.told == 'before' else [range(len(kinds))]
    ids = task.vocabulary.ids()
    rows = {
        tuple(ids[word] for word in f'{" ".join(told)} How many pens does {asked} have ?'.split())
        for order in orders
        for told in itertools.product(*(kinds[place] for place in order))
        for asked in {sentence.split()[0] for sentence in told}
    }
    told, faults, _ = task._read(np.array(sorted(rows), np.int32))
    legal = (faults == 0).all(axis=1) & task.solve(told).possible
    return type(told)(*(x[legal] for x in told))


def classes_of_rows(rows):
    """The number of classes of prefixes of 1, 2 ... tokens, given all right rows, int `[count, length]`."""
    after = {}
    for row in rows:
        for length in range(len(row)):
            after.setdefault(row[:length], {})[row[length]] = row[: length + 1]
    ids, class_of, counts = {}, {}, []
    for prefix in sorted(after, key=len, reverse=True):
        future = tuple(sorted((token, class_of.get(longer)) for token, longer in after[prefix].items()))
        class_of[prefix] = ids.setdefault(future, len(ids))
    for length in range(1, len(rows[0])):
        counts.append(len({class_of[prefix] for prefix in after if len(prefix) == length}))
    return counts


@pytest.mark.parametrize(
    'options',
    [
        {'num_steps': 1, 'alive': 1, 'names': 2, 'largest': 2},
        {'num_steps': 1, 'alive': 1, 'names': 2, 'largest': 2, 'told': 'between'},
        {'num_steps': 2, 'alive': 1, 'names': 2, 'largest': 2, 'told': 'between'},
        {'num_steps': 1, 'alive': 2, 'names': 3, 'largest': 2, 'told': 'between'},
    ],
    ids=lambda options: '-'.join(map(str, options.values())),
)
def test_bounds_bracket_the_classes_counted_one_by_one(options, monkeypatch):
    monkeypatch.setattr(grammar, 'ITEMS', ('pens',))
    grammar.grammar.cache_clear()
    task = tasks.make('word_problems', **options)
    told = problems(tasks.make('word_problems', answer_mode='direct', **options))
    tokens, given = task.encode(told)
    if task.told == 'before':
        counts = count_classes(task, [row[told] for row, told in zip(tokens, given, strict=True)])
    else:
        counts = classes_of_rows([tuple(row.tolist()) for row in tokens])
    for length, count in enumerate(counts[: task.max_length - 1], start=1):
        bits = task.required_bits(length)
        assert bits.lower <= math.log2(count) + 1e-9
        assert bits.upper >= math.log2(count) - 1e-9
    hardest = task.required_bits()
    assert hardest.lower == max(task.required_bits(t).lower for t in range(1, task.max_length))
    assert hardest.lower > 0
    grammar.grammar.cache_clear()


def test_the_bound_of_a_story_follows_the_quantities_alive_and_that_of_a_problem_its_steps():
    bits = lambda **options: tasks.make('word_problems', names=40, **options).required_bits().lower
    story = {'told': 'between'}
    assert bits(num_steps=8, alive=4, **story) == bits(num_steps=16, alive=4, **story) == 4 * math.log2(21)
    assert bits(num_steps=16, alive=8, **story) == 2 * bits(num_steps=16, alive=4, **story)
    assert bits(num_steps=16, alive=4) > 1.5 * bits(num_steps=8, alive=4)
    for told in 'before', 'between':
        task = tasks.make('word_problems', num_steps=4, told=told)
        lengths = range(task.hardest_length, task.max_length)
        lower = [task.required_bits(length).lower for length in lengths]
        assert lower == sorted(lower, reverse=True)
        assert lower[-1] == 0
