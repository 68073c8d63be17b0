"""GPT-2's alphabet: every byte as one visible character, in which vocabularies are spelled.

`bytes_to_unicode` in `encoder.py` of GPT-2's release.
"""

_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_HIDDEN = [byte for byte in range(256) if byte not in _PRINTABLE]
# In the order of GPT-2's first 256 ids.
CHAR_OF_BYTE = {byte: chr(byte) for byte in _PRINTABLE} | {
    byte: chr(256 + index) for index, byte in enumerate(_HIDDEN)
}
BYTE_OF_CHAR = {char: byte for byte, char in CHAR_OF_BYTE.items()}


def spelled_bytes(spelling: str) -> bytes:
    """The bytes of a token in GPT-2's spelling. Raises KeyError on a character that spells none."""
    return bytes(BYTE_OF_CHAR[char] for char in spelling)
