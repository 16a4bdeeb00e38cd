"""How much a stranger may make us hold, and why. Nothing here is configurable.

The limit of a DATA body is not here: it is the negotiated model size, given to each
connection as ``max_body``.
"""

from __future__ import annotations

from typing import Final

# Control bodies. A HELLO with every string at its longest (784 characters, 4 bytes each in
# UTF-8 at worst) and all its keys and numbers takes less than 3.5 KiB; one page leaves room
# for the keys of later versions. It is also all that an unknown dialler can make us buffer.
MAX_HELLO: Final = 4096
# An ERROR repeats two values of a HELLO and a message about them.
MAX_ERROR: Final = 4096
# A BYE is one short reason.
MAX_BYE: Final = 1024
# One buffer serves all control bodies of a connection.
MAX_CONTROL: Final = max(MAX_HELLO, MAX_ERROR, MAX_BYE)

# Strings, in characters (Unicode code points).
MAX_NAME: Final = 128  # run and peer ids: a host name is at most 63, a UUID 36, a SHA-512 128
MAX_DTYPE: Final = 16  # "float32", "bfloat16", "float8_e4m3fn"
MAX_ALGORITHM: Final = 256  # a digest, or a description that a person can read
MAX_REASON: Final = 128  # one phrase
MAX_FIELD: Final = 32  # the name of a HELLO key
MAX_VALUE: Final = 256  # the longest HELLO value
MAX_MESSAGE: Final = 400  # one line of a log

U32_MAX: Final = 2**32 - 1
