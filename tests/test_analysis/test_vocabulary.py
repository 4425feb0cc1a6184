"""The words of the project's data sets, or of a file."""

import pytest

from mmseg_ssprompt.analysis.vocabulary import default_vocabulary, merge_words, read_words


def test_class_names_as_people_write_them():
    words = default_vocabulary()
    assert {'potted plant', 'zebra crossing', 'windowpane', 'rider', 'aeroplane'} <= set(words)
    assert not {'pottedplant', 'Bird', 'valentine'} & set(words)
    assert len(words) == len({word.lower() for word in words})


def test_the_worlds_come_with_synonyms():
    added = set(default_vocabulary(with_worlds=True)) - set(default_vocabulary())
    assert {'valentine', 'half moon', 'first aid post', 'life buoy'} <= added


def test_words_are_merged_without_regard_to_case():
    assert merge_words(['Sky', 'a  b'], ['sky', 'A b', 'c']) == ['Sky', 'a b', 'c']


def test_a_file_of_words(tmp_path):
    file = tmp_path / 'words.txt'
    file.write_text('tree\n\n  old  oak \nTree\n')
    assert read_words(file) == ['tree', 'old oak']


@pytest.mark.parametrize(
    ('content', 'message'), [(b'\n \n', 'is empty'), (b'\xff\xfe', 'expected UTF-8')]
)
def test_a_file_without_words(tmp_path, content, message):
    file = tmp_path / 'words.txt'
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_words(file)


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='none.txt'):
        read_words(tmp_path / 'none.txt')
