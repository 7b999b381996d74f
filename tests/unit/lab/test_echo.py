"""ICMP echo as bytes.

Method: packets by hand, with the checksum of RFC 1071's rule worked out beside.
"""

from polysite.lab.network.echo import checksum, echo_request, is_reply

HEADER = bytes([0x45]) + bytes(19)


def test_the_checksum_makes_the_sum_whole() -> None:
    """Goal: whoever adds all words of a question in one's complement gets all ones. Method: RFC 1071's own example, and ours."""
    assert checksum(bytes([0x00, 0x01, 0xF2, 0x03, 0xF4, 0xF5, 0xF6, 0xF7])) == 0xFFFF - 0xDDF2
    assert checksum(echo_request(7, 9, b"12345678")) == 0


def test_only_the_answer_to_the_question_counts() -> None:
    """Goal: neither the question itself, nor an answer to another one, ends a measurement."""
    question = echo_request(7, 9, b"12345678")
    answer = bytes([0, 0, 0, 0]) + question[4:]
    assert is_reply(HEADER + answer, question)
    assert not is_reply(HEADER + question, question)
    assert not is_reply(HEADER + answer[:-1] + b"9", question)
    assert not is_reply(HEADER + bytes([0, 0, 0, 0]) + echo_request(7, 10, b"12345678")[4:], question)
    assert not is_reply(HEADER, question)
